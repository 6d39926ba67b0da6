//! `prn server start`, `prn server reload` and `prn server check`: what runs as root before the
//! supervisor, and beside it for a moment.
//!
//! [`start`] runs as root, parses and checks everything that the server needs, and then executes
//! `prn-supervisor` in its own place (same PID, empty environment). [`reload`] parses and checks
//! the same again, in a process of its own, and hands it to the supervisor that runs. It trusts the
//! administrator's flags and files, and nothing of the network.

#![warn(missing_debug_implementations)]
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod access;
mod audit;
mod certificates;
mod check;
mod claim;
pub mod confinement;
mod control;
mod credentials;
mod error;
mod handover;
mod host;
mod listener;
pub mod options;
mod owner;
mod paths;
mod plan;
mod programs;
mod reload;
mod signer;
mod state;
mod streams;
mod warning;

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use prn_ipc_protocol::config;
use prn_ipc_protocol::config::AuditTarget;
use prn_ipc_protocol::fds::{quota, supervisor as numbers};
use prn_ipc_protocol::lines::Style;
use prn_proto::tls::Key;

use audit::Target;
use claim::Claim;
use confinement::Offer;
use credentials::Credentials;
use host::Host;
use listener::Inherited;
use options::Options;
use programs::Programs;

pub use check::{Finding, Verdict};
pub use control::{ControlError, Conversation};
pub use error::ServerError;
pub use handover::HandoverError;
pub use plan::{FRONTEND_MEMORY, output_budget};
pub use prn_ipc_protocol::lines;
pub use prn_ipc_protocol::types::UnixMicros;
pub use reload::{ANOTHER_IDENTITY, FIXED, NOTHING_NEW, Outcome, Reloaded, reload};
pub use warning::Warning;

/// `prn server start`: returns only if it fails. What the operator should know goes to `warn`;
/// lines of the log are written in this style.
///
/// # Errors
/// If anything is missing, contradicts itself or this host, or cannot be opened.
pub fn start(
    flags: options::Start,
    log: Style,
    warn: &dyn Fn(Warning),
) -> Result<Infallible, ServerError> {
    // First, before anything else is opened: what was inherited is known by its numbers.
    let mut inherited = Inherited::adopt();
    streams::own();
    let options = options::merged(*flags.options, flags.config.as_deref(), warn)?;
    let host = Host::survey();
    let (credentials, key) = admitted(&options, &host, warn)?;
    let mut plan = plan::resolve(&options, &host)?;
    plan.frontend.epoch = credentials::epoch()?;
    state::check_null_device()?;
    state::prepare(&plan.state_dir)?;
    let programs = Programs::open()?;
    let empty_folder = state::empty_folder(&plan.state_dir)?;
    let (audit, audit_to) = audited(&options, &host, &plan, &mut inherited)?;
    let notify = handover::notify_socket()?;
    let (listener, address) = inherited.listener(&plan.address)?;
    let disks = host::limited_disks(&host, Path::new(&plan.state_dir));
    let claim = claimed(&plan, &programs, &host, warn)?;
    let (origin, own_cgroup) = claim.origin.map(|from| (from.procs, from.own)).unzip();
    let planned = confined(&options, &host, &plan, claim.state.as_fd(), warn)?;
    let planned = config::Supervisor { audit, ..planned };
    let supervisor = config::Supervisor {
        address,
        disks,
        open_files: handover::prepare_process()?,
        watchdog: notify.as_ref().and_then(|_| handover::watchdog()),
        notify: notify.is_some(),
        own_cgroup,
        policy: credentials.policy().clone(),
        users: credentials.users(&planned, &host)?,
        fixed: reload::fixed(&options),
        log,
        epoch: plan.frontend.epoch,
        ..planned
    };
    let shown = credentials.show(config::Frontend {
        has_namespaces: supervisor.confinement.has_namespaces(),
        ..plan.frontend
    });
    let [own, shown, key] = sealed_all(&supervisor, &shown, key)?;
    let control = control::listener(claim.state.as_fd())?;
    let handed = [
        (numbers::CONFIG, Some(own)),
        (numbers::FRONTEND_CONFIG, Some(shown)),
        (numbers::TLS_KEY, Some(key)),
        (numbers::LISTENER, Some(listener)),
        (numbers::FRONTEND_BINARY, Some(programs.frontend)),
        (numbers::EMPTY_FOLDER, Some(empty_folder)),
        (numbers::TOOLS, Some(programs.tools)),
        (numbers::STATE_DIR, Some(claim.state)),
        (numbers::CONTROL, Some(control)),
        (numbers::UIDS, claim.uids),
        (numbers::CGROUP, Some(claim.cgroup)),
        (numbers::NOTIFY, notify),
        (numbers::AUDIT, audit_to),
        (numbers::ORIGIN, origin),
    ];
    Ok(handover::execute(programs.supervisor, handed)?)
}

/// The state folder and the cgroup, for this server alone.
fn claimed(
    plan: &plan::Plan,
    programs: &Programs,
    host: &Host,
    warn: &dyn Fn(Warning),
) -> Result<Claim, ServerError> {
    let wanted = claim::Wanted {
        state_dir: Path::new(&plan.state_dir),
        uids: plan.uids,
        cgroup: &plan.cgroup,
        frontend_memory: plan.frontend_memory,
        tools: programs.tools.as_fd(),
    };
    let mut claim = Claim::take(&wanted, host, warn)?;
    let missing = std::mem::take(&mut claim.missing);
    if !missing.is_empty() {
        warn(Warning::MissingLimits(missing));
    }
    Ok(claim)
}

/// Where the audit goes, if there is one.
fn audited(
    options: &Options,
    host: &Host,
    plan: &plan::Plan,
    inherited: &mut Inherited,
) -> Result<(Option<AuditTarget>, Option<OwnedFd>), ServerError> {
    let (target, to) = match &options.audit {
        None | Some(Target::Nowhere) => return Ok((None, None)),
        Some(Target::Descriptor(number)) => {
            let passed = audit::descriptor(*number, inherited.take(*number))?;
            (AuditTarget::Descriptor, passed)
        }
        Some(Target::Journal) => (AuditTarget::Descriptor, audit::journal()?),
        Some(Target::File(path)) => {
            let supervisor = &plan.supervisor;
            let frontend = [supervisor.frontend_uid, supervisor.frontend_gid];
            let writer = audit::writer(host, plan.uids, frontend).map_err(ServerError::Host)?;
            audit::folder(path, writer)?
        }
    };
    Ok((Some(target), Some(to)))
}

/// Whether a server may start here and now, as whom, and for whom.
fn admitted(
    options: &Options,
    host: &Host,
    warn: &dyn Fn(Warning),
) -> Result<(Credentials, Key), ServerError> {
    let refuse = |findings: &[Finding]| match check::blockers(findings) {
        Some(what) => Err(ServerError::Host(what)),
        None => Ok(()),
    };
    refuse(&[check::privilege(host)])?;
    if options.has_clients_address_alone() {
        warn(Warning::ClientsAddress);
    }
    let credentials = Credentials::load(options, warn)?;
    let key = credentials.key(options, host)?;
    refuse(&check::findings(host, options))?;
    if std::process::id() == 1 {
        let why = "it would be process 1, and so the parent of all orphans: run it under an init (docker run --init)";
        return Err(ServerError::Host(why.to_owned()));
    }
    Ok((credentials, key))
}

/// The plan with how processes are confined here, what they may be given to see, and what holds
/// workspaces to their bounds. What the operator should know of it is said.
fn confined(
    options: &Options,
    host: &Host,
    plan: &plan::Plan,
    state: BorrowedFd<'_>,
    warn: &dyn Fn(Warning),
) -> Result<config::Supervisor, ServerError> {
    let state_dir = Path::new(&plan.state_dir);
    let paths = options.paths.resolve(state_dir)?;
    let offer = Offer::survey(host, state_dir, paths.hidden);
    let uses = confinement::Uses {
        profile_none: options.allow_profile_none,
        // The supervisor keeps the capability that sets them only where it makes namespaces with
        // it.
        quotas: offer.namespaces.is_ok() && quota::works(state),
    };
    let confinement = confinement::resolve(&offer, uses)?;
    if confinement.default.landlock.is_none() {
        warn(Warning::NoLandlock);
    }
    if let Err(why) = offer.namespaces {
        warn(Warning::NoNamespaces(why));
    }
    if host.traces_former_root {
        warn(Warning::NoWorkspaces);
    }
    warn(Warning::Layers {
        default: confinement.default.names(),
        has_strict: confinement.strict.is_some(),
    });
    Ok(config::Supervisor {
        confinement,
        bindable: paths.bindable,
        workspaces: config::Workspaces {
            has_quota: uses.quotas,
            ..plan.supervisor.workspaces
        },
        ..plan.supervisor.clone()
    })
}

/// Both configurations and the key, which nobody can change any more. What else of the key was open
/// here is closed.
fn sealed_all(
    supervisor: &config::Supervisor,
    frontend: &config::Frontend,
    key: Key,
) -> Result<[OwnedFd; 3], ServerError> {
    Ok([
        handover::sealed("prn-config", supervisor)?,
        handover::sealed("prn-frontend-config", frontend)?,
        handover::key(&key)?,
    ])
}

/// What `prn server check` has found.
#[derive(Debug)]
pub struct Report {
    /// One thing each, in the order of printing.
    pub findings: Vec<Finding>,
    /// Nothing of it keeps the server from starting.
    pub can_start: bool,
    /// Bytes of memory: what the machine has, or what the groups of this process leave of it.
    pub memory: u64,
}

/// What a start refuses of these options before it takes anything for itself: values, then who it
/// is and who may come, then the key, which is looked for where the others are right.
pub fn rehearse(options: &Options) -> (Option<ServerError>, Result<(), ServerError>) {
    let host = Host::survey();
    let planned = plan::resolve(options, &host).err().map(ServerError::from);
    let loaded = Credentials::load(options, &|_| {});
    let key = loaded.and_then(|credentials| credentials.key(options, &host));
    (planned, key.map(drop))
}

/// `prn server check`, for a start with these options.
pub fn check(options: &Options) -> Report {
    let host = Host::survey();
    let findings = check::findings(&host, options);
    Report {
        memory: host.memory,
        can_start: check::blockers(&findings).is_none(),
        findings,
    }
}
