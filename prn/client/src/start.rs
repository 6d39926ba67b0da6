//! What to start, and the answer.

use std::time::{Duration, SystemTime};

use prn_proto::id::ProcessId;
use prn_proto::units::{Binding, Label, Variable};
use prn_proto::v1;

use crate::choices::{OutputPolicy, OutputStore, Profile};
use crate::error::ClientError;
use crate::input::StandardInput;
use crate::lifetime::Retention;
use crate::limits::Limits;
use crate::paths::PathRule;
use crate::process::Process;
use crate::wire::{INCOMPLETE, to_wire_duration};

/// What to start.
///
/// With the feature `clap` its fields are flags of a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct StartSpec {
    /// The program, a path when it holds a slash, and its arguments. No shell looks at them.
    #[cfg_attr(
        feature = "clap",
        arg(
            last = true,
            value_name = "ARGV",
            help = "The command as words, taken as they are"
        )
    )]
    pub argv: Vec<String>,
    /// Resource limits.
    #[cfg_attr(feature = "clap", command(flatten))]
    pub limits: Limits,
    /// Start even if the server's host cannot enforce a limit; a warning says which
    #[cfg_attr(feature = "clap", arg(long, help_heading = "Limits"))]
    pub best_effort_limits: bool,
    /// Most output bytes that the server keeps. `None`: its default.
    #[cfg_attr(feature = "clap", arg(long = "output-max", value_name = "SIZE", value_parser = crate::flags::size, help = "Most output bytes that the server keeps", help_heading = "Output", allow_negative_numbers = true))]
    pub output_max_bytes: Option<u64>,
    /// What happens when there are more. `None`: [`OutputPolicy::DropOldest`].
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            value_name = "POLICY",
            help = "What happens when there are more [default: follow for `prn run`, else drop-oldest]",
            help_heading = "Output"
        )
    )]
    pub output_policy: Option<OutputPolicy>,
    /// With [`OutputPolicy::Follow`]: how long the process waits while nobody follows it. `None`:
    /// the server's default.
    #[cfg_attr(feature = "clap", arg(long = "reconnect", value_name = "TIME", value_parser = crate::flags::time, help = "With the policy follow: how long the process waits when the connection to `prn run` is lost, and `prn run` tries to come back [default: 30s]", help_heading = "Output"))]
    pub follow_timeout: Option<Duration>,
    /// Where the server keeps them
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            value_name = "STORE",
            default_value = "memory",
            help_heading = "Output"
        )
    )]
    pub output_store: OutputStore,
    /// Stop the process when it has run for this long (10s, 5m)
    #[cfg_attr(feature = "clap", arg(long, value_name = "TIME", value_parser = crate::flags::time, allow_negative_numbers = true))]
    pub timeout: Option<Duration>,
    /// Time between SIGTERM and SIGKILL when the process is stopped. `None`: the server's default.
    #[cfg_attr(feature = "clap", arg(long = "grace", value_name = "TIME", value_parser = crate::flags::time, help = "Time between SIGTERM and SIGKILL when the process is stopped", allow_negative_numbers = true))]
    pub stop_grace: Option<Duration>,
    /// Let what the process started live on after it has exited
    #[cfg_attr(feature = "clap", arg(long))]
    pub linger: bool,
    /// How the process is confined. `None`: as profile default says, or as much more as the
    /// client's role wants.
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            value_name = "PROFILE",
            help = "How the process is confined [default: default, or as much more as your role wants]"
        )
    )]
    pub profile: Option<Profile>,
    /// Directories that the process sees elsewhere, as far as the server's operator lets them be.
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            value_name = "SRC:DST",
            help = "Show the server's directory SRC at DST, if its operator lets it be; a missing DST is made right in /tmp and the like. Repeatable, 16 with the next two; in this order",
            help_heading = "Directories"
        )
    )]
    pub bind: Vec<Binding>,
    /// Directories that are empty for the process, after those.
    #[cfg_attr(feature = "clap", arg(long, value_name = "DIR", value_parser = crate::flags::directory, help = "Show nothing in this directory of the server's (no file). Repeatable", help_heading = "Directories"))]
    pub hide: Vec<String>,
    /// Directories in which the process can change nothing, after those.
    #[cfg_attr(feature = "clap", arg(long, value_name = "DIR", value_parser = crate::flags::directory, help = "Let nothing in this directory (no file) be changed by this path, a bound one too. Repeatable, up to 4", help_heading = "Directories"))]
    pub read_only: Vec<String>,
    /// Variables added to the process's environment.
    #[cfg_attr(
        feature = "clap",
        arg(
            long = "env",
            value_name = "NAME=VALUE",
            help = "Add a variable to the process's environment; NAME alone copies your own. Repeatable"
        )
    )]
    pub environment: Vec<Variable>,
    /// Absolute path to start in. `None`: a fresh directory of the process's own.
    #[cfg_attr(feature = "clap", arg(long = "cwd", value_name = "DIR", value_parser = crate::flags::directory, help = "Directory on the server to start in, instead of a fresh one of the process's own"))]
    pub working_directory: Option<String>,
    /// The workspace to start in. `None`: directories and a user id of the process's own.
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            short = 'w',
            value_name = "NAME",
            value_parser = crate::flags::workspace,
            help = "Start in this workspace (prn workspace create NAME): its directory is HOME and where the process starts, and stays"
        )
    )]
    pub workspace: Option<String>,
    /// The user of the server's machine to run as, with its groups. `None`: a user id of the process's own.
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            short = 'u',
            value_name = "NAME",
            value_parser = crate::flags::user,
            conflicts_with = "workspace",
            help = "Run as this user of the server's machine, with its groups, if your role allows it [default: a user id of the process's own]"
        )
    )]
    pub user: Option<String>,
    /// What people call the process. No other that is alive may have the name.
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME", value_parser = crate::flags::process_name, help = "Call the process NAME, which then stands for its id; no other that is alive has it", help_heading = "Names"))]
    pub name: Option<String>,
    /// What people tell it apart by.
    #[cfg_attr(
        feature = "clap",
        arg(
            long = "label",
            value_name = "KEY=VALUE",
            value_parser = crate::flags::label,
            help = "Add a label, which -l selects by. Repeatable, up to 32",
            help_heading = "Names"
        )
    )]
    pub labels: Vec<Label>,
    /// Stopped at this time, by the server's clock.
    #[cfg_attr(feature = "clap", arg(long, value_name = "TIME", value_parser = crate::flags::deadline, help = "Stop the process at this time: 2030-01-31T12:00:00Z, or 10m for in ten minutes by the clock here", help_heading = "Lifetime", allow_negative_numbers = true))]
    pub deadline: Option<SystemTime>,
    /// Stopped when it has lived this long without anybody who follows its output, and without
    /// [`Update::lease`](crate::Update::lease).
    #[cfg_attr(feature = "clap", arg(long, value_name = "TIME", value_parser = crate::flags::time, help = "Stop the process when nobody has followed its output, nor renewed the lease (prn renew), for this long", help_heading = "Lifetime", allow_negative_numbers = true))]
    pub lease: Option<Duration>,
    /// For how long it is remembered when it has ended.
    #[cfg_attr(feature = "clap", command(flatten))]
    pub retention: Retention,
    /// Start only what has this digest.
    #[cfg_attr(feature = "clap", arg(long = "expect", value_name = "DIGEST", value_parser = crate::flags::digest, help = "Start nothing unless what the server would start has this digest, which --dry-run shows"))]
    pub expect_digest: Option<String>,
    /// Sign it ([`Client::sign`](crate::Client::sign)), whatever the credentials say.
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            help = "Sign the start with your key. Where the server requires that of you (require-signed-starts), nothing else starts as yours, whoever has taken over its network half; elsewhere an unsigned start still counts"
        )
    )]
    pub sign: bool,
    /// What the process reads as its standard input.
    #[cfg_attr(feature = "clap", arg(skip))]
    pub stdin: StandardInput,
    /// The caller's own id for the process, which makes the call safe to repeat. `None`: the server
    /// mints one.
    #[cfg_attr(feature = "clap", arg(skip))]
    pub id: Option<ProcessId>,
}

impl StartSpec {
    /// A command with the server's defaults.
    pub fn new<I: IntoIterator<Item: Into<String>>>(argv: I) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

impl StartSpec {
    /// In the order in which they are followed.
    fn paths(&self) -> impl Iterator<Item = PathRule> {
        let bound = self.bind.iter().map(|binding| PathRule::Bound {
            path: binding.target.clone(),
            source: binding.source.clone(),
        });
        let hidden = self.hide.iter().cloned();
        let hidden = hidden.map(|path| PathRule::Hidden { path });
        let read_only = self.read_only.iter().cloned();
        let read_only = read_only.map(|path| PathRule::ReadOnly { path });
        bound.chain(hidden).chain(read_only)
    }
}

impl TryFrom<&StartSpec> for v1::StartRequest {
    type Error = ClientError;

    fn try_from(spec: &StartSpec) -> Result<Self, ClientError> {
        let (command, args) = spec
            .argv
            .split_first()
            .ok_or(ClientError::Protocol("no command to start"))?;
        Ok(Self {
            command: command.clone(),
            args: args.to_vec(),
            id: spec.id.map(|id| id.to_string()).unwrap_or_default(),
            environment: spec
                .environment
                .iter()
                .map(|Variable { name, value }| v1::EnvironmentVariable {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
            working_directory: spec.working_directory.clone().unwrap_or_default(),
            limits: Some(spec.limits.into()),
            best_effort_limits: spec.best_effort_limits,
            output_max_bytes: spec.output_max_bytes.unwrap_or(0),
            output_policy: v1::OutputPolicy::from(spec.output_policy.unwrap_or_default()).into(),
            output_store: v1::OutputStore::from(spec.output_store).into(),
            follow_timeout: spec.follow_timeout.map(to_wire_duration).transpose()?,
            timeout: spec.timeout.map(to_wire_duration).transpose()?,
            stop_grace: spec.stop_grace.map(to_wire_duration).transpose()?,
            linger: spec.linger,
            profile: spec
                .profile
                .map_or(v1::Profile::Unspecified, v1::Profile::from)
                .into(),
            paths: spec.paths().map(v1::PathRule::from).collect(),
            stdin: spec.stdin.kind().into_wire().into(),
            terminal_size: spec.stdin.terminal_size().map(v1::TerminalSize::from),
            workspace: spec.workspace.clone().unwrap_or_default(),
            user: spec.user.clone().unwrap_or_default(),
            name: spec.name.clone().unwrap_or_default(),
            labels: (spec.labels.iter().cloned())
                .map(|Label { key, value }| (key, value))
                .collect(),
            deadline: spec.deadline.map(prost_types::Timestamp::from),
            lease: spec.lease.map(to_wire_duration).transpose()?,
            retention: spec.retention.into_wire()?,
            expect_digest: spec.expect_digest.clone().unwrap_or_default(),
            // Made of all that.
            signature: None,
        })
    }
}

/// The answer to a start.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Started {
    /// The process.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub process: Process,
    /// Random id of this server run: under another one, the process no longer exists.
    pub boot_epoch: String,
    /// The id and specification were known: nothing was started.
    pub already_running: bool,
}

impl Started {
    /// Itself, if it has the id and the user that were asked for; empty: any.
    ///
    /// # Errors
    /// It is another process, or runs as somebody else.
    pub(crate) fn asked_for(self, id: &str, user: String) -> Result<Self, ClientError> {
        let process = &self.process;
        if !id.is_empty() && process.id.to_string() != id {
            return Err(ClientError::Protocol(
                "the server started another process than was asked for",
            ));
        }
        if !user.is_empty() && process.status.user.as_ref() != Some(&user) {
            return Err(ClientError::OtherUser {
                id: process.id,
                user,
                uid: process.status.uid,
            });
        }
        Ok(self)
    }
}

impl TryFrom<v1::StartResponse> for Started {
    type Error = ClientError;

    fn try_from(response: v1::StartResponse) -> Result<Self, ClientError> {
        Ok(Self {
            process: response.response.ok_or(INCOMPLETE)?.try_into()?,
            boot_epoch: response.boot_epoch,
            already_running: response.already_running,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::TerminalSize;

    #[test]
    fn what_is_bound_can_be_hidden_and_be_made_read_only() {
        let mut spec = StartSpec::new(["true"]);
        spec.read_only = vec!["/r".to_owned()];
        spec.hide = vec!["/h".to_owned()];
        spec.bind = vec!["/s:/t".parse().unwrap()];
        let paths = v1::StartRequest::try_from(&spec).unwrap().paths;
        let paths: Vec<_> = paths.iter().map(|rule| rule.path.as_str()).collect();
        assert_eq!(paths, ["/t", "/h", "/r"]);
    }

    #[test]
    fn a_start_carries_what_was_asked_for() {
        let mut spec = StartSpec::new(["sleep", "1"]);
        spec.timeout = Some(Duration::from_millis(1500));
        spec.labels = vec!["a=1".parse().unwrap(), "a=x=y".parse().unwrap()];
        spec.retention.until_read = true;
        let request = v1::StartRequest::try_from(&spec).unwrap();
        assert_eq!(
            (request.command.as_str(), request.args.as_slice()),
            ("sleep", &["1".to_owned()][..])
        );
        assert_eq!(request.timeout.unwrap().nanos, 500_000_000);
        assert_eq!(request.labels["a"], "x=y", "the last one counts");
        assert!(request.retention.unwrap().until_read);
        assert!(v1::StartRequest::try_from(&StartSpec::default()).is_err());
        assert_eq!(request.stdin(), v1::StandardInput::None);
        assert_eq!(request.terminal_size, None);
        let size = TerminalSize {
            rows: 50,
            columns: 132,
        };
        spec.stdin = StandardInput::Terminal(size);
        let request = v1::StartRequest::try_from(&spec).unwrap();
        assert_eq!(request.stdin(), v1::StandardInput::Terminal);
        assert_eq!(request.terminal_size.unwrap().columns, 132);
    }
}
