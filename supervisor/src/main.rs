//! `prn-supervisor`: the only part of prn that runs as root. This file is its start-up order.
//!
//! `prn server start` executes it with the descriptors of `prn_ipc_protocol::fds::supervisor` and an empty environment.
//! Executed under the name `prn-clean`, and then by itself alone, it empties one directory, as an ordinary user.

use std::error::Error;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use prn_ipc_protocol::config;
use prn_ipc_protocol::fds::{self, supervisor as numbers};
use prn_ipc_protocol::types::BootEpoch;
use prn_supervisor::daemon::{Daemon, chain};
use prn_supervisor::frontend::Kit;
use prn_supervisor::{CLEANER, Program, Runner, Settings, log, privilege};

fn main() -> ExitCode {
    let cleaner = std::env::args_os().next().is_some_and(|name| name.as_encoded_bytes() == CLEANER.to_bytes());
    let ended = if cleaner { clean() } else { serve() };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn clean() -> Result<(), Box<dyn Error>> {
    prn_supervisor::clean(&fds::inherited(3)?)?;
    Ok(())
}

fn serve() -> Result<(), Box<dyn Error>> {
    if std::process::id() == 1 {
        // Orphans of processes would become its children, and it reaps only its own.
        return Err("it cannot be process 1: run it under an init (docker run --init)".into());
    }
    let adopt = |number| fds::inherited(number).map_err(|_| "start it with `prn server start`, not by itself");
    // All of them before anything is opened.
    let own_config = adopt(numbers::CONFIG)?;
    let (frontend_config, key, listener) =
        (adopt(numbers::FRONTEND_CONFIG)?, adopt(numbers::TLS_KEY)?, adopt(numbers::LISTENER)?);
    let (binary, empty_folder) = (adopt(numbers::FRONTEND_BINARY)?, adopt(numbers::EMPTY_FOLDER)?);
    let config: config::Supervisor = config::read(own_config.as_fd()).map_err(|error| {
        format!("its configuration is not for this build (install all three programs together): {error}")
    })?;
    let notify = if config.notify { Some(adopt(numbers::NOTIFY)?) } else { None };
    privilege::reset_signals()?;
    privilege::restrict_process()?;
    privilege::drop_capabilities()?;
    let open_files = privilege::raise_open_files()?;
    let kit = Kit {
        binary: Program::File(binary),
        config: frontend_config,
        key,
        listener,
        empty_folder,
        ids: (config.frontend_uid, config.frontend_gid),
        open_files: (open_files.1, open_files.1),
        epoch: boot_epoch()?,
    };
    let address = config.address.clone();
    let itself = nix::fcntl::open("/proc/self/exe", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let runner = Runner::open(Settings { config, open_files, cleaner: Some(itself) })?;
    if !runner.missing_controllers().is_empty() {
        log(&format!(
            "WARNING: --allow-missing-limits: this host does not offer {}, so such limits are NOT enforced",
            runner.missing_controllers().join(", ")
        ));
    }
    Daemon::new(runner, kit, notify, address)?.run()?;
    Ok(())
}

fn boot_epoch() -> std::io::Result<BootEpoch> {
    use std::io::Read;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(BootEpoch::from_bytes(bytes))
}
