//! Measures prn beside what it is made of and what it is used instead of, in one run: machines are
//! noisy, ratios hold.
//!
//! ```text
//! bench [--rounds N] [--idle-seconds N] [output|fanout|latency|start|idle|cli] …     (make bench)
//! bench compare [--rounds N] LABEL=BIN_DIR[,PROFILE] …
//! ```
//!
//! Each round measures everything that is compared once, one after the other. What is printed are
//! medians of the rounds, and medians of the ratios within each round. Nothing here is an assertion
//! on time.
//!
//! `PRN_BIN_DIR` names the folder of the binaries, `PRN_STATIC_BIN` a static `prn` to be
//! measured too, and `PRN_UNMODERATED_BIN_DIR` the folder of both halves as they are with the
//! feature `unmoderated`.
#![expect(clippy::print_stdout, reason = "a program that measures prints")]
#![expect(clippy::print_stderr, reason = "and says what it is at")]

mod cli;
mod clone;
mod compare;
mod fanout;
mod idle;
mod latency;
mod machine;
mod output;
mod parts;
mod ssh;
mod start;
mod table;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, bail};
use prn_tests::pki::Identity;
use prn_tests::server::{Options, Server};
use tempfile::TempDir;

use table::Summary;

/// What a subject adds to the summary.
type Measure = fn(&Bench, &mut Summary) -> anyhow::Result<()>;

const SUBJECTS: [(&str, Measure); 6] = [
    ("output", output::measure),
    ("fanout", fanout::measure),
    ("latency", latency::measure),
    ("start", start::measure),
    ("idle", idle::measure),
    ("cli", cli::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["part", ..] => parts::run(&arguments[1..]),
        ["compare", "--rounds", rounds, ..] => rounds
            .parse()
            .context("--rounds")
            .map(|rounds| compare::compare(rounds, &arguments[3..])),
        ["compare", ..] => {
            compare::compare(5, &arguments[1..]);
            Ok(())
        }
        ["measure", profile] => {
            compare::measure(profile);
            Ok(())
        }
        _ => measure(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(mut words: &[&str]) -> anyhow::Result<()> {
    let (mut rounds, mut idle, mut chosen) = (5, Duration::from_secs(60), Vec::new());
    loop {
        match words {
            [] => break,
            ["--rounds", number, rest @ ..] => {
                (rounds, words) = (number.parse().context("--rounds")?, rest)
            }
            ["--idle-seconds", number, rest @ ..] => {
                (idle, words) = (
                    Duration::from_secs(number.parse().context("--idle-seconds")?),
                    rest,
                );
            }
            [name, rest @ ..] => {
                let subject = SUBJECTS.iter().find(|(subject, _)| subject == name);
                chosen.push(
                    subject.with_context(|| format!("bench: no such subject or flag: {name}"))?,
                );
                words = rest;
            }
        }
    }
    if rounds == 0 {
        bail!("bench: no rounds, no medians");
    }
    machine::check()?;
    let bench = Bench::new(rounds, idle)?;
    if chosen.is_empty() {
        chosen.extend(&SUBJECTS);
    }
    let mut summary = Summary::default();
    for (name, subject) in chosen {
        eprintln!("bench: {name}");
        subject(&bench, &mut summary)?;
    }
    summary.print();
    Ok(())
}

/// What all subjects share.
struct Bench {
    rounds: usize,
    idle: Duration,
    /// This program, and keys for both ends of what prn is compared with.
    folder: TempDir,
    /// The programs, without moderation.
    unmoderated: Option<TempDir>,
}

impl Bench {
    fn new(rounds: usize, idle: Duration) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("prn-bench-").tempdir()?;
        // Processes under prn run this program as users of their own, who may not get to where it
        // was built.
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
            folder,
            unmoderated,
        })
    }

    /// The folder of the programs without read moderation.
    fn unmoderated(&self) -> Option<&Path> {
        self.unmoderated.as_ref().map(TempDir::path)
    }

    /// The rounds, each of which is said to have begun.
    fn rounds(&self, what: &str) -> impl Iterator<Item = usize> {
        let (rounds, what) = (self.rounds, what.to_owned());
        (1..=rounds).inspect(move |round| eprintln!("bench: {what}: round {round} of {rounds}"))
    }

    fn keys(&self) -> &Path {
        self.folder.path()
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("bench")
    }

    /// One of [`parts`], to be run.
    fn part(&self, words: &[&str]) -> Command {
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
    fn argv(&self, words: &[&str]) -> Vec<String> {
        let program = self.program().display().to_string();
        [program.as_str(), "part"]
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect()
    }

    /// A server with these arguments, and user ids for so many processes.
    fn server(&self, arguments: &[&str], uids: u32) -> anyhow::Result<Server> {
        self.server_of(arguments, uids, None)
    }

    /// The same, of the programs in another folder.
    fn server_of(
        &self,
        arguments: &[&str],
        uids: u32,
        programs: Option<PathBuf>,
    ) -> anyhow::Result<Server> {
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

    fn title(&self, what: &str) -> String {
        format!("{what} (medians of {} rounds)", self.rounds)
    }
}

/// A path as an argument.
fn word(path: &Path) -> String {
    path.display().to_string()
}

/// CPUs that this process may use.
fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
