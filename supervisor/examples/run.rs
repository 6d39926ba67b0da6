//! Runs a command with limits, follows its output, and stops it after some seconds: the library without the daemon.
//!
//! ```text
//! cargo run -p prn-supervisor --example run -- CGROUP STATE_DIR SECONDS COMMAND [ARGUMENT…]
//! ```
//!
//! Needs root. CGROUP is a folder to make on a cgroup2 file system, such as /sys/fs/cgroup/example; STATE_DIR an existing
//! folder that all users may pass through (mode 0711). Where controllers are missing, the limits are reported as not
//! enforced.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks")]

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use prn_supervisor::ipc::config;
use prn_supervisor::ipc::message::{StartSpec, StopHow};
use prn_supervisor::ipc::output::{Cursor, Piece, Reader};
use prn_supervisor::ipc::types::{Environment, Limits, ProcessId};
use prn_supervisor::{Notice, Runner, Settings};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("{what} is missing"));
    let (cgroup, state_dir) = (next("CGROUP")?, next("STATE_DIR")?);
    // Beside this example's folder, where cargo puts it.
    let cleaner = std::env::current_exe()?.with_file_name("../prn-supervisor");
    let settings = Settings {
        config: config(cgroup, state_dir)?,
        open_files: (1024, 4096),
        cleaner: std::fs::File::open(cleaner).ok().map(Into::into),
    };
    let deadline = Instant::now() + Duration::from_secs(next("SECONDS")?.parse()?);
    let argv: Vec<String> = arguments.collect();

    let mut runner = Runner::open(settings)?;
    let id = ProcessId::from_bytes(*b"the only process");
    runner.start(StartSpec {
        id,
        argv: argv.try_into()?,
        environment: Environment::default(),
        working_directory: None,
        limits: Limits {
            cpu: Some(500.try_into()?),
            memory: Some((64 << 20).try_into()?),
            pids: Some(64.try_into()?),
            ..Limits::default()
        },
        best_effort_limits: true,
        output_max: None,
        timeout: None,
        stop_grace: Some(Duration::from_secs(2).try_into()?),
        linger: false,
    })?;

    let mut output: Option<Reader> = None;
    let mut cursor = Cursor::at(0);
    let mut stopped = false;
    loop {
        runner.wait(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(10)))?;
        while let Some(notice) = runner.take_notice() {
            match notice {
                Notice::Started(id) => {
                    let [ring, index] = runner.output(id)?;
                    output = Some(Reader::new(ring, index)?);
                    eprintln!("running as {:?}", runner.info(id));
                }
                Notice::StartFailed(_, refusal) => {
                    runner.close()?;
                    return Err(refusal.into());
                }
                Notice::Stopped(id) => {
                    eprintln!("ended: {:?}", runner.info(id));
                    runner.close()?;
                    return Ok(());
                }
                Notice::Changed(_) | Notice::Advanced(..) | Notice::Forgotten(_) => {}
            }
            if let Some(output) = &output {
                runner.watch(id, follow(output, &mut cursor)?);
            }
        }
        if Instant::now() >= deadline && !stopped {
            stopped = true;
            runner.stop(id, StopHow::Graceful(None))?;
        }
    }
}

/// Copies what is there to standard output; returns where it ended.
fn follow(output: &Reader, cursor: &mut Cursor) -> Result<u64, Box<dyn Error>> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match output.read(cursor, &mut buffer)? {
            Piece::Data { length, .. } => std::io::stdout().write_all(buffer.get(..length).unwrap_or_default())?,
            Piece::Gap { from, to } => println!("[{} bytes dropped]", to - from),
            Piece::End { high } => return Ok(high),
        }
    }
}

fn config(cgroup: String, state_dir: String) -> Result<config::Supervisor, Box<dyn Error>> {
    Ok(config::Supervisor {
        instance: "example".into(),
        address: String::new(),
        state_dir: state_dir.try_into()?,
        cgroup: config::Cgroup::Own(cgroup.try_into()?),
        allow_missing_limits: true,
        disks: Vec::new(),
        frontend_uid: 1_999_999_999,
        frontend_gid: 1_999_999_999,
        first_uid: 2_000_000_000,
        uid_count: 16,
        finished_max: 16,
        default_limits: Limits::default(),
        limit_ceilings: Limits::default(),
        output_default: (64 << 20).try_into()?,
        output_ceiling: (64 << 20).try_into()?,
        output_budget: 256 << 20,
        stop_grace: Duration::from_secs(10).try_into()?,
        frontend_memory: 64 << 20,
        notify: false,
    })
}
