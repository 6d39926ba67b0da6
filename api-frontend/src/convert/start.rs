//! What Start asks for.

use std::collections::HashSet;
use std::ffi::CString;

use prn_ipc_protocol::config;
use prn_ipc_protocol::message::{
    Input, Keeping, OutputStore, Overflow, ProcessSpec, Profile, StartSpec, TerminalSize,
};
use prn_ipc_protocol::output_max;
use prn_ipc_protocol::policy::Role;
use prn_ipc_protocol::types::{ARGUMENTS_MAX, Argv, Digest, Limits, Millis, ProcessId, UserName};
use prn_proto::defaults::FOLLOW_TIMEOUT;
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::paths::{self, PATH_MAX};
use crate::convert::terminal::{USUAL_SIZE, size};
use crate::convert::time::{millis, positive_millis};
use crate::convert::{enums, id, lifetime, limits, names, signature, workspace};

/// What a process gets that asks for nothing else.
#[derive(Debug)]
pub struct Defaults {
    /// Limits.
    pub limits: Limits,
    /// Output bytes kept.
    pub output_max: u64,
    /// Most output bytes on disk.
    pub output_disk: u64,
    /// From SIGTERM to SIGKILL.
    pub stop_grace: Millis,
}

impl From<&config::Frontend> for Defaults {
    fn from(config: &config::Frontend) -> Self {
        Self {
            limits: config.default_limits.clone(),
            output_max: config.output_default,
            output_disk: config.output_disk,
            stop_grace: config.stop_grace,
        }
    }
}

/// Limits of a process that asks for none: its client's role's, then the server's, as far as the role
/// allows those.
pub fn default_limits(defaults: &Defaults, role: Option<&Role>) -> Limits {
    let Some(role) = role else {
        return defaults.limits.clone();
    };
    let lowered = defaults.limits.iter().map(|(name, value)| {
        let ceiling = role.ceilings.get(name).unwrap_or(value);
        (name, value.min(ceiling))
    });
    role.defaults.or(&lowered.collect())
}

/// What confines a process that does not say it: no less than its client's role wants.
fn default_profile(role: Option<&Role>) -> Profile {
    match role.map(|role| role.profile) {
        Some(Profile::Strict) => Profile::Strict,
        Some(Profile::Default | Profile::None) | None => Profile::default(),
    }
}

/// Command, arguments and environment are too long together: so that a start request stays well
/// below the largest datagram, environment counts as well here.
pub fn too_long() -> InvalidField {
    let why = format!(
        "command, arguments and environment must not exceed {ARGUMENTS_MAX} bytes together"
    );
    InvalidField::new("args", why)
}

/// A start request of somebody with this role; `mint` makes the id when the client left that to the server.
pub fn start_spec<E: From<Violations>>(
    raw: v1::StartRequest,
    defaults: &Defaults,
    role: Option<&Role>,
    mint: impl FnOnce() -> Result<ProcessId, E>,
) -> Result<StartSpec, E> {
    let mut violations = Violations::default();
    let id = if raw.id.is_empty() {
        Some(mint()?)
    } else {
        violations.check(id::parsed(&raw.id, "id"))
    };
    let input = input(&raw, &mut violations);
    let output = keeping(&raw, defaults, role, &mut violations);
    let profile = violations.check(enums::asked_profile(raw.profile));
    let timeout = violations.check(positive_millis(raw.timeout, "timeout"));
    let stop_grace = violations.check(millis(raw.stop_grace, "stop_grace"));
    let limits = limits::limits(raw.limits.unwrap_or_default(), &mut violations);
    let paths = paths::paths(raw.paths, &mut violations);
    let user = violations.check(user(raw.user, &raw.workspace));
    let workspace = violations.check(workspace::of_start(raw.workspace));
    let directory = violations.check(working_directory(raw.working_directory));
    let name = violations.check(names::of_start(raw.name));
    let labels = violations.check(names::labels(raw.labels, "labels"));
    let deadline = violations.check(lifetime::deadline(raw.deadline.as_ref()));
    let lease = violations.check(positive_millis(raw.lease, "lease"));
    let retention = lifetime::retention(raw.retention, &mut violations);
    let expect = violations.check(expected(&raw.expect_digest));
    let signature = signature::of_start(raw.signature, &mut violations);
    let run = run(raw.command, raw.args, raw.environment, &mut violations);
    let whole = || {
        let run = run?;
        Some(StartSpec {
            id: id?,
            process: ProcessSpec {
                argv: run.argv,
                working_directory: directory?,
                limits: limits?.or(&default_limits(defaults, role)),
                best_effort_limits: raw.best_effort_limits,
                input: input?,
                output: output?,
                timeout: timeout?,
                stop_grace: stop_grace?.unwrap_or(defaults.stop_grace),
                linger: raw.linger,
                profile: profile?.unwrap_or_else(|| default_profile(role)),
                user: user?,
                paths: paths?,
                workspace: workspace?,
                name: name?,
                labels: labels?,
                deadline: deadline?,
                lease: lease?,
                retention: retention?,
            },
            variables: run.variables,
            expect: expect?,
            signature: signature?,
            requested: None,
        })
    };
    match whole() {
        Some(spec) => Ok(spec),
        None => Err(violations.into()),
    }
}

/// Who it is to run as. A workspace's files are those of a user of its own.
fn user(raw: String, workspace: &str) -> Result<Option<UserName>, InvalidField> {
    if !raw.is_empty() && !workspace.is_empty() {
        return Err(user_in_workspace());
    }
    names::user(raw)
}

/// Both a user of the machine's and a workspace are asked for.
pub fn user_in_workspace() -> InvalidField {
    let why = "must be absent with a workspace, whose processes run as a user of its own: leave one of the two out";
    InvalidField::new("user", why)
}

/// The digest that it has to have. `None`: any.
fn expected(raw: &str) -> Result<Option<Digest>, InvalidField> {
    if raw.is_empty() {
        return Ok(None);
    }
    raw.parse().map(Some).map_err(|_| {
        let why = "must be 64 lower-case hexadecimal digits, as CheckAccess answers them";
        InvalidField::new("expect_digest", why)
    })
}

/// What is to be executed.
#[derive(Debug)]
struct Run {
    argv: Argv,
    variables: Vec<CString>,
}

fn run(
    command: String,
    args: Vec<String>,
    variables: Vec<v1::EnvironmentVariable>,
    violations: &mut Violations,
) -> Option<Run> {
    let size = violations.check(check_size(&command, &args, &variables));
    let variables = violations.check(environment(variables));
    let argv = argv(command, args, violations);
    size?;
    Some(Run {
        argv: argv?,
        variables: variables?,
    })
}

fn input(raw: &v1::StartRequest, violations: &mut Violations) -> Option<Input> {
    let size = violations.check(terminal_size(raw));
    let input = violations.check(enums::asked_input(raw.stdin, size.unwrap_or(USUAL_SIZE)));
    size?;
    Some(input?.unwrap_or_default())
}

fn terminal_size(raw: &v1::StartRequest) -> Result<TerminalSize, InvalidField> {
    match &raw.terminal_size {
        None => Ok(USUAL_SIZE),
        Some(_) if raw.stdin() != v1::StandardInput::Terminal => {
            let why = "is of use with STANDARD_INPUT_TERMINAL alone";
            Err(InvalidField::new("terminal_size", why))
        }
        Some(raw) => size(raw),
    }
}

fn keeping(
    raw: &v1::StartRequest,
    defaults: &Defaults,
    role: Option<&Role>,
    violations: &mut Violations,
) -> Option<Keeping> {
    let overflow = violations.check(overflow(raw));
    let store = violations.check(enums::asked_store(raw.output_store));
    let most = role.and_then(|role| role.output_max).unwrap_or(u64::MAX);
    let store = store.map(|store| store.unwrap_or(OutputStore::Memory));
    let max = match raw.output_max_bytes {
        0 if store == Some(OutputStore::Disk) => {
            Some(defaults.output_max.min(defaults.output_disk).min(most))
        }
        0 => Some(defaults.output_max.min(most)),
        bytes => {
            let max = output_max(bytes);
            violations.check(max.map_err(|why| InvalidField::new("output_max_bytes", why)))
        }
    };
    Some(Keeping {
        max: max?,
        overflow: overflow?,
        store: store?,
    })
}

/// How long a process waits while nobody follows it.
fn follow_timeout(raw: &v1::StartRequest) -> Result<Millis, InvalidField> {
    match millis(raw.follow_timeout, "follow_timeout")? {
        Some(timeout) => Ok(timeout),
        None => {
            Millis::try_from(FOLLOW_TIMEOUT).map_err(|why| InvalidField::new("follow_timeout", why))
        }
    }
}

fn overflow(raw: &v1::StartRequest) -> Result<Overflow, InvalidField> {
    if raw.follow_timeout.is_some() && raw.output_policy() != v1::OutputPolicy::Follow {
        let why = "is of use with OUTPUT_POLICY_FOLLOW alone";
        return Err(InvalidField::new("follow_timeout", why));
    }
    let policy = enums::asked_policy(raw.output_policy, follow_timeout(raw)?)?;
    Ok(policy.unwrap_or(Overflow::DropOldest))
}

fn argv(command: String, args: Vec<String>, violations: &mut Violations) -> Option<Argv> {
    let string = |field, string: String| {
        CString::new(string).map_err(|_| InvalidField::new(field, "must not hold a NUL byte"))
    };
    let command = violations.check(string("command", command));
    let args: Result<Vec<_>, _> = args
        .into_iter()
        .map(|argument| string("args", argument))
        .collect();
    let args = violations.check(args);
    let mut strings = vec![command?];
    strings.extend(args?);
    let argv = strings.try_into();
    violations.check(argv.map_err(|why| InvalidField::new("command", why)))
}

fn environment(raw: Vec<v1::EnvironmentVariable>) -> Result<Vec<CString>, InvalidField> {
    let invalid = |why| Err(InvalidField::new("environment", why));
    let mut names = HashSet::new();
    for v1::EnvironmentVariable { name, .. } in &raw {
        if name.is_empty() {
            return invalid("a variable's name must not be empty");
        }
        if name.contains('=') {
            return invalid("a variable's name must not hold \"=\"");
        }
        if !names.insert(name) {
            return invalid("a variable is given twice");
        }
    }
    raw.into_iter()
        .map(|variable| {
            CString::new(format!("{}={}", variable.name, variable.value))
                .map_err(|_| InvalidField::new("environment", "must not hold a NUL byte"))
        })
        .collect()
}

/// `None`: the process's own.
fn working_directory(path: String) -> Result<Option<CString>, InvalidField> {
    if path.is_empty() {
        return Ok(None);
    }
    let invalid = |why: String| InvalidField::new("working_directory", why);
    if !path.starts_with('/') || path.len() > PATH_MAX {
        return Err(invalid(format!(
            "must be an absolute path of at most {PATH_MAX} bytes"
        )));
    }
    CString::new(path)
        .map(Some)
        .map_err(|_| invalid("must not hold a NUL byte".to_owned()))
}

fn check_size(
    command: &str,
    args: &[String],
    environment: &[v1::EnvironmentVariable],
) -> Result<(), InvalidField> {
    let arguments: usize = args.iter().map(|argument| argument.len() + 1).sum();
    let variables: usize = environment
        .iter()
        .map(|variable| variable.name.len() + variable.value.len() + 2)
        .sum();
    if command.len() + 1 + arguments + variables > ARGUMENTS_MAX {
        return Err(too_long());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_ipc_protocol::types::LimitName;

    const ID: &str = "00ff10a9e28b7c4d5566778899aabbcc";

    fn spec(raw: v1::StartRequest) -> Result<StartSpec, Violations> {
        let defaults = Defaults {
            limits: Limits::try_from([None, Some(1 << 30), None, None, None]).unwrap(),
            output_max: 65_536,
            output_disk: 1 << 30,
            stop_grace: 10_000.try_into().unwrap(),
        };
        start_spec(raw, &defaults, None, || Ok(ProcessId::from_bytes([7; 16])))
    }

    fn command(command: &str) -> v1::StartRequest {
        v1::StartRequest {
            command: command.into(),
            ..Default::default()
        }
    }

    fn field(raw: v1::StartRequest) -> String {
        let [field] = fields(&spec(raw).unwrap_err()).try_into().unwrap();
        field
    }

    fn fields(violations: &Violations) -> Vec<String> {
        violations
            .fields()
            .map(|invalid| invalid.field.clone())
            .collect()
    }

    #[test]
    fn all_malformed_fields_are_named_at_once() {
        let raw = v1::StartRequest {
            id: "x".into(),
            args: vec!["\0".into()],
            environment: vec![v1::EnvironmentVariable::default()],
            working_directory: "tmp".into(),
            limits: Some(v1::Limits {
                cpu_millis: Some(0),
                memory_bytes: Some(1),
                ..Default::default()
            }),
            stdin: 9,
            terminal_size: Some(v1::TerminalSize::default()),
            output_max_bytes: 1,
            timeout: Some(prost_types::Duration::default()),
            output_policy: 9,
            output_store: 9,
            profile: 9,
            paths: vec![v1::PathRule::default()],
            ..command("true")
        };
        let named = [
            "id",
            "terminal_size",
            "stdin",
            "output_policy",
            "output_store",
            "output_max_bytes",
            "profile",
            "timeout",
            "limits.cpu_millis",
            "limits.memory_bytes",
            "paths[0].path",
            "working_directory",
            "environment",
            "args",
        ];
        assert_eq!(fields(&spec(raw).unwrap_err()), named);
    }

    #[test]
    fn a_seed_clients_start_request_asks_for_the_defaults() {
        let spec = spec(v1::StartRequest {
            args: vec!["-la".into(), String::new()],
            ..command("ls")
        })
        .unwrap();
        assert_eq!(spec.id, ProcessId::from_bytes([7; 16]));
        assert!(spec.variables.is_empty());
        let spec = spec.process;
        assert_eq!(
            spec.argv.as_slice(),
            [c"ls".into(), c"-la".into(), CString::from(c"")]
        );
        assert_eq!(spec.working_directory, None);
        assert_eq!(spec.profile, Profile::Default);
        assert_eq!(
            (spec.output.max, spec.timeout, spec.stop_grace),
            (65_536, None, 10_000.try_into().unwrap())
        );
        assert_eq!(spec.limits.get(LimitName::Memory), Some(1 << 30));
        assert!(!spec.linger && !spec.best_effort_limits);
    }

    #[test]
    fn an_input_is_nothing_a_pipe_or_a_terminal_of_some_size() {
        use v1::StandardInput::{None, Pipe, Terminal, Unspecified};
        let asked =
            |stdin: v1::StandardInput, rows_and_columns: Option<[u32; 2]>| v1::StartRequest {
                stdin: stdin.into(),
                terminal_size: rows_and_columns
                    .map(|[rows, columns]| v1::TerminalSize { rows, columns }),
                ..command("true")
            };
        let input = |stdin, size| spec(asked(stdin, size)).unwrap().process.input;
        let terminal = |rows, columns| Input::Terminal(TerminalSize { rows, columns });
        assert_eq!(input(Unspecified, Option::None), Input::Nothing);
        assert_eq!(input(None, Option::None), Input::Nothing);
        assert_eq!(input(Pipe, Option::None), Input::Pipe);
        assert_eq!(input(Terminal, Option::None), terminal(24, 80));
        assert_eq!(input(Terminal, Some([1, 65_535])), terminal(1, 65_535));
        for stdin in [Unspecified, None, Pipe] {
            assert_eq!(field(asked(stdin, Some([1, 1]))), "terminal_size");
        }
        let rows = asked(Terminal, Some([0, 80]));
        assert_eq!(field(rows), "terminal_size.rows");
        let columns = asked(Terminal, Some([24, 65_536]));
        assert_eq!(field(columns), "terminal_size.columns");
        let unknown = v1::StartRequest {
            stdin: 4,
            ..command("true")
        };
        assert_eq!(field(unknown), "stdin");
    }

    #[test]
    fn each_malformed_field_is_named() {
        let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let limits = |limits| v1::StartRequest {
            limits: Some(limits),
            ..command("true")
        };
        assert_eq!(field(command("")), "command");
        assert_eq!(field(command("a\0")), "command");
        assert_eq!(
            field(v1::StartRequest {
                args: vec!["\0".into()],
                ..command("true")
            }),
            "args"
        );
        assert_eq!(
            field(v1::StartRequest {
                id: ID.to_uppercase(),
                ..command("true")
            }),
            "id"
        );
        assert_eq!(
            field(v1::StartRequest {
                working_directory: "tmp".into(),
                ..command("true")
            }),
            "working_directory"
        );
        assert_eq!(
            field(v1::StartRequest {
                output_max_bytes: 1,
                ..command("true")
            }),
            "output_max_bytes"
        );
        assert_eq!(
            field(v1::StartRequest {
                output_policy: 5,
                ..command("true")
            }),
            "output_policy"
        );
        assert_eq!(
            field(v1::StartRequest {
                follow_timeout: duration(1, 0),
                ..command("true")
            }),
            "follow_timeout"
        );
        assert_eq!(
            field(v1::StartRequest {
                output_store: 3,
                ..command("true")
            }),
            "output_store"
        );
        assert_eq!(
            field(v1::StartRequest {
                timeout: duration(0, 1),
                ..command("true")
            }),
            "timeout"
        );
        assert_eq!(
            field(v1::StartRequest {
                timeout: duration(-1, 0),
                ..command("true")
            }),
            "timeout"
        );
        assert_eq!(
            field(v1::StartRequest {
                stop_grace: duration(i64::MAX, 0),
                ..command("true")
            }),
            "stop_grace"
        );
        assert_eq!(
            field(limits(v1::Limits {
                cpu_millis: Some(0),
                ..Default::default()
            })),
            "limits.cpu_millis"
        );
        assert_eq!(
            field(limits(v1::Limits {
                memory_bytes: Some(1),
                ..Default::default()
            })),
            "limits.memory_bytes"
        );
        assert_eq!(
            field(limits(v1::Limits {
                pids: Some(u64::MAX),
                ..Default::default()
            })),
            "limits.pids"
        );
        let variable = v1::EnvironmentVariable {
            name: "A=".into(),
            value: String::new(),
        };
        assert_eq!(
            field(v1::StartRequest {
                environment: vec![variable],
                ..command("true")
            }),
            "environment"
        );
    }

    #[test]
    fn a_user_has_a_name_and_no_workspace() {
        let asked = |user: &str, workspace: &str| v1::StartRequest {
            user: user.into(),
            workspace: workspace.into(),
            ..command("true")
        };
        let user = |text: &str| spec(asked(text, "")).unwrap().process.user;
        assert_eq!(user(""), None);
        for text in [
            "deploy",
            "www-data",
            "_apt",
            "anna@example",
            "1st",
            &"x".repeat(64),
        ] {
            assert_eq!(user(text).unwrap().as_str(), text);
            assert!(text.parse::<prn_proto::units::UserName>().is_ok(), "{text}");
        }
        for text in [
            "0",
            "1001",
            "-x",
            ".x",
            "a b",
            "a:b",
            "a/b",
            "a\n",
            "ä",
            &"x".repeat(65),
        ] {
            assert_eq!(field(asked(text, "")), "user", "{text:?}");
            assert!(
                text.parse::<prn_proto::units::UserName>().is_err(),
                "{text:?}"
            );
        }
        assert_eq!(field(asked("deploy", "w")), "user");
    }

    #[test]
    fn output_goes_where_it_was_asked_for_and_to_memory_by_default() {
        let output = |output_store| {
            spec(v1::StartRequest {
                output_store,
                ..command("true")
            })
            .unwrap()
            .process
            .output
        };
        assert_eq!(
            [0, 1, 2].map(|raw| output(raw).store),
            [OutputStore::Memory, OutputStore::Memory, OutputStore::Disk]
        );
        assert_eq!(output(2).max, 65_536);
    }

    #[test]
    fn i5_arguments_and_environment_share_one_limit() {
        let request = |arguments: usize, value: usize| v1::StartRequest {
            args: vec!["x".repeat(arguments)],
            environment: vec![v1::EnvironmentVariable {
                name: "A".into(),
                value: "x".repeat(value),
            }],
            ..command("true")
        };
        // "true" 5, the argument and the value each one more, "A=" 2.
        let rest = ARGUMENTS_MAX - 5 - 1 - 3;
        assert!(spec(request(rest - 1000, 1000)).is_ok());
        let error = spec(request(rest - 1000, 1001)).unwrap_err();
        assert!(error.fields().any(|invalid| invalid.why.contains("131072")));
    }
}
