//! `prn server reload`: another configuration for a server that runs.
//!
//! Runs as root, in a process that lives for this alone. Everything is parsed and checked as for a
//! start, without anything being claimed or bound, compared with what the server says is in force,
//! and handed over. What a running server cannot change is named, and stays.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use prn_ipc_protocol::config;
use prn_ipc_protocol::control::{Answer, Key as KeyOf, Order};
use prn_ipc_protocol::message::OutputStore;
use prn_ipc_protocol::types::AccessName;
use prn_proto::credentials::CredentialsError;
use prn_proto::tls::Key;
use prn_proto::units::{Size, SizeOrZero, show_size};

use crate::audit::Target;
use crate::claim;
use crate::control::{ControlError, Conversation};
use crate::credentials::Credentials;
use crate::error::ServerError;
use crate::handover;
use crate::host::Host;
use crate::options::{self, Options};
use crate::plan::{self, PlanError};
use crate::warning::Warning;

/// What [`Reloaded::changes`] says where the server gets another key and certificate, and nothing
/// else is new.
pub const ANOTHER_IDENTITY: &str = "another certificate and key of the server";

/// What it says where nothing is new but the program that signs with a key in a token.
pub const ANOTHER_SIGNER: &str = "another signer";

/// What it says where nothing is.
pub const NOTHING_NEW: &str = "nothing is new";

/// Two reloads at once push each other out: one of them comes back.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Debug)]
pub struct Reloaded {
    /// What is new, or would be.
    pub changes: String,
    /// What cannot change while the server runs, and would have.
    pub fixed: Vec<Fixed>,
    /// How far that went.
    pub outcome: Outcome,
}

/// How far a reload went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A configuration of this number is in force.
    InForce(u32),
    /// Nothing is new, so nothing was done.
    Same,
    /// It would be taken.
    Checked,
}

/// A setting that stays as it was at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    name: String,
    /// `None`: its default.
    value: Option<String>,
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value } = self;
        let value = value.as_deref().unwrap_or("its default");
        write!(f, "{name} needs a restart of the server; still {value}")
    }
}

/// What is in force.
#[derive(Debug)]
struct Running {
    supervisor: config::Supervisor,
    frontend: config::Frontend,
}

/// What is to be in force.
#[derive(Debug)]
struct New<'a> {
    supervisor: config::Supervisor,
    frontend: config::Frontend,
    /// If it is another one.
    key: Option<&'a Key>,
    changes: String,
    fixed: Vec<Fixed>,
}

/// `prn server reload`. What the operator should know goes to `warn`.
///
/// # Errors
/// All of a start, or that no server runs or takes it: then nothing has changed.
pub fn reload(flags: options::Reload, warn: &dyn Fn(Warning)) -> Result<Reloaded, ServerError> {
    let host = Host::survey();
    if host.uid != 0 {
        let what = "prn server reload must run as root: use sudo, or `systemctl reload prn`";
        return Err(ServerError::Host(what.to_owned()));
    }
    let options = options::merged(*flags.options, flags.config.as_deref(), warn)?;
    let credentials = Credentials::load(&options, warn)?;
    let state_dir = plan::state_dir(options.state_dir())?;
    let wanted = Wanted {
        options: &options,
        credentials: &credentials,
        key: OnceCell::new(),
        state_dir: Path::new(&state_dir),
        host,
        is_check: flags.check,
    };
    for _ in 1..TRIES {
        match wanted.hand_over() {
            Err(ServerError::Control(ControlError::Over)) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    wanted.hand_over()
}

/// What is wanted, and of which server.
#[derive(Debug)]
struct Wanted<'a> {
    options: &'a Options,
    credentials: &'a Credentials,
    /// Once it is there: a command may take long for it, in which others push this one out, and
    /// only the rest is done again.
    key: OnceCell<Key>,
    state_dir: &'a Path,
    host: Host,
    is_check: bool,
}

impl Wanted<'_> {
    fn hand_over(&self) -> Result<Reloaded, ServerError> {
        let mut server = Conversation::begin(self.state_dir)?;
        let running = Running::ask(&mut server)?;
        if self.credentials.is_token()
            && running.supervisor.own_cgroup.is_none()
            && let Some(pid) = server.pid()
        {
            claim::join(pid, &self.host)?;
        }
        let new = self.instead_of(&running)?;
        let is_same = new.supervisor == running.supervisor
            && new.frontend == running.frontend
            && new.key.is_none();
        let outcome = if is_same {
            Outcome::Same
        } else if self.is_check {
            Outcome::Checked
        } else {
            Outcome::InForce(new.order(&mut server)?)
        };
        Ok(Reloaded {
            changes: new.changes,
            fixed: new.fixed,
            outcome,
        })
    }

    fn key(&self) -> Result<&Key, ServerError> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let key = self.credentials.key(self.options, &self.host)?;
        Ok(self.key.get_or_init(|| key))
    }

    /// What is to be in force instead.
    fn instead_of(&self, running: &Running) -> Result<New<'_>, ServerError> {
        let is_same = self.credentials.certificate() == running.frontend.certificate;
        let key = match self.key() {
            // It fits the certificate, as the one in force does. What signs with it is another one:
            // the one that runs may be stuck or gone.
            Ok(key) => (!is_same || key.remote().is_some()).then_some(key),
            Err(ServerError::Credentials(CredentialsError::NoKey)) if is_same => None,
            Err(error) => return Err(error),
        };
        let plan = plan::resolve(
            &with_fixed(self.options, &running.supervisor, &running.frontend),
            &self.host.of(&running.supervisor),
        )?;
        if plan.supervisor.uid_count < running.supervisor.uid_count {
            let given = plan.supervisor.finished_max;
            return Err(PlanError::FinishedWhileRunning { given }.into());
        }
        let fixed = fixed_that_differ(&running.supervisor.fixed, &fixed(self.options));
        let paths = self.options.paths.resolve(self.state_dir)?;
        let is_hidden_so = !fixed.iter().any(|fixed| fixed.name == HIDDEN);
        let supervisor = running.supervisor.reloaded(config::Supervisor {
            // They were compared with what is to be hidden.
            bindable: if is_hidden_so {
                paths.bindable
            } else {
                running.supervisor.bindable.clone()
            },
            policy: self.credentials.policy().clone(),
            users: self.credentials.users(&running.supervisor, &self.host)?,
            ..plan.supervisor
        });
        let frontend = self.credentials.show(config::Frontend {
            epoch: running.frontend.epoch,
            started: running.frontend.started,
            processes_max: running.frontend.processes_max,
            output_disk: running.frontend.output_disk,
            has_namespaces: running.frontend.has_namespaces,
            threads: running.frontend.threads,
            memory: running.frontend.memory,
            ..plan.frontend
        });
        let mut changes = changes(running, &supervisor, &frontend);
        if changes == NOTHING_NEW && key.is_some() {
            changes = ANOTHER_SIGNER.to_owned();
        }
        Ok(New {
            changes,
            supervisor,
            frontend,
            key,
            fixed,
        })
    }
}

impl Running {
    fn ask(server: &mut Conversation) -> Result<Self, ServerError> {
        let (answer, files) = server.order(&Order::Show, &[])?;
        let (Answer::Shown, Ok([supervisor, frontend])) = (answer, <[OwnedFd; 2]>::try_from(files))
        else {
            return Err(ControlError::Over.into());
        };
        Ok(Self {
            supervisor: config::read(supervisor.as_fd()).map_err(ControlError::OtherBuild)?,
            frontend: config::read(frontend.as_fd()).map_err(ControlError::OtherBuild)?,
        })
    }
}

impl New<'_> {
    /// Hands it over. Returns its number, once it is in force.
    fn order(&self, server: &mut Conversation) -> Result<u32, ServerError> {
        let supervisor = handover::sealed("prn-config", &self.supervisor)?;
        let frontend = handover::sealed("prn-frontend-config", &self.frontend)?;
        let key = match self.key {
            Some(key) => Some(handover::key(key)?),
            None => None,
        };
        let files = [Some(&supervisor), Some(&frontend), key.as_ref()];
        let files: Vec<_> = files.into_iter().flatten().map(AsFd::as_fd).collect();
        let order = Order::Reload {
            key: if key.is_some() {
                KeyOf::Sent
            } else {
                KeyOf::Kept
            },
            changes: self.changes.clone(),
        };
        match server.order(&order, &files)? {
            (Answer::InForce(generation), _) => Ok(generation),
            (Answer::Shown | Answer::Refused(_) | Answer::Status(_), _) => {
                Err(ControlError::Over.into())
            }
        }
    }
}

/// Flags whose values a running server keeps. That of the state folder says which server it is.
pub const FIXED: [&str; 14] = [
    "audit",
    "address",
    "state-dir",
    "instance",
    "delegated-cgroup",
    "allow-missing-limits",
    "allow-profile-none",
    "frontend-uid",
    "first-uid",
    "uids",
    "output-ceiling",
    "output-budget",
    "output-disk",
    "frontend-memory",
];

/// The name of what no process sees.
const HIDDEN: &str = "[paths] hidden";

/// What a reload does not change, as the options say it: what was opened, claimed or compiled into
/// filters and mounts at the start, or holds what is in memory.
pub fn fixed(options: &Options) -> BTreeMap<String, String> {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let yes = |is_so: bool| is_so.then(|| "yes".to_owned());
    let size = |size: Option<Size>| size.map(|size| show_size(size.0));
    let disk = options.output_disk.filter(|size| size.0 > 0);
    let hidden = options.paths.hidden.as_ref().map(|paths| {
        let paths = paths.iter().map(|path| path.to_string_lossy().into_owned());
        paths.collect::<Vec<_>>().join(", ")
    });
    let audit = options.audit.as_ref();
    let audit = audit.filter(|target| **target != Target::Nowhere);
    let all = [
        ("audit", audit.map(ToString::to_string)),
        ("address", options.address.as_ref().map(|to| to.0.clone())),
        ("instance", options.instance.clone()),
        ("delegated-cgroup", yes(options.delegated_cgroup)),
        ("allow-missing-limits", yes(options.allow_missing_limits)),
        ("allow-profile-none", yes(options.allow_profile_none)),
        ("frontend-uid", number(options.frontend_uid)),
        ("first-uid", number(options.first_uid)),
        ("uids", number(options.uids)),
        ("output-ceiling", size(options.output_ceiling)),
        ("output-budget", size(options.output_budget)),
        ("output-disk", disk.map(|size| show_size(size.0))),
        ("frontend-memory", size(options.frontend_memory)),
        (HIDDEN, hidden),
    ];
    let all = all.into_iter();
    all.filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn fixed_that_differ(
    running: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<Fixed> {
    let names: BTreeSet<_> = running.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter(|name| running.get(*name) != new.get(*name))
        .map(|name| Fixed {
            name: name.clone(),
            value: running.get(name).cloned(),
        })
        .collect()
}

/// The options, with what stays in place of what they say of it: the plan is made, and what depends
/// on that is compared, as for the server that runs.
fn with_fixed(
    options: &Options,
    supervisor: &config::Supervisor,
    frontend: &config::Frontend,
) -> Options {
    let memory = supervisor.output.get(&OutputStore::Memory);
    let disk = supervisor.output.get(&OutputStore::Disk);
    Options {
        delegated_cgroup: false,
        instance: None,
        frontend_uid: Some(supervisor.frontend_uid),
        first_uid: Some(supervisor.first_uid),
        uids: Some(supervisor.uid_count),
        output_ceiling: memory.map(|memory| Size(memory.ceiling)),
        output_budget: memory.map(|memory| Size(memory.budget)),
        output_disk: disk.map(|disk| SizeOrZero(disk.budget)),
        frontend_memory: Some(Size(frontend.memory)),
        ..options.clone()
    }
}

impl Host {
    /// This host as the server has it, whose limits are not those of this process.
    fn of(&self, running: &config::Supervisor) -> Self {
        let budget = running.output.get(&OutputStore::Memory);
        Self {
            open_files: (running.open_files.soft, running.open_files.hard),
            memory: self.memory.max(budget.map_or(0, |memory| memory.budget)),
            ..self.clone()
        }
    }
}

/// What is new of who is taken, beside who they are, and of what they may be given, in words.
fn other_changes(
    running: &Running,
    supervisor: &config::Supervisor,
    frontend: &config::Frontend,
) -> Vec<&'static str> {
    let (own, shown) = (&running.supervisor, &running.frontend);
    let is_other_identity =
        (&shown.certificate, &shown.issuers) != (&frontend.certificate, &frontend.issuers);
    let are_other_authorities =
        (&shown.authorities, &shown.revocations) != (&frontend.authorities, &frontend.revocations);
    let (signing, signing_now) = (&own.policy.signing, &supervisor.policy.signing);
    let is_other_signing = (signing.is_required, signing.window_max, &signing.fleets)
        != (
            signing_now.is_required,
            signing_now.window_max,
            &signing_now.fleets,
        );
    let kinds = match (shown.allows_p256, frontend.allows_p256) {
        (false, true) => Some("P-256 keys are taken"),
        (true, false) => Some("P-256 keys are taken no longer"),
        (true, true) | (false, false) => None,
    };
    let said = [
        (is_other_identity, ANOTHER_IDENTITY),
        (
            are_other_authorities,
            "other authorities, or lists of what they have revoked",
        ),
        (is_other_signing, "other rules of signed starts"),
        (
            shown.reflects != frontend.reflects,
            "another answer to who asks for the API's schema",
        ),
        (
            own.bindable != supervisor.bindable,
            "other directories that may be bound",
        ),
        (
            own.users != supervisor.users,
            "other users that processes may run as",
        ),
        (
            own.workspaces != supervisor.workspaces,
            "other bounds of workspaces",
        ),
        (
            has_other_limits(running, supervisor, frontend),
            "other limits",
        ),
    ];
    let said = said
        .into_iter()
        .filter_map(|(is_so, what)| is_so.then_some(what));
    kinds.into_iter().chain(said).collect()
}

/// Whether something is new that has no word of its own.
fn has_other_limits(
    running: &Running,
    supervisor: &config::Supervisor,
    frontend: &config::Frontend,
) -> bool {
    let policy = &running.supervisor.policy;
    let shown = &running.frontend;
    let supervisor = config::Supervisor {
        policy: policy.clone(),
        bindable: running.supervisor.bindable.clone(),
        users: running.supervisor.users.clone(),
        workspaces: running.supervisor.workspaces,
        ..supervisor.clone()
    };
    let frontend = config::Frontend {
        policy: policy.clone(),
        allows_p256: shown.allows_p256,
        reflects: shown.reflects,
        pins: shown.pins.clone(),
        certificate: shown.certificate.clone(),
        issuers: shown.issuers.clone(),
        authorities: shown.authorities.clone(),
        revocations: shown.revocations.clone(),
        ..frontend.clone()
    };
    supervisor != running.supervisor || frontend != running.frontend
}

/// What is new, in words.
fn changes(
    running: &Running,
    supervisor: &config::Supervisor,
    frontend: &config::Frontend,
) -> String {
    let (old, new) = (&running.supervisor.policy, &supervisor.policy);
    let pins = |frontend: &config::Frontend| -> BTreeMap<AccessName, config::Pin> {
        let pins = frontend.pins.iter().cloned();
        pins.map(|pin| (pin.principal.clone(), pin)).collect()
    };
    let clients = difference(&old.principals, &new.principals);
    let known = difference(&pins(&running.frontend), &pins(frontend));
    let roles = difference(&old.roles, &new.roles);
    let mut changed: Vec<_> = clients.changed;
    changed.extend(known.changed);
    changed.sort();
    changed.dedup();
    let lists = [
        ("clients added", clients.added),
        ("clients removed", clients.removed),
        ("clients changed", changed),
        ("roles added", roles.added),
        ("roles removed", roles.removed),
        ("roles changed", roles.changed),
    ];
    let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
    let mut parts: Vec<_> = lists
        .map(|(what, names)| format!("{what}: {}", few(&names)))
        .collect();
    let others = other_changes(running, supervisor, frontend);
    parts.extend(others.into_iter().map(str::to_owned));
    if parts.is_empty() {
        NOTHING_NEW.to_owned()
    } else {
        parts.join("; ")
    }
}

/// What differs between two tables, by name.
#[derive(Debug)]
struct Difference {
    added: Vec<AccessName>,
    removed: Vec<AccessName>,
    changed: Vec<AccessName>,
}

fn difference<T: PartialEq>(
    old: &BTreeMap<AccessName, T>,
    new: &BTreeMap<AccessName, T>,
) -> Difference {
    let only = |these: &BTreeMap<AccessName, T>, those: &BTreeMap<AccessName, T>| {
        let names = these.keys().filter(|name| !those.contains_key(name));
        names.cloned().collect()
    };
    let is_other =
        |(name, value): &(&AccessName, &T)| old.get(*name).is_some_and(|before| before != *value);
    Difference {
        added: only(new, old),
        removed: only(old, new),
        changed: (new.iter().filter(is_other))
            .map(|(name, _)| name.clone())
            .collect(),
    }
}

/// Names in one line, which the log does not cut.
fn few(names: &[AccessName]) -> String {
    const MOST: usize = 10;
    let shown: Vec<_> = names.iter().take(MOST).map(AccessName::as_str).collect();
    let shown = shown.join(", ");
    match names.len().checked_sub(MOST) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_keeps_is_what_its_manual_says() {
        let options = Options {
            address: Some(prn_proto::units::Address("a:1".to_owned())),
            instance: Some("i".to_owned()),
            delegated_cgroup: true,
            allow_missing_limits: true,
            allow_profile_none: true,
            frontend_uid: Some(1),
            first_uid: Some(1),
            uids: Some(1),
            output_ceiling: Some(Size(1)),
            output_budget: Some(Size(1)),
            output_disk: Some(SizeOrZero(1)),
            frontend_memory: Some(Size(1)),
            audit: Some(Target::Descriptor(3)),
            ..Options::default()
        };
        let mut kept: Vec<_> = fixed(&options).into_keys().collect();
        kept.push("state-dir".to_owned());
        kept.sort();
        let mut named = FIXED.map(str::to_owned);
        named.sort();
        assert_eq!(kept, named);
    }

    #[test]
    fn what_differs_is_named_with_what_stays() {
        let table = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect()
        };
        let running = table(&[("address", "a:1"), ("uids", "5")]);
        assert_eq!(fixed_that_differ(&running, &running), []);
        let new = table(&[("address", "b:1"), ("uids", "5"), ("instance", "x")]);
        let lines = fixed_that_differ(&running, &new);
        let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "address needs a restart of the server; still a:1",
                "instance needs a restart of the server; still its default",
            ]
        );
    }

    #[test]
    fn many_names_are_few_in_a_line() {
        let names: Vec<AccessName> = (0..12)
            .map(|number| format!("c{number}").try_into().unwrap())
            .collect();
        assert_eq!(few(&names[..2]), "c0, c1");
        assert!(few(&names).ends_with("c9 and 2 more"));
    }
}
