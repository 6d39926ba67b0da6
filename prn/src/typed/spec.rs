//! What to start: the flags for it that `prn start` and `prn run` share.

use clap::Args;
use prn_client::{OutputPolicy, ProcessId, StandardInput, StartSpec, TerminalSize, mint_id};
use prn_proto::traceparent::{TRACEPARENT, Traceparent};
use prn_proto::units::{Label, Variable};

use crate::failure::Failure;
use crate::input::terminal;
use crate::typed::command_line::split_words;

/// What to start.
#[derive(Debug, Args)]
pub struct Spec {
    /// The command as one string, split into words as a shell would
    #[arg(
        value_name = "STRING",
        required_unless_present = "argv",
        conflicts_with = "argv"
    )]
    pub line: Option<String>,
    /// All that the server is told.
    #[command(flatten)]
    pub start: StartSpec,
    /// Leave standard input alone, whatever it is: the process gets /dev/null
    #[arg(short = 'n', long)]
    pub no_stdin: bool,
    /// Start nothing: say whether you may, and what would be started, with which limits
    #[arg(long)]
    pub dry_run: bool,
    /// Id for the process (32 hexadecimal digits), which makes the call safe to repeat; made up
    /// otherwise
    #[arg(long)]
    pub id: Option<ProcessId>,
}

impl Spec {
    /// What the command line asks for, under a new id if it names none, with this policy unless it
    /// names another.
    pub fn completed(self, policy: OutputPolicy) -> Result<StartSpec, Failure> {
        let mut spec = self.start;
        if let Some(line) = self.line {
            spec.argv = split_words(&line).map_err(|why| Failure::Usage(why.to_owned()))?;
        }
        if spec.argv.first().is_none_or(String::is_empty) {
            return Err(Failure::Usage("the command is empty".to_owned()));
        }
        spec.id = Some(self.id.map_or_else(mint_id, Ok)?);
        if spec.expect_digest.is_none() {
            trace(&mut spec, std::env::var(VARIABLE).ok());
        }
        let policy = *spec.output_policy.get_or_insert(policy);
        if spec.follow_timeout.is_some() && policy != OutputPolicy::Follow {
            let why = "--reconnect is of use with --output-policy follow alone";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(spec)
    }
}

/// Where a program that is traced leaves its trace for those that it starts.
const VARIABLE: &str = "TRACEPARENT";

/// The process belongs to this trace, unless its labels say of which it is. What is none says
/// nothing, as the specification wants it.
fn trace(spec: &mut StartSpec, caller: Option<String>) {
    let caller = caller.and_then(|text| text.parse::<Traceparent>().ok());
    let is_told = spec.labels.iter().any(|label| label.key == TRACEPARENT);
    if let Some(caller) = caller.filter(|_| !is_told) {
        spec.labels.push(Label {
            key: TRACEPARENT.to_owned(),
            value: caller.to_string(),
        });
    }
}

/// The same for one of several servers: under an id of its own, unless one was named, which is then that
/// of the process on each.
pub fn of_host(spec: &StartSpec, id: Option<ProcessId>) -> Result<StartSpec, Failure> {
    let id = id.map_or_else(mint_id, Ok)?;
    Ok(StartSpec {
        id: Some(id),
        ..spec.clone()
    })
}

/// Gives the process a terminal like the one that prn is used at.
pub fn with_our_terminal(spec: &mut StartSpec) {
    with_terminal(spec, terminal::size(), std::env::var("TERM").ok());
}

/// Gives it one of this size and type (TERM, environ(7)): programs look the type up to know what to
/// print.
fn with_terminal(spec: &mut StartSpec, size: TerminalSize, term: Option<String>) {
    spec.stdin = StandardInput::Terminal(size);
    let is_named = spec.environment.iter().any(|set| set.name == "TERM");
    if let Some(value) = term.filter(|term| !term.is_empty() && !is_named) {
        spec.environment.push(Variable {
            name: "TERM".to_owned(),
            value,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn line(text: &str) -> Spec {
        Spec {
            line: Some(text.to_owned()),
            start: StartSpec::default(),
            no_stdin: false,
            dry_run: false,
            id: None,
        }
    }

    #[test]
    fn what_is_left_open_is_completed() {
        let spec = line("ls -l").completed(OutputPolicy::Follow).unwrap();
        assert_eq!(spec.argv, ["ls", "-l"]);
        assert_eq!(spec.output_policy, Some(OutputPolicy::Follow));
        assert!(spec.id.is_some());
        let mut kill = line("ls");
        kill.start.output_policy = Some(OutputPolicy::Kill);
        let kill = kill.completed(OutputPolicy::Follow).unwrap();
        assert_eq!(kill.output_policy, Some(OutputPolicy::Kill));
    }

    #[test]
    fn the_trace_of_the_environment_is_a_label_unless_another_is_typed() {
        let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let labels = |typed: &[&str], caller: &str| {
            let mut spec = StartSpec::new(["x"]);
            spec.labels = typed.iter().map(|label| label.parse().unwrap()).collect();
            trace(&mut spec, Some(caller.to_owned()));
            let labels = spec.labels.into_iter();
            labels.map(|label| label.value).collect::<Vec<_>>()
        };
        assert_eq!(labels(&[], caller), [caller]);
        assert_eq!(labels(&["traceparent=x"], caller), ["x"]);
        assert!(labels(&[], "nonsense").is_empty());
    }

    #[test]
    fn a_terminal_is_of_the_type_of_ours_unless_another_is_named() {
        let size = TerminalSize {
            rows: 24,
            columns: 80,
        };
        let named = |term: Option<&str>, environment: &[&str]| {
            let mut spec = StartSpec::new(["vi"]);
            spec.environment = environment.iter().map(|set| set.parse().unwrap()).collect();
            with_terminal(&mut spec, size, term.map(str::to_owned));
            assert_eq!(spec.stdin, StandardInput::Terminal(size));
            let set = spec.environment.into_iter();
            set.map(|set| format!("{}={}", set.name, set.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(named(Some("xterm"), &["A=b"]), ["A=b", "TERM=xterm"]);
        assert_eq!(named(Some("xterm"), &["TERM=dumb"]), ["TERM=dumb"]);
        assert!(named(Some(""), &[]).is_empty() && named(None, &[]).is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(line("''").completed(OutputPolicy::Follow).is_err());
        assert!(line("echo 'a").completed(OutputPolicy::Follow).is_err());
        let mut reconnect = line("ls");
        reconnect.start.follow_timeout = Some(Duration::from_secs(1));
        assert!(reconnect.completed(OutputPolicy::DropOldest).is_err());
    }
}
