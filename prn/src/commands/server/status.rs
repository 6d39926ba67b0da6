//! `prn server status`: how the running server is. Runs as root.

use std::path::{Path, PathBuf};

use clap::Args;
use nix::unistd::geteuid;
use prn_launch::ServerError;
use prn_launch::options::{self, Options};

use crate::commands::pin::CONFIG;
use crate::commands::server::running::{StatusError, ask};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::output::format::FormatFlag;

/// `prn server status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The server's configuration, which names its state folder [default: that of the package, if
    /// it is there]
    #[arg(long, value_name = "FILE", conflicts_with = "state_dir")]
    pub config: Option<PathBuf>,
    /// The server's state folder [default: /var/lib/prn]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
}

/// Asks the server of a state folder.
pub fn status(args: &StatusArgs) -> Result<Exit, Failure> {
    if !geteuid().is_root() {
        return Err(StatusError::NotRoot.into());
    }
    let folder = state_dir(args, Path::new(CONFIG))?;
    let told = ask(&folder)?;
    output::server_status(&told, &args.format).map_err(Failure::Print)?;
    Ok(exit::OK)
}

/// The folder that is named, else that of the configuration, else of the packaged one.
fn state_dir(args: &StatusArgs, packaged: &Path) -> Result<PathBuf, Failure> {
    if let Some(folder) = &args.state_dir {
        return Ok(folder.clone());
    }
    let packaged = || packaged.exists().then(|| packaged.to_owned());
    let config = args.config.clone().or_else(packaged);
    let warn = |warning: prn_launch::Warning| output::notice(&warning.to_string());
    let options = options::merged(Options::default(), config.as_deref(), &warn);
    let options = options.map_err(ServerError::from)?;
    Ok(options.state_dir().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use prn_launch::options::STATE_DIR;

    use super::*;

    #[test]
    fn the_state_folder_is_the_one_that_is_named_or_configured() {
        let nothing = Path::new("/no/such");
        let args = |config: Option<&Path>, state_dir: Option<&str>| StatusArgs {
            config: config.map(Path::to_owned),
            state_dir: state_dir.map(PathBuf::from),
            format: FormatFlag::table(),
        };
        let folder = |args: &StatusArgs, packaged: &Path| state_dir(args, packaged).unwrap();
        assert_eq!(folder(&args(None, None), nothing), Path::new(STATE_DIR));
        assert_eq!(folder(&args(None, Some("/a")), nothing), Path::new("/a"));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "state-dir = '/b'\n").unwrap();
        assert_eq!(folder(&args(None, None), file.path()), Path::new("/b"));
        assert_eq!(
            folder(&args(Some(file.path()), None), nothing),
            Path::new("/b")
        );
    }
}
