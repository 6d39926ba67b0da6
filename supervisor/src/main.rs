//! `prn-supervisor`: the only part of prn that runs as root. This file is its start-up order.
//!
//! `prn server start` executes it with the descriptors of `prn_ipc_protocol::fds::supervisor` and
//! an empty environment.

use std::error::Error;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use prn_ipc_protocol::config;
use prn_ipc_protocol::fds::{self, supervisor as numbers};
use prn_supervisor::daemon::{Daemon, Links, chain};
use prn_supervisor::frontend::Kit;
use prn_supervisor::{Runner, Settings, log, privilege};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(&chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let adopt = |number| {
        fds::inherited(number).map_err(|_| "start it with `prn server start`, not by itself")
    };
    // All of them before anything is opened.
    let (own_config, frontend_config) = (adopt(numbers::CONFIG)?, adopt(numbers::FRONTEND_CONFIG)?);
    let (key, listener, binary) = (
        adopt(numbers::TLS_KEY)?,
        adopt(numbers::LISTENER)?,
        adopt(numbers::FRONTEND_BINARY)?,
    );
    let (empty_folder, tools) = (adopt(numbers::EMPTY_FOLDER)?, adopt(numbers::TOOLS)?);
    let (state, cgroup) = (adopt(numbers::STATE_DIR)?, adopt(numbers::CGROUP)?);
    let config = config::read::<config::Supervisor>(own_config.as_fd());
    let config = config.map_err(
        |_| "its configuration is of another build: install all three programs together",
    )?;
    let notify = config.notify.then(|| adopt(numbers::NOTIFY)).transpose()?;
    let origin = config
        .own_cgroup
        .clone()
        .map(|name| adopt(numbers::ORIGIN).map(|procs| (procs, name)))
        .transpose()?;
    // They are read from a signalfd.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    privilege::restrict_process()?;
    privilege::drop_capabilities()?;
    prn_supervisor::filter(&config.confinement.own)?;
    let kit = Kit {
        binary,
        config: frontend_config,
        key,
        listener,
        empty_folder,
        ids: (config.frontend_uid, config.frontend_gid),
        open_files: (config.open_files.1, config.open_files.1),
    };
    let links = Links {
        address: config.address.clone(),
        notify,
        origin,
        cgroup,
    };
    let groups = prn_supervisor::open_directory(links.cgroup.as_fd(), "processes")?;
    let runner = Runner::open(Settings {
        config,
        state,
        groups,
        tools: Some(tools),
    })?;
    Daemon::new(runner, kit, links)?.run()
}
