//! What all subjects share: this program and its keys, servers, and the number of rounds.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use tempfile::TempDir;

/// What all subjects share.
pub struct Bench {
    rounds: usize,
    /// How long idle servers are watched.
    pub idle: Duration,
    /// How many small files are copied.
    pub files: usize,
    /// This program, and keys for both ends of what prn is compared with.
    folder: TempDir,
    /// The programs, without moderation.
    unmoderated: Option<TempDir>,
}

impl Bench {
    pub fn new(rounds: usize, idle: Duration, files: usize) -> anyhow::Result<Self> {
        // Processes under prn run this program as users of their own, who may not get to where it
        // was built, and have a /tmp of their own.
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("prn-bench-").tempdir_in("/var/lib")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
        std::fs::copy(std::env::current_exe()?, folder.path().join("bench"))?;
        Identity::keygen(folder.path(), "server", &[]);
        Identity::keygen(folder.path(), "client", &[]);
        let unmoderated = match std::env::var_os("PRN_UNMODERATED_BIN_DIR").map(PathBuf::from) {
            Some(halves) => {
                let folder = tempfile::Builder::new().prefix("prn-bench-").tempdir()?;
                for name in ["prn", "prn-tools"] {
                    std::fs::copy(prn_tests::binary(name), folder.path().join(name))?;
                }
                for name in ["prn-supervisor", "prn-frontend"] {
                    std::fs::copy(halves.join(name), folder.path().join(name))?;
                }
                Some(folder)
            }
            None => None,
        };
        Ok(Self {
            rounds,
            idle,
            files,
            folder,
            unmoderated,
        })
    }

    /// The folder of the programs without read moderation.
    pub fn unmoderated(&self) -> Option<&Path> {
        self.unmoderated.as_ref().map(TempDir::path)
    }

    /// The rounds, each of which is said to have begun.
    pub fn rounds(&self, what: &str) -> impl Iterator<Item = usize> {
        let (rounds, what) = (self.rounds, what.to_owned());
        (1..=rounds).inspect(move |round| eprintln!("bench: {what}: round {round} of {rounds}"))
    }

    pub fn keys(&self) -> &Path {
        self.folder.path()
    }

    pub fn program(&self) -> PathBuf {
        self.folder.path().join("bench")
    }

    /// One of [`crate::parts`], to be run.
    pub fn part(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        // Copies of glibc's by `rep movsb` take several times as long on some CPUs, where source
        // and target lie badly to each other: which of the parts have that luck changes with each
        // build.
        command
            .env(
                "GLIBC_TUNABLES",
                "glibc.cpu.x86_rep_movsb_threshold=4194304",
            )
            .arg("part")
            .args(words);
        command
    }

    /// argv of a part, to be run under prn.
    pub fn argv(&self, words: &[&str]) -> Vec<String> {
        let program = self.program().display().to_string();
        [program.as_str(), "part"]
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect()
    }

    /// A server with these arguments, and user ids for so many processes.
    pub fn server(&self, arguments: &[&str], uids: u32) -> anyhow::Result<Server> {
        server(arguments, uids)
    }

    /// The same, of the programs in another folder.
    pub fn server_of(
        &self,
        arguments: &[&str],
        uids: u32,
        programs: Option<PathBuf>,
    ) -> anyhow::Result<Server> {
        server_of(arguments, uids, programs)
    }

    pub fn title(&self, what: &str) -> String {
        format!("{what} (medians of {} rounds)", self.rounds)
    }
}

/// A server with these arguments, and user ids for so many processes.
pub fn server(arguments: &[&str], uids: u32) -> anyhow::Result<Server> {
    server_of(arguments, uids, None)
}

fn server_of(arguments: &[&str], uids: u32, programs: Option<PathBuf>) -> anyhow::Result<Server> {
    let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
    let options = Options {
        arguments,
        uids: Some(uids),
        programs,
        ..Options::default()
    };
    Server::try_with(options)
        .map_err(|refused| anyhow::anyhow!("no server: {}{}", refused.output, refused.log))
}

/// A path as an argument.
pub fn word(path: &Path) -> String {
    path.display().to_string()
}

/// CPUs that this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
