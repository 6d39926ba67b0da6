//! `prn cp`: copies to and from a workspace.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use prn_proto::units::Workspace;

use crate::copy::{Far, FarPath, Selection, Target, down, down_stream, up};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::fleet::naming;
use crate::fleet::placed::{Placed, placed};
use crate::interrupts::Interrupts;
use crate::output::Progress;
use crate::typed::misnamed::unless_a_process;
use crate::which::connection::{Connection, Remote};
use crate::which::fleet::{FleetFlag, OpenFleet};
use crate::which::reference::{InvalidReference, Reference};

/// For `--help`.
const EXAMPLES: &str = "\
Examples:
  prn cp src w:             src, as w's src
  prn cp src/. w:           what is in src, among what is in w
  prn cp a.txt b.txt w:in/  two files, to a directory that is there
  prn cp w:build/app .      back: a file, with its mode and time
  prn cp w:. all            all that is in w, as all
  git archive HEAD | prn cp - w:
  prn cp w:logs - | tar tv";

/// Copy files and directories to a workspace (prn cp SRC... NAME:PATH), or from one (prn cp
/// NAME:PATH DST)
///
/// As `cp -a` does, but for owners: directories with all that is in them, links as links, modes and
/// times kept. A directory goes below a target that is one, and becomes one that is not there; of
/// SRC/. what is in it is copied. Nothing of it is there before all has arrived. What is there under
/// the same names is replaced then, and everything else stays.
///
/// PATH begins in the workspace's directory. A local name with a colon in it is ./a:b. "-" is a tar
/// archive on standard input or output. Devices, sockets and FIFOs are refused, and setuid, setgid
/// and sticky bits left out.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "prn cp [OPTIONS] SRC... DST")]
pub struct Cp {
    /// What to copy, and where to: on one of both sides it is NAME:PATH
    #[arg(value_name = "PLACE", required = true, num_args = 2..)]
    pub places: Vec<OsString>,
    /// Do not show how far it has got
    #[arg(short, long)]
    pub quiet: bool,
    /// Of a fleet.
    #[command(flatten)]
    pub fleet: FleetFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// A place on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// "-".
    Stream,
    Local(PathBuf),
    Far {
        workspace: String,
        path: FarPath,
    },
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Copy {
    /// Of a stream, if there are no paths.
    Up {
        paths: Vec<PathBuf>,
        workspace: String,
        to: FarPath,
    },
    /// To a stream, if there is no path.
    Down {
        workspace: String,
        from: FarPath,
        to: Option<PathBuf>,
    },
}

pub async fn cp(args: Cp) -> Result<Exit, Failure> {
    let mut copy = Copy::of(&args.places)?;
    if let Some(open) = args.fleet.open(&args.connection)? {
        let placed = of_job(&open, copy.workspace_mut()).await?;
        let copied = copied(&copy, &placed.remote, args.quiet).await;
        copied.map_err(|failure| placed.explained(failure))?;
        return Ok(exit::OK);
    }
    let (Copy::Up { workspace, .. } | Copy::Down { workspace, .. }) = &copy;
    let copying = async {
        let remote = Remote::new(args.connection.clone())?;
        copied(&copy, &remote, args.quiet).await
    };
    match copying.await {
        Ok(()) => Ok(exit::OK),
        Err(failure) => Err(unless_a_process(failure, workspace, args.connection).await),
    }
}

/// The host of the job that stands where the workspace does, and that job's workspace instead of it.
async fn of_job(open: &OpenFleet, name: &mut String) -> Result<Placed, Failure> {
    let reference: Reference = name.parse().map_err(|error| {
        let error: InvalidReference = error;
        Failure::Usage(error.to_string())
    })?;
    let id = naming::resolve(open, &reference).await?;
    let view = open.fleet.job(&id).await.map_err(FleetFault::from)?;
    let placed = placed(open, &view).await?;
    let workspace = placed.workspace.clone();
    *name = workspace.ok_or(FleetFault::NoWorkspace(id))?;
    Ok(placed)
}

async fn copied(copy: &Copy, remote: &Remote, is_quiet: bool) -> Result<(), Failure> {
    let client = remote.connect().await?;
    // From here on there may be something to be removed.
    let mut interrupts = Interrupts::take()?;
    let progress = Progress::new(is_quiet);
    let far = |workspace| Far {
        remote,
        client,
        workspace,
    };
    match copy {
        Copy::Up {
            paths,
            workspace,
            to,
        } => {
            let what = if paths.is_empty() {
                Selection::Stream(duplicate(io::stdin().as_fd())?)
            } else {
                Selection::Paths(paths.clone())
            };
            up(&mut far(workspace), what, to, &mut interrupts, &progress).await?;
        }
        Copy::Down {
            workspace,
            from,
            to: Some(to),
        } => {
            let to = Target::find(to, from.name()?)?;
            down(&mut far(workspace), from, to, &mut interrupts, &progress).await?;
        }
        Copy::Down {
            workspace,
            from,
            to: None,
        } => {
            let to = duplicate(io::stdout().as_fd())?;
            down_stream(&mut far(workspace), from, to, &mut interrupts).await?;
        }
    }
    Ok(())
}

fn duplicate(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<File> {
    fd.try_clone_to_owned().map(File::from)
}

impl Copy {
    fn workspace_mut(&mut self) -> &mut String {
        match self {
            Self::Up { workspace, .. } | Self::Down { workspace, .. } => workspace,
        }
    }

    fn of(words: &[OsString]) -> Result<Self, Failure> {
        let usage = |why: &str| Err(Failure::Usage(why.to_owned()));
        let places: Result<Vec<_>, _> = words.iter().map(|word| Place::of(word)).collect();
        let mut sources = places?;
        let target = sources.pop();
        match target {
            Some(Place::Far {
                workspace,
                path: to,
            }) => Ok(Self::Up {
                paths: local(sources)?,
                workspace,
                to,
            }),
            None => usage("there is nothing to copy"),
            Some(Place::Stream | Place::Local(_)) => {
                let Some(Place::Far {
                    workspace,
                    path: from,
                }) = sources.pop()
                else {
                    return usage("none of these is in a workspace: NAME:PATH is");
                };
                if !sources.is_empty() {
                    return usage("from a workspace, one thing is copied at a time");
                }
                let to = match target {
                    Some(Place::Local(path)) => Some(path),
                    Some(Place::Stream | Place::Far { .. }) | None => None,
                };
                Ok(Self::Down {
                    workspace,
                    from,
                    to,
                })
            }
        }
    }
}

/// What is copied to a workspace: none of it is in one.
fn local(sources: Vec<Place>) -> Result<Vec<PathBuf>, Failure> {
    if sources == [Place::Stream] {
        return Ok(Vec::new());
    }
    let path = |source| {
        match source {
        Place::Local(path) => Ok(path),
        Place::Stream => Err(Failure::Usage("\"-\" is copied alone".to_owned())),
        Place::Far { .. } => Err(Failure::Usage(
            "both are in a workspace: copy within one with `prn run --workspace NAME -- cp ...`, and between two by way of this machine"
                .to_owned(),
        )),
    }
    };
    sources.into_iter().map(path).collect()
}

impl Place {
    /// As scp(1): a colon before any slash is behind a name that is no file's here.
    fn of(word: &OsStr) -> Result<Self, Failure> {
        let bytes = word.as_bytes();
        if bytes == b"-" {
            return Ok(Self::Stream);
        }
        let end = bytes.iter().position(|byte| b":/".contains(byte));
        let (name, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        let Some((b':', path)) = rest.split_first() else {
            return if bytes.is_empty() {
                Err(Failure::Usage("an empty path".to_owned()))
            } else {
                Ok(Self::Local(Path::new(word).to_owned()))
            };
        };
        let name = String::from_utf8_lossy(name);
        match name.parse() {
            Ok(Workspace(workspace)) => Ok(Self::Far {
                workspace,
                path: FarPath(OsStr::from_bytes(path).to_owned()),
            }),
            Err(_) => Err(Failure::Usage(format!(
                "\"{name}\" cannot be a workspace's name; a file of this machine is ./{}",
                word.display()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(words: &[&str]) -> Result<Copy, Failure> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        Copy::of(&words)
    }

    #[test]
    fn a_colon_before_any_slash_is_behind_a_workspace() {
        let far = |path: &str| Place::Far {
            workspace: "w".to_owned(),
            path: FarPath(path.into()),
        };
        for (word, place) in [
            ("w:", far("")),
            ("w:a:b", far("a:b")),
            ("w:/a", far("/a")),
            ("./w:a", Place::Local("./w:a".into())),
            ("a/w:a", Place::Local("a/w:a".into())),
            ("/w:a", Place::Local("/w:a".into())),
            ("w", Place::Local("w".into())),
            ("-", Place::Stream),
        ] {
            assert_eq!(Place::of(OsStr::new(word)).unwrap(), place);
        }
        let long = format!("{}:a", "w".repeat(64));
        for bad in [":a", "W:a", "-:a", "a b:c", "", &long] {
            assert!(Place::of(OsStr::new(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_examples_are_command_lines() {
        let mut commands = EXAMPLES.split_once("prn cp ").map(|(_, rest)| rest);
        let mut count = 0;
        while let Some(text) = commands {
            let words = text.split_terminator([' ', '\n']);
            let words: Vec<_> = words
                .take_while(|word| !word.is_empty() && *word != "|")
                .collect();
            copy(&words).unwrap_or_else(|failure| panic!("{words:?}: {failure}"));
            count += 1;
            commands = text.split_once("prn cp ").map(|(_, rest)| rest);
        }
        assert_eq!(count, EXAMPLES.lines().count() - 1);
    }

    #[test]
    fn one_of_both_sides_is_in_a_workspace() {
        assert!(matches!(
            copy(&["a", "b", "w:"]),
            Ok(Copy::Up { paths, .. }) if paths.len() == 2
        ));
        assert!(matches!(copy(&["-", "w:"]), Ok(Copy::Up { paths, .. }) if paths.is_empty()));
        assert!(matches!(
            copy(&["w:", "-"]),
            Ok(Copy::Down { to: None, .. })
        ));
        assert!(matches!(
            copy(&["w:a", "b"]),
            Ok(Copy::Down { to: Some(_), .. })
        ));
        for (bad, why) in [
            (&["a", "b"][..], "none of these"),
            (&["-", "-"], "none of these"),
            (&["w:a", "w:b"], "both are"),
            (&["w:a", "w:b", "c"], "one thing"),
            (&["-", "a", "w:"], "alone"),
        ] {
            let said = copy(bad).unwrap_err().to_string();
            assert!(said.contains(why), "{bad:?}: {said}");
        }
    }
}
