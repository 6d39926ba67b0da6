//! Runs a command with limits, follows its output, and stops it after some seconds: the library
//! without the daemon.
//!
//! ```text
//! cargo run -p prn-supervisor --example run -- CGROUP STATE_DIR SECONDS COMMAND [ARGUMENT…]
//! ```
//!
//! Needs root. CGROUP is an empty cgroup v2 directory, such as one made by `mkdir
//! /sys/fs/cgroup/example`, with the controllers that limits need on in its cgroup.subtree_control;
//! STATE_DIR an existing folder that all users may pass through (mode 0711).
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example talks"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use prn_supervisor::ipc::config;
use prn_supervisor::ipc::message::{
    End, Input, Keeping, OutputStore, Overflow, ProcessSpec, Profile, Retention, Scarce, StartSpec,
    StopHow,
};
use prn_supervisor::ipc::output::{Cursor, Piece, Reader};
use prn_supervisor::ipc::policy::Policy;
use prn_supervisor::ipc::types::{Labels, Limits, Paths, ProcessId};
use prn_supervisor::{Notice, Runner, Settings};

/// For so long what could not be removed at once is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("{what} is missing"));
    let (cgroup, state_dir) = (next("CGROUP")?, next("STATE_DIR")?);
    let folder = |path: &str| std::fs::File::open(path).map(OwnedFd::from);
    // Beside this example's folder, where cargo puts it.
    let tools = std::env::current_exe()?.with_file_name("../prn-tools");
    let settings = Settings {
        config: config(&state_dir)?,
        state: folder(&state_dir)?,
        groups: folder(&cgroup)?.into(),
        tools: std::fs::File::open(tools).ok().map(Into::into),
    };
    let time = Duration::from_secs(next("SECONDS")?.parse::<u32>()?.into());
    let argv: Vec<String> = arguments.collect();
    let argv = argv
        .into_iter()
        .map(CString::new)
        .collect::<Result<Vec<_>, _>>()?;

    let mut runner = Runner::open(settings)?;
    let id = ProcessId::from_bytes(*b"the only process");
    runner.start(StartSpec {
        id,
        process: ProcessSpec {
            argv: argv.try_into()?,
            working_directory: None,
            // CPU in thousandths, bytes of memory, no limit for disks, tasks.
            limits: [Some(500), Some(64 << 20), None, None, Some(64)].try_into()?,
            best_effort_limits: true,
            input: Input::Nothing,
            output: Keeping {
                max: 64 << 20,
                overflow: Overflow::DropOldest,
                store: OutputStore::Memory,
            },
            timeout: None,
            stop_grace: 2000.try_into()?,
            linger: false,
            // Settings without filters and rules confine it by its user id and its group alone.
            profile: Profile::Default,
            user: None,
            paths: Paths::default(),
            workspace: None,
            name: None,
            labels: Labels::default(),
            deadline: None,
            lease: None,
            retention: Retention::default(),
        },
        variables: Vec::new(),
        expect: None,
        signature: None,
        requested: None,
    })?;

    let mut output: Option<Reader> = None;
    let mut cursor = Cursor::at(0);
    // Until the process is stopped, and then until what is left of it is left.
    let mut deadline = Instant::now() + time;
    let mut stopped = false;
    let mut ended = false;
    while !(ended && (runner.is_empty() || Instant::now() >= deadline)) {
        runner.wait(Some(
            deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(10)),
        ))?;
        runner.dispatch();
        while let Some(notice) = runner.take_notice() {
            match notice {
                Notice::Started(id) => {
                    deadline = Instant::now() + time;
                    let [data, page] = runner.subscribe(id)?;
                    output = Some(Reader::new(data, page)?);
                    if let Some(info) = runner.info(id) {
                        eprintln!(
                            "running as user {} under {:?}",
                            info.uid,
                            info.limits_in_force()
                        );
                    }
                }
                Notice::StartFailed(_, refusal) => return Err(refusal.into()),
                Notice::Stopped(id) => {
                    if let Some(info) = runner.info(id) {
                        let usage = info.end.as_ref().map(End::usage_numbers);
                        eprintln!("ended: {:?}, consumed: {usage:?}", info.main_exit);
                    }
                    ended = true;
                    deadline = Instant::now() + PATIENCE;
                }
                Notice::Changed(_)
                | Notice::Advanced(..)
                | Notice::Forgotten { .. }
                | Notice::Draining
                | Notice::WorkspaceLeaves(_)
                | Notice::WorkspaceTried(_)
                | Notice::WorkspaceGone(_) => {}
            }
            if let Some(output) = &output {
                runner.watch(id, follow(output, &mut cursor)?);
            }
        }
        if Instant::now() >= deadline && !stopped && !ended {
            stopped = true;
            runner.stop(id, StopHow::Graceful(None), None)?;
        }
    }
    if !runner.is_empty() {
        eprintln!("some of it is left, and could not be removed");
    }
    Ok(())
}

/// Copies what is there to standard output; returns where it ended.
fn follow(output: &Reader, cursor: &mut Cursor) -> Result<u64, Box<dyn Error>> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match output.read(cursor, &mut buffer)? {
            Piece::Data { length, .. } => {
                std::io::stdout().write_all(buffer.get(..length).unwrap_or_default())?
            }
            Piece::Gap { from, to } => println!("[{} bytes dropped]", to - from),
            Piece::End { high } => return Ok(high),
        }
    }
}

fn config(state_dir: &str) -> Result<config::Supervisor, Box<dyn Error>> {
    Ok(config::Supervisor {
        epoch: ProcessId::from_bytes([0; 16]),
        address: String::new(),
        state_dir: CString::new(state_dir)?,
        allow_missing_limits: true,
        disks: Vec::new(),
        frontend_uid: 1_999_999_999,
        frontend_gid: 1_999_999_999,
        first_uid: 2_000_000_000,
        uid_count: 16,
        scarce: Scarce::UserIds,
        finished_max: 16,
        finished_age: None,
        limit_ceilings: Limits::default(),
        output: [(
            OutputStore::Memory,
            config::StoreLimits {
                ceiling: 64 << 20,
                budget: 256 << 20,
            },
        )]
        .into(),
        open_files: config::OpenFiles {
            soft: 1024,
            hard: 4096,
        },
        notify: false,
        watchdog: None,
        log: prn_ipc_protocol::lines::Style::default(),
        own_cgroup: None,
        policy: Policy::default(),
        fixed: BTreeMap::new(),
        audit: None,
        users: Default::default(),
        workspaces: config::Workspaces {
            max: 2,
            disk_max: None,
            has_quota: false,
        },
        bindable: Vec::new(),
        confinement: config::Confinement::default(),
    })
}
