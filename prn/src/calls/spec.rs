//! What to start, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use prn_client::{Limits, OutputPolicy, OutputStore, Profile, StandardInput, StartSpec, mint_id};
use prn_proto::units::{
    Binding, Deadline, InvalidUnit, Label, ProcessName, UserName, Variable, Workspace,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::calls::fault::Fault;
use crate::calls::parsed::Parsed;

/// What to start. Either `argv` or `script`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// The program and its arguments, taken as they are: no shell is involved
    pub argv: Option<Vec<String>>,
    /// Commands for sh(1), instead of argv: pipes, variables, several lines
    pub script: Option<String>,
    /// Variables of its environment, beside what the server sets
    pub environment: BTreeMap<String, String>,
    /// Directory on the server to start in
    pub working_directory: Option<String>,
    /// Name of the workspace to start in: a directory whose files stay
    pub workspace: Option<String>,
    /// User of the server's machine to run as, where that is allowed
    pub user: Option<String>,
    /// Name that stands for its id; no other process that is alive has it
    pub name: Option<String>,
    /// Labels, to select by
    pub labels: BTreeMap<String, String>,
    /// Most that it may take of the machine
    pub limits: Ceilings,
    /// Start it where a limit cannot be enforced
    pub best_effort_limits: bool,
    /// Stop it after this time
    pub timeout: Option<Parsed<Duration>>,
    /// Stop it at this time
    pub deadline: Option<Parsed<Deadline>>,
    /// Stop it when nobody has followed its output or renewed the lease for so long
    pub lease: Option<Parsed<Duration>>,
    /// Time between SIGTERM and SIGKILL when it is stopped
    pub stop_grace: Option<Parsed<Duration>>,
    /// Leave alone what outlives its main process
    pub linger: bool,
    /// How it is confined
    pub profile: Option<Parsed<Profile>>,
    /// Directories of the server to show elsewhere: "SRC:DST"
    pub bind: Vec<String>,
    /// Directories to show empty
    pub hide: Vec<String>,
    /// Directories in which nothing can be changed
    pub read_only: Vec<String>,
    /// Most bytes of output that are kept
    pub output_max_bytes: Option<u64>,
    /// What happens when there are more
    pub output_policy: Option<Parsed<OutputPolicy>>,
    /// Where they are kept
    pub output_store: Option<Parsed<OutputStore>>,
    /// For how long it is remembered when it has ended
    pub retention: Retention,
    /// Its id, 32 lower-case hexadecimal digits, which makes the call safe to repeat
    pub id: Option<String>,
}

/// Most that a process may take of the machine.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ceilings {
    /// CPU time, in thousandths of a CPU
    pub cpu_millis: Option<u64>,
    /// Memory in bytes
    pub memory_bytes: Option<u64>,
    /// Processes and threads
    pub pids: Option<u64>,
    /// Bytes read a second, from each disk
    pub io_read_bytes_per_second: Option<u64>,
    /// Bytes written a second, to each disk
    pub io_write_bytes_per_second: Option<u64>,
}

/// For how long a finished process is remembered.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Until it is removed
    pub keep: bool,
    /// This long
    pub max_age: Option<Parsed<Duration>>,
    /// Until somebody has read all of its output
    pub until_read: bool,
}

impl Spec {
    /// As the client library has it, under an id that is made up where none is named.
    pub fn start(self) -> Result<StartSpec, Fault> {
        let argv = match (self.argv, self.script) {
            (Some(argv), None) if !argv.is_empty() => argv,
            (None, Some(script)) => ["sh", "-c", &script].map(str::to_owned).to_vec(),
            _ => {
                return Err(Fault::invalid(
                    "argv",
                    "say either argv or script, and what it is",
                ));
            }
        };
        let mut spec = StartSpec::new(argv);
        spec.environment = self
            .environment
            .into_iter()
            .map(variable)
            .collect::<Result<_, _>>()?;
        spec.working_directory = self.working_directory;
        spec.workspace = checked("workspace", self.workspace, |Workspace(name)| name)?;
        spec.user = checked("user", self.user, |UserName(name)| name)?;
        spec.name = checked("name", self.name, |ProcessName(name)| name)?;
        spec.labels = self
            .labels
            .into_iter()
            .map(label)
            .collect::<Result<_, _>>()?;
        spec.limits = self.limits.into();
        spec.best_effort_limits = self.best_effort_limits;
        spec.timeout = self.timeout.map(|Parsed(time)| time);
        spec.deadline = self.deadline.map(|Parsed(Deadline(time))| time);
        spec.lease = self.lease.map(|Parsed(time)| time);
        spec.stop_grace = self.stop_grace.map(|Parsed(time)| time);
        spec.linger = self.linger;
        spec.profile = self.profile.map(|Parsed(profile)| profile);
        for binding in &self.bind {
            let binding: Binding = binding.parse().map_err(|why| unit("bind", why))?;
            spec.bind.push(binding);
        }
        spec.hide = self.hide;
        spec.read_only = self.read_only;
        spec.output_max_bytes = self.output_max_bytes;
        spec.output_policy = self.output_policy.map(|Parsed(policy)| policy);
        spec.output_store = self
            .output_store
            .map(|Parsed(store)| store)
            .unwrap_or_default();
        spec.retention.keep = self.retention.keep;
        spec.retention.max_age = self.retention.max_age.map(|Parsed(age)| age);
        spec.retention.until_read = self.retention.until_read;
        spec.stdin = StandardInput::None;
        spec.id = Some(match self.id {
            Some(id) => id.parse().map_err(|why| Fault::invalid("id", why))?,
            None => mint_id()?,
        });
        Ok(spec)
    }
}

impl From<Ceilings> for Limits {
    fn from(ceilings: Ceilings) -> Self {
        let Ceilings {
            cpu_millis,
            memory_bytes,
            pids,
            io_read_bytes_per_second,
            io_write_bytes_per_second,
        } = ceilings;
        Self {
            cpu_millis,
            memory_bytes,
            io_read_bytes_per_second,
            io_write_bytes_per_second,
            pids,
        }
    }
}

fn unit(field: &'static str, why: InvalidUnit) -> Fault {
    Fault::invalid(field, why)
}

fn checked<T: std::str::FromStr<Err = InvalidUnit>>(
    field: &'static str,
    text: Option<String>,
    of: impl FnOnce(T) -> String,
) -> Result<Option<String>, Fault> {
    let read = |text: String| text.parse().map(of).map_err(|why| unit(field, why));
    text.map(read).transpose()
}

fn variable((name, value): (String, String)) -> Result<Variable, Fault> {
    if name.is_empty() || name.contains('=') {
        return Err(Fault::invalid(
            "environment",
            "a variable has a name without \"=\"",
        ));
    }
    Ok(Variable { name, value })
}

/// A label that a user may set.
pub fn label((key, value): (String, String)) -> Result<Label, Fault> {
    if key.contains('=') {
        return Err(unit("labels", InvalidUnit::Label));
    }
    let text = format!("{key}={value}");
    Label::of_user(&text).map_err(|why| unit("labels", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(json: &str) -> Result<StartSpec, String> {
        let spec: Spec = serde_json::from_str(json).map_err(|error| error.to_string())?;
        spec.start().map_err(|fault| fault.message)
    }

    #[test]
    fn what_to_start_is_said_by_the_names_of_the_api() {
        let spec = start(
            r#"{"argv":["make","-j8"],"environment":{"A":"b=c"},"limits":{"memory_bytes":1048576},
            "timeout":"90s","lease":30,"labels":{"a/b":"c"},"name":"build","profile":"strict",
            "output_policy":"kill","retention":{"until_read":true},"bind":["/a:/b"]}"#,
        )
        .unwrap();
        assert_eq!(spec.argv, ["make", "-j8"]);
        assert_eq!(spec.environment.first().unwrap().value, "b=c");
        assert_eq!(spec.limits.memory_bytes, Some(1 << 20));
        assert_eq!(spec.lease, Some(Duration::from_secs(30)));
        assert_eq!(spec.output_policy, Some(OutputPolicy::Kill));
        assert!(spec.retention.until_read && spec.id.is_some());
        let script = start(r#"{"script":"ls | wc -l"}"#).unwrap();
        assert_eq!(script.argv, ["sh", "-c", "ls | wc -l"]);
    }

    #[test]
    fn what_makes_no_sense_is_said_by_its_field() {
        for (json, said) in [
            ("{}", "argv"),
            (r#"{"argv":[]}"#, "argv"),
            (r#"{"argv":["a"],"script":"b"}"#, "argv"),
            (r#"{"argv":["a"],"cmd":"b"}"#, "cmd"),
            (r#"{"argv":["a"],"name":"a b"}"#, "name"),
            (r#"{"argv":["a"],"labels":{"a b":""}}"#, "labels"),
            (r#"{"argv":["a"],"labels":{"a=b":""}}"#, "labels"),
            (r#"{"argv":["a"],"environment":{"":""}}"#, "environment"),
            (r#"{"argv":["a"],"limits":{"memory":1}}"#, "memory"),
            (r#"{"argv":["a"],"id":"x"}"#, "id"),
        ] {
            let error = start(json).unwrap_err();
            assert!(error.contains(said), "{json}: {error}");
        }
    }
}
