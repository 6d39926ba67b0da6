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
use prn_ipc_protocol::types::Millis;
use prn_supervisor::daemon::{Daemon, Links, Orders};
use prn_supervisor::frontend::Setup;
use prn_supervisor::{Ids, Key, Origin, Runner, Settings, Tree, log, privilege};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(&log::chain(&*error), &[]);
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    // All of them are taken over before anything is opened.
    let handed = adopt(numbers::CONFIG)?;
    let config = read_config(&handed)?;
    let _unset = log::STYLE.set(config.log);
    let setup = adopt_setup(&config)?;
    let (state, tools) = (adopt(numbers::STATE_DIR)?, adopt(numbers::TOOLS)?);
    let links = adopt_links(&config)?;
    let orders = Orders {
        socket: adopt(numbers::CONTROL)?,
        config: handed,
    };
    // Held to the end: whose these are no other server may use.
    let _uids = adopt(numbers::UIDS);
    // They are read from a signalfd.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    privilege::restrict_process()?;
    privilege::drop_capabilities(config.confinement.has_namespaces())?;
    // The kernel is asked for random bytes before the filter could keep that from it.
    let key = Key::new().map_err(|_| "the kernel gives no random bytes")?;
    prn_supervisor::filter(&config.confinement.own)?;
    let runner = Runner::open(Settings {
        config,
        state,
        groups: links.tree.processes()?.into(),
        tools: Some(tools),
    })?;
    Ok(Daemon::new(runner, setup, links, orders, key)?.run()?)
}

fn adopt(number: RawFd) -> Result<OwnedFd, &'static str> {
    fds::inherited(number).map_err(|_| "start it with `prn server start`, not by itself")
}

fn read_config(file: &OwnedFd) -> Result<config::Supervisor, &'static str> {
    config::read(file.as_fd())
        .map_err(|_| "its configuration is of another build: install all programs together")
}

/// What each frontend is started with.
fn adopt_setup(config: &config::Supervisor) -> Result<Setup, &'static str> {
    Ok(Setup {
        binary: adopt(numbers::FRONTEND_BINARY)?,
        config: adopt(numbers::FRONTEND_CONFIG)?,
        key: adopt(numbers::TLS_KEY)?,
        listener: adopt(numbers::LISTENER)?,
        empty_folder: adopt(numbers::EMPTY_FOLDER)?,
        ids: Ids::alone(config.frontend_uid, config.frontend_gid),
        open_files: OpenFiles {
            soft: config.open_files.hard,
            ..config.open_files
        },
        layers: config.confinement.frontend.clone(),
    })
}

/// The group of this server, and what is there if the configuration says so: a socket to the
/// service manager, and what is needed to remove that group.
fn adopt_links(config: &config::Supervisor) -> Result<Links, &'static str> {
    let origin = config.own_cgroup.clone().map(|name| {
        let members = adopt(numbers::ORIGIN)?;
        Ok(Origin { members, name })
    });
    Ok(Links {
        address: config.address.clone(),
        notify: config.notify.then(|| adopt(numbers::NOTIFY)).transpose()?,
        watchdog: config.watchdog.map(Millis::duration),
        audit: config
            .audit
            .as_ref()
            .map(|_| adopt(numbers::AUDIT))
            .transpose()?,
        tree: Tree::new(adopt(numbers::CGROUP)?, origin.transpose()?),
    })
}
