//! `prn-supervisor`: the only part of prn that runs as root. This file is its start-up order.
//!
//! `prn server start` executes it with the descriptors of `prn_ipc_protocol::fds::supervisor` and
//! an empty environment.

use std::error::Error;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::process::ExitCode;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use prn_ipc_protocol::config::{self, OpenFiles};
use prn_ipc_protocol::fds::{self, supervisor as numbers};
use prn_supervisor::daemon::{Daemon, Links};
use prn_supervisor::frontend::Setup;
use prn_supervisor::{Ids, Origin, Runner, Settings, Tree, log, privilege};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(&log::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let inherited = Inherited::adopt()?;
    let config = read_config(&inherited)?;
    let (notify, origin) = adopt_optional(&config)?;
    // They are read from a signalfd.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    privilege::restrict_process()?;
    privilege::drop_capabilities()?;
    prn_supervisor::filter(&config.confinement.own)?;
    let setup = Setup {
        binary: inherited.frontend_binary,
        config: inherited.frontend_config,
        key: inherited.key,
        listener: inherited.listener,
        empty_folder: inherited.empty_folder,
        ids: Ids {
            uid: config.frontend_uid,
            gid: config.frontend_gid,
        },
        open_files: OpenFiles {
            soft: config.open_files.hard,
            ..config.open_files
        },
    };
    let tree = Tree::new(inherited.cgroup, origin);
    let links = Links {
        address: config.address.clone(),
        notify,
        tree,
    };
    let runner = Runner::open(Settings {
        config,
        state: inherited.state,
        groups: links.tree.processes()?,
        tools: Some(inherited.tools),
        strict: Some(inherited.strict),
    })?;
    Ok(Daemon::new(runner, setup, links)?.run()?)
}

/// The descriptors that are always there.
struct Inherited {
    config: OwnedFd,
    frontend_config: OwnedFd,
    key: OwnedFd,
    listener: OwnedFd,
    frontend_binary: OwnedFd,
    empty_folder: OwnedFd,
    tools: OwnedFd,
    strict: OwnedFd,
    state: OwnedFd,
    cgroup: OwnedFd,
}

impl Inherited {
    /// Takes over all of them, before anything is opened.
    fn adopt() -> Result<Self, &'static str> {
        Ok(Self {
            config: adopt(numbers::CONFIG)?,
            frontend_config: adopt(numbers::FRONTEND_CONFIG)?,
            key: adopt(numbers::TLS_KEY)?,
            listener: adopt(numbers::LISTENER)?,
            frontend_binary: adopt(numbers::FRONTEND_BINARY)?,
            empty_folder: adopt(numbers::EMPTY_FOLDER)?,
            tools: adopt(numbers::TOOLS)?,
            strict: adopt(numbers::STRICT)?,
            state: adopt(numbers::STATE_DIR)?,
            cgroup: adopt(numbers::CGROUP)?,
        })
    }
}

fn adopt(number: RawFd) -> Result<OwnedFd, &'static str> {
    fds::inherited(number).map_err(|_| "start it with `prn server start`, not by itself")
}

fn read_config(inherited: &Inherited) -> Result<config::Supervisor, &'static str> {
    config::read(inherited.config.as_fd())
        .map_err(|_| "its configuration is of another build: install all programs together")
}

/// Takes over the descriptors that are there if the configuration says so: a socket to the service
/// manager, and what is needed to remove the cgroup tree.
fn adopt_optional(
    config: &config::Supervisor,
) -> Result<(Option<OwnedFd>, Option<Origin>), &'static str> {
    let notify = config.notify.then(|| adopt(numbers::NOTIFY)).transpose()?;
    let Some(name) = config.own_cgroup.clone() else {
        return Ok((notify, None));
    };
    let members = adopt(numbers::ORIGIN)?;
    Ok((notify, Some(Origin { members, name })))
}
