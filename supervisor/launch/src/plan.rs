//! From options and host to the two configurations. A pure decision: what is wrong is found here,
//! not by root.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;
use std::time::Duration;

use prn_ipc_protocol::config::{self, OpenFiles, StoreLimits};
use prn_ipc_protocol::lines;
use prn_ipc_protocol::message::{OutputStore, Scarce};
use prn_ipc_protocol::output_max;
use prn_ipc_protocol::policy::Policy;
use prn_ipc_protocol::types::{Id, Invalid, LimitName, Limits, Millis, UnixMicros};
use prn_proto::defaults::ADDRESS;
use prn_proto::units::{Address, Size, Time, show_size};

use crate::claim::Cgroup;
use crate::claim::uids::Uids;
use crate::host::Host;
use crate::options::Options;

/// The frontend's user id where there is no user `prn`.
pub(crate) const FRONTEND_UID: u32 = 1_999_999_999;

const INSTANCE: &str = "prn";

/// Finished processes that are remembered, by default and at least.
pub const FINISHED: u32 = 1000;
const FINISHED_MIN: u32 = 64;

const MIB: u64 = 1024 * 1024;

/// Memory of the frontend where nothing is said, in bytes.
pub const FRONTEND_MEMORY: u64 = 512 * MIB;

/// Workspaces where no number is given.
const WORKSPACES: u32 = 64;

/// The frontend copies bytes from memory to sockets: more threads than this wait for the kernel.
const FRONTEND_THREADS_MAX: usize = 16;

/// Why the options are no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A name cannot name a cgroup.
    #[error("--instance must be 1 to 32 of a-z, 0-9 and -")]
    Instance,
    /// A path cannot be used.
    #[error(
        "--state-dir must be a path of at most {STATE_DIR_MAX} bytes of UTF-8 without a colon or a line's end"
    )]
    StateDir,
    /// A number is outside its range.
    #[error("--{flag} is out of range")]
    Range {
        /// Which flag.
        flag: &'static str,
        /// What would fit.
        #[source]
        source: Invalid,
    },
    /// Signatures would count for no time, or for too long.
    #[error("--signed-start-window must be 1s to 24h")]
    SignedStartWindow,
    /// User ids that cannot be used.
    #[error("{0}")]
    Uids(&'static str),
    /// A default is above its ceiling.
    #[error("--default-{0} is above --max-{0}")]
    AboveCeiling(&'static str),
    /// Processes would be forgotten before anybody can ask how they ended.
    #[error("--max-finished must be {FINISHED_MIN} to {}, not {given}", u32::MAX)]
    Finished {
        /// What was asked for.
        given: u32,
    },
    /// A server that runs has not enough descriptors for it.
    #[error(
        "--max-finished {given} is more than the server has open files for beside its processes: restart it with that"
    )]
    FinishedWhileRunning {
        /// What was asked for.
        given: u32,
    },
    /// There are not enough descriptors for one process.
    #[error(
        "the hard limit of open files is {hard}, which is not enough for --max-finished and one process: raise it (ulimit -n)"
    )]
    OpenFiles {
        /// The limit.
        hard: u64,
    },
    /// Output sizes contradict each other.
    #[error("--{small} ({}) is above --{large} ({})", show_size(*small_value), show_size(*large_value))]
    Output {
        /// What should be the smaller one.
        small: &'static str,
        /// Its value.
        small_value: u64,
        /// What should be the larger one.
        large: &'static str,
        /// Its value.
        large_value: u64,
    },
    /// Output would not fit into memory.
    #[error(
        "--output-budget ({}) is above the memory that this host leaves to the server ({})",
        show_size(*budget),
        show_size(*memory)
    )]
    Budget {
        /// What was asked for.
        budget: u64,
        /// What there is.
        memory: u64,
    },
    /// There is no group to work in.
    #[error("no cgroup v2 to work in")]
    Cgroup,
}

/// Everything but what must be opened first.
#[derive(Debug)]
pub struct Plan {
    /// Where to listen.
    pub address: Address,
    /// The folder of the working directories.
    pub state_dir: String,
    /// Where cgroups go.
    pub cgroup: Cgroup,
    /// User ids of processes.
    pub uids: Uids,
    /// Most bytes of memory of the frontend.
    pub frontend_memory: u64,
    /// For the supervisor; what comes of opening things is still to come.
    pub supervisor: config::Supervisor,
    /// For the frontend; certificates are still to come.
    pub frontend: config::Frontend,
}

/// Puts defaults in place of what was not given, and checks all of it.
pub fn resolve(options: &Options, host: &Host) -> Result<Plan, PlanError> {
    let state_dir = state_dir(options.state_dir())?;
    let ids = ids(options, host)?;
    let limits = limits(options)?;
    let output = output(options, host.memory)?;
    let disk = output_disk(options)?;
    let frontend_memory = frontend_memory(options)?;
    let frontend = frontend(options, frontend_memory)?;
    let finished_max = finished_max(options)?;
    let (processes, scarce) = processes(host.open_files.1, finished_max, ids.count)?;
    Ok(Plan {
        address: options
            .address
            .clone()
            .unwrap_or_else(|| Address(ADDRESS.to_owned())),
        cgroup: cgroup(options, host)?,
        uids: Uids {
            first: ids.first,
            count: ids.count,
        },
        frontend_memory,
        supervisor: config::Supervisor {
            epoch: Id::from_bytes([0; 16]),
            address: String::new(),
            state_dir: CString::new(&*state_dir).map_err(|_| PlanError::StateDir)?,
            allow_missing_limits: options.allow_missing_limits,
            disks: Vec::new(),
            frontend_uid: ids.frontend,
            frontend_gid: ids.frontend_group,
            first_uid: ids.first,
            uid_count: processes,
            scarce,
            finished_max,
            finished_age: finished_age(options)?,
            limit_ceilings: limits.ceilings,
            output: [(OutputStore::Memory, output.limits)]
                .into_iter()
                .chain(disk.map(|limits| (OutputStore::Disk, limits)))
                .collect(),
            open_files: OpenFiles { soft: 0, hard: 0 },
            notify: false,
            watchdog: None,
            log: lines::Style::default(),
            own_cgroup: None,
            bindable: Vec::new(),
            users: BTreeMap::new(),
            workspaces: workspaces(options, host, ids.count)?,
            confinement: config::Confinement::default(),
            policy: Policy::default(),
            fixed: BTreeMap::new(),
            audit: None,
        },
        state_dir,
        frontend: config::Frontend {
            processes_max: processes,
            default_limits: limits.defaults,
            output_default: output.default,
            output_disk: disk.map_or(0, |disk| disk.ceiling),
            ..frontend
        },
    })
}

/// For how long finished processes are remembered, if not for as long as there is room.
fn finished_age(options: &Options) -> Result<Option<Millis>, PlanError> {
    let age = options.max_finished_age;
    age.map(|age| time("max-finished-age", Some(age)))
        .transpose()
}

/// What the frontend alone is concerned with.
fn frontend(options: &Options, memory: u64) -> Result<config::Frontend, PlanError> {
    Ok(config::Frontend {
        epoch: Id::from_bytes([0; 16]),
        started: UnixMicros::now(),
        processes_max: 0,
        default_limits: Limits::default(),
        output_default: 0,
        output_disk: 0,
        stop_grace: time("stop-grace", options.stop_grace)?,
        certificate: Vec::new(),
        issuers: Vec::new(),
        pins: Vec::new(),
        authorities: Vec::new(),
        revocations: Vec::new(),
        allows_p256: false,
        reflects: options.reflection,
        policy: Policy::default(),
        handshakes_max: count("handshakes", options.handshakes, 64)?,
        handshake_timeout: time("handshake-timeout", options.handshake_timeout)?,
        connections_max: count("connections", options.connections, 4096)?,
        connections_per_client: count(
            "connections-per-client",
            options.connections_per_client,
            256,
        )?,
        streams_max: count("streams", options.streams, 2048)?,
        subscribers_max: count("subscribers", options.subscribers, subscribers(memory))?,
        subscribers_per_process: count(
            "subscribers-per-process",
            options.subscribers_per_process,
            1024,
        )?,
        peer_timeout: peer_timeout(options.peer_timeout)?,
        connection_age: options
            .connection_age
            .map(|age| time("connection-age", Some(age)))
            .transpose()?,
        has_namespaces: false,
        threads: threads(),
        memory,
    })
}

/// A time span, ten seconds by default.
pub(crate) fn time(flag: &'static str, given: Option<Time>) -> Result<Millis, PlanError> {
    let time = given.map_or(Duration::from_secs(10), |time| time.0);
    Millis::try_from(time).map_err(|source| PlanError::Range { flag, source })
}

fn checked_instance(name: &str) -> Result<&str, PlanError> {
    let fits = (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits {
        Ok(name)
    } else {
        Err(PlanError::Instance)
    }
}

/// Its directories' paths must not be longer than the kernel takes (PATH_MAX, limits.h).
const STATE_DIR_MAX: usize = 4000;

/// The state folder's absolute path.
pub fn state_dir(path: &Path) -> Result<String, PlanError> {
    let absolute = std::path::absolute(path).map_err(|_| PlanError::StateDir)?;
    let text = absolute
        .to_str()
        .ok_or(PlanError::StateDir)?
        .trim_end_matches('/');
    // It is part of lines of passwd(5).
    if text.len() > STATE_DIR_MAX || text.contains(['\0', '\n', ':']) {
        Err(PlanError::StateDir)
    } else {
        Ok(text.to_owned())
    }
}

fn cgroup(options: &Options, host: &Host) -> Result<Cgroup, PlanError> {
    let mount = host.cgroup2.as_ref().ok_or(PlanError::Cgroup)?;
    if options.delegated_cgroup {
        let own = host
            .own_cgroup
            .as_deref()
            .filter(|own| *own != mount.path)
            .ok_or(PlanError::Cgroup)?;
        return Ok(Cgroup::Delegated(own.to_owned()));
    }
    let instance = options.instance.as_deref().unwrap_or(INSTANCE);
    Ok(Cgroup::Own(mount.path.join(checked_instance(instance)?)))
}

/// User and group ids: of the frontend, and of processes.
#[derive(Debug)]
struct Ids {
    frontend: u32,
    frontend_group: u32,
    first: u32,
    count: u32,
}

fn ids(options: &Options, host: &Host) -> Result<Ids, PlanError> {
    let first = options.first_uid();
    let uids = options.uids();
    let frontend = options
        .frontend_uid
        .or(host.prn_uid)
        .unwrap_or(FRONTEND_UID);
    if host.prn_uid != Some(frontend) && host.named_ids.contains(&frontend) {
        return Err(PlanError::Uids(
            "--frontend-uid is another account's or group's number: choose one that nobody has",
        ));
    }
    if host.prn_uid == Some(frontend) && host.prn_gid == Some(0) {
        return Err(PlanError::Uids(
            "the primary group of user prn must not be root's",
        ));
    }
    // The last id means "no change" to setresuid(2).
    let end = first.checked_add(uids).filter(|end| *end < u32::MAX);
    let end = end.ok_or(PlanError::Uids(
        "--first-uid and --uids go beyond the last user id",
    ))?;
    if first == 0 {
        return Err(PlanError::Uids(
            "--first-uid must not be 0: processes never run as root",
        ));
    }
    if uids == 0 {
        return Err(PlanError::Uids("--uids must be at least 1"));
    }
    if frontend == 0 || frontend == u32::MAX {
        return Err(PlanError::Uids("--frontend-uid must be an ordinary user's"));
    }
    if (first..end).contains(&frontend) {
        return Err(PlanError::Uids(
            "--frontend-uid must not be one of the processes' user ids",
        ));
    }
    Ok(Ids {
        frontend,
        // A group of its own, whatever its number: the number of a user may be that of another
        // group.
        frontend_group: host
            .prn_gid
            .filter(|_| host.prn_uid == Some(frontend))
            .unwrap_or(frontend),
        first,
        count: uids,
    })
}

fn bounded(flag: &'static str, value: u64, min: u64, max: u64) -> Result<u64, PlanError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(PlanError::Range {
            flag,
            source: Invalid::Range { min, max },
        })
    }
}

/// What processes have by default, and what they can ask for at most.
#[derive(Debug)]
pub struct BothLimits {
    /// What a process has that asks for nothing.
    pub defaults: Limits,
    /// The most that one can ask for.
    pub ceilings: Limits,
}

/// Those of these options.
///
/// # Errors
/// One that is out of its range, or a default above its ceiling.
pub fn limits(options: &Options) -> Result<BothLimits, PlanError> {
    let bytes = |size: Option<Size>| size.map(|size| size.0);
    // Both in the order of LimitName::ALL.
    let defaults = [
        ("default-cpu", options.default_cpu.map(|cpu| cpu.0)),
        ("default-memory", bytes(options.default_memory)),
        ("default-io-read", bytes(options.default_io_read)),
        ("default-io-write", bytes(options.default_io_write)),
        ("default-pids", options.default_pids),
    ];
    let ceilings = [
        ("max-cpu", options.max_cpu.map(|cpu| cpu.0)),
        ("max-memory", bytes(options.max_memory)),
        ("max-io-read", bytes(options.max_io_read)),
        ("max-io-write", bytes(options.max_io_write)),
        ("max-pids", options.max_pids),
    ];
    let pairs = defaults.into_iter().zip(ceilings);
    for (limit, (default, ceiling)) in LimitName::ALL.into_iter().zip(pairs) {
        for (flag, value) in [default, ceiling] {
            value
                .map_or(Ok(0), |value| limit.check(value))
                .map_err(|source| PlanError::Range { flag, source })?;
        }
        if let ((flag, Some(default)), (_, Some(ceiling))) = (default, ceiling)
            && default > ceiling
        {
            return Err(PlanError::AboveCeiling(flag.trim_start_matches("default-")));
        }
    }
    let limits =
        |values, flag| Limits::try_from(values).map_err(|source| PlanError::Range { flag, source });
    Ok(BothLimits {
        defaults: limits(defaults.map(|(_, value)| value), "default")?,
        ceilings: limits(ceilings.map(|(_, value)| value), "max")?,
    })
}

/// Bytes of output that are kept in memory: of a process by default, and at most.
#[derive(Debug)]
struct OutputSizes {
    default: u64,
    limits: StoreLimits,
}

/// Bytes of output of all processes, on a host with so many bytes of memory.
pub fn output_budget(options: &Options, memory: u64) -> u64 {
    options.output_budget.map_or(memory / 4, |size| size.0)
}

fn output(options: &Options, memory: u64) -> Result<OutputSizes, PlanError> {
    let fits =
        |flag, value: u64| output_max(value).map_err(|source| PlanError::Range { flag, source });
    let budget = output_budget(options, memory);
    if budget > memory {
        return Err(PlanError::Budget { budget, memory });
    }
    // The budget may be more than one process can ever have.
    let most = budget.min(1 << 40);
    let ceiling = options.output_ceiling.map_or(most, |size| size.0);
    ordered(("output-ceiling", ceiling), ("output-budget", budget))?;
    let default = options
        .output_default
        .map_or(ceiling.min(64 * MIB), |size| size.0);
    ordered(("output-default", default), ("output-ceiling", ceiling))?;
    let ceiling = fits(
        if options.output_ceiling.is_some() {
            "output-ceiling"
        } else {
            "output-budget"
        },
        ceiling,
    )?;
    Ok(OutputSizes {
        default: fits("output-default", default)?,
        limits: StoreLimits { ceiling, budget },
    })
}

/// Of two flags and their values the first must not be the larger one.
fn ordered(
    (small, small_value): (&'static str, u64),
    (large, large_value): (&'static str, u64),
) -> Result<(), PlanError> {
    if small_value > large_value {
        return Err(PlanError::Output {
            small,
            small_value,
            large,
            large_value,
        });
    }
    Ok(())
}

/// What is kept of a process on disk at most, and of all.
fn output_disk(options: &Options) -> Result<Option<StoreLimits>, PlanError> {
    let flag = "output-disk";
    let budget = options.output_disk.map_or(0, |size| size.0);
    if budget == 0 {
        return Ok(None);
    }
    let ceiling =
        output_max(budget.min(1 << 40)).map_err(|source| PlanError::Range { flag, source })?;
    Ok(Some(StoreLimits { ceiling, budget }))
}

/// Each has a user id. Whether their file system has quotas is still to come. There are none where
/// a process could look into what its neighbours' children have of the supervisor's memory.
fn workspaces(options: &Options, host: &Host, uids: u32) -> Result<config::Workspaces, PlanError> {
    let max = options.max_workspaces.unwrap_or(WORKSPACES.min(uids));
    bounded("max-workspaces", max.into(), 0, uids.into())?;
    // Under the least that can be asked for, nobody could make one.
    let least_to_most = |size: Size| bounded("max-workspace-disk", size.0, MIB, u64::MAX >> 1);
    Ok(config::Workspaces {
        max: if host.traces_former_root { 0 } else { max },
        disk_max: options.max_workspace_disk.map(least_to_most).transpose()?,
        has_quota: false,
    })
}

fn frontend_memory(options: &Options) -> Result<u64, PlanError> {
    // Under this it could not hold its threads and a few connections.
    let memory = options.frontend_memory;
    let memory = memory.map_or(FRONTEND_MEMORY, |size| size.0);
    bounded("frontend-memory", memory, 32 * MIB, u64::MAX >> 1)
}

fn count(flag: &'static str, given: Option<u32>, default: u32) -> Result<u32, PlanError> {
    let number = given.unwrap_or(default);
    bounded(flag, number.into(), 1, 1_000_000).map(|_| number)
}

/// Each holds two chunks of output and what was gathered before them for as long as its client
/// takes nothing: half of the frontend's memory may be that.
fn subscribers(frontend_memory: u64) -> u32 {
    const HELD: u64 = 192 * 1024;
    u32::try_from(frontend_memory / 2 / HELD)
        .unwrap_or(u32::MAX)
        .min(4096)
}

/// From the shortest that the kernel's probes, whole seconds each, can be fitted into, to the
/// longest that it takes (TCP_KEEPIDLE, tcp(7)).
fn peer_timeout(given: Option<Time>) -> Result<Millis, PlanError> {
    let flag = "peer-timeout";
    let time = given.map_or(Duration::from_secs(120), |time| time.0);
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    bounded(flag, millis, 8_000, 32_767_000)?;
    Millis::try_from(time).map_err(|source| PlanError::Range { flag, source })
}

/// As many processes as there are user ids and descriptors for, and which of the two are fewer.
fn processes(hard: u64, finished_max: u32, uids: u32) -> Result<(u32, Scarce), PlanError> {
    match config::processes_for(hard, finished_max) {
        0 => Err(PlanError::OpenFiles { hard }),
        fit if fit < uids => Ok((fit, Scarce::Descriptors)),
        _ => Ok((uids, Scarce::UserIds)),
    }
}

fn finished_max(options: &Options) -> Result<u32, PlanError> {
    match options.max_finished {
        None => Ok(FINISHED),
        Some(given) if given >= FINISHED_MIN => Ok(given),
        Some(given) => Err(PlanError::Finished { given }),
    }
}

fn threads() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cpus.min(FRONTEND_THREADS_MAX)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::CgroupMount;
    use prn_proto::units::{Cpu, SizeOrZero};

    fn host() -> Host {
        Host {
            cgroup2: Some(CgroupMount {
                path: "/sys/fs/cgroup".into(),
                root: "/".into(),
                read_only: false,
            }),
            own_cgroup: Some("/sys/fs/cgroup/system.slice/prn.service".into()),
            memory: 4096 * MIB,
            open_files: (1024, 1 << 20),
            ..Host::default()
        }
    }

    fn failed(options: Options) -> String {
        resolve(&options, &host()).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_those_of_the_help_text() {
        let plan = resolve(&Options::default(), &host()).unwrap();
        let (supervisor, frontend) = (plan.supervisor, plan.frontend);
        assert_eq!(plan.address.0, "127.0.0.1:50051");
        assert_eq!(plan.state_dir, "/var/lib/prn");
        assert_eq!(plan.cgroup, Cgroup::Own("/sys/fs/cgroup/prn".into()));
        assert_eq!(
            (supervisor.first_uid, supervisor.uid_count),
            (2_000_000_000, 4096)
        );
        assert_eq!(
            (supervisor.frontend_uid, supervisor.frontend_gid),
            (1_999_999_999, 1_999_999_999)
        );
        assert_eq!(supervisor.finished_max, 1000);
        assert_eq!(
            supervisor.output,
            [(
                OutputStore::Memory,
                StoreLimits {
                    ceiling: 1024 * MIB,
                    budget: 1024 * MIB
                }
            )]
            .into()
        );
        assert_eq!(frontend.output_default, 64 * MIB);
        assert_eq!(frontend.stop_grace.duration().as_secs(), 10);
        assert_eq!(frontend.default_limits, Limits::default());
        assert_eq!((frontend.handshakes_max, frontend.streams_max), (64, 2048));
        assert_eq!(
            (frontend.connections_max, frontend.connections_per_client),
            (4096, 256)
        );
        assert_eq!(
            (frontend.subscribers_max, frontend.subscribers_per_process),
            (1365, 1024)
        );
        assert_eq!(frontend.handshake_timeout.duration().as_secs(), 10);
        assert_eq!(
            (
                frontend.peer_timeout.duration().as_secs(),
                frontend.connection_age
            ),
            (120, None)
        );
    }

    #[test]
    fn as_many_subscribers_as_half_of_the_frontends_memory_holds_chunks_for() {
        let options = Options {
            frontend_memory: Some(Size(64 * MIB)),
            ..Options::default()
        };
        assert_eq!(
            resolve(&options, &host()).unwrap().frontend.subscribers_max,
            170
        );
    }

    #[test]
    fn a_delegated_group_is_used_as_it_is() {
        let options = Options {
            delegated_cgroup: true,
            ..Options::default()
        };
        let own = "/sys/fs/cgroup/system.slice/prn.service".into();
        assert_eq!(
            resolve(&options, &host()).unwrap().cgroup,
            Cgroup::Delegated(own)
        );
        let outside = Host {
            own_cgroup: Some("/sys/fs/cgroup".into()),
            ..host()
        };
        assert!(matches!(
            resolve(&options, &outside),
            Err(PlanError::Cgroup)
        ));
    }

    #[test]
    fn there_are_no_more_processes_than_descriptors_for_them() {
        let with = |hard| Host {
            open_files: (1024, hard),
            ..host()
        };
        let count = |hard| {
            resolve(&Options::default(), &with(hard)).map(|plan| {
                let count = plan.supervisor.uid_count;
                // What clients are told.
                assert_eq!(plan.frontend.processes_max, count);
                (count, plan.supervisor.scarce)
            })
        };
        assert_eq!(count(1 << 20).unwrap(), (4096, Scarce::UserIds));
        assert_eq!(
            count(20_000).unwrap(),
            ((20_000 - 192 - 2000) / 8, Scarce::Descriptors)
        );
        assert!(count(2100).unwrap_err().to_string().contains("ulimit -n"));
    }

    #[test]
    fn user_prn_is_the_frontends_unless_a_flag_says_otherwise() {
        let with_user = Host {
            prn_uid: Some(990),
            ..host()
        };
        let uid = |options: Options| {
            resolve(&options, &with_user)
                .unwrap()
                .supervisor
                .frontend_uid
        };
        assert_eq!(uid(Options::default()), 990);
        assert_eq!(
            uid(Options {
                frontend_uid: Some(991),
                ..Options::default()
            }),
            991
        );
    }

    #[test]
    fn what_cannot_work_is_refused_by_the_name_of_its_flag() {
        let name = |instance: &str| Options {
            instance: Some(instance.into()),
            ..Options::default()
        };
        for bad in ["", "Prn", "a/b", "..", "a b", &"a".repeat(33)] {
            assert!(failed(name(bad)).contains("--instance"), "{bad}");
        }
        assert!(
            failed(Options {
                uids: Some(0),
                ..Options::default()
            })
            .contains("--uids")
        );
        assert!(
            failed(Options {
                first_uid: Some(0),
                ..Options::default()
            })
            .contains("--first-uid")
        );
        assert!(
            failed(Options {
                first_uid: Some(u32::MAX - 1),
                ..Options::default()
            })
            .contains("--first-uid")
        );
        assert!(
            failed(Options {
                frontend_uid: Some(0),
                ..Options::default()
            })
            .contains("--frontend-uid")
        );
        assert!(
            failed(Options {
                frontend_uid: Some(crate::options::FIRST_UID + 1),
                ..Options::default()
            })
            .contains("--frontend-uid")
        );
        let taken = Host {
            prn_uid: Some(990),
            prn_gid: Some(980),
            named_ids: [6, 980, 990].into(),
            ..host()
        };
        for uid in [6, 980] {
            let options = Options {
                frontend_uid: Some(uid),
                ..Options::default()
            };
            assert!(
                resolve(&options, &taken)
                    .unwrap_err()
                    .to_string()
                    .contains("--frontend-uid"),
                "{uid}"
            );
        }
        let ids = resolve(&Options::default(), &taken).unwrap().supervisor;
        assert_eq!((ids.frontend_uid, ids.frontend_gid), (990, 980));
        let root = Host {
            prn_gid: Some(0),
            ..taken
        };
        assert!(
            resolve(&Options::default(), &root)
                .unwrap_err()
                .to_string()
                .contains("group of user prn")
        );
        assert!(
            failed(Options {
                handshakes: Some(0),
                ..Options::default()
            })
            .contains("--handshakes")
        );
        let per_client = Options {
            connections_per_client: Some(0),
            ..Options::default()
        };
        assert!(failed(per_client).contains("--connections-per-client"));
        let short = Options {
            peer_timeout: Some(Time(Duration::from_secs(7))),
            ..Options::default()
        };
        assert!(failed(short).contains("--peer-timeout"));
        assert!(
            failed(Options {
                max_finished: Some(63),
                ..Options::default()
            })
            .contains("--max-finished must be 64 to")
        );
        let memory = Options {
            default_memory: Some(Size(4096)),
            ..Options::default()
        };
        assert!(failed(memory).contains("--default-memory"));
        let above = Options {
            default_cpu: Some(Cpu(2000)),
            max_cpu: Some(Cpu(1000)),
            ..Options::default()
        };
        assert_eq!(failed(above), "--default-cpu is above --max-cpu");
    }

    #[test]
    fn workspaces_are_as_many_as_user_ids_at_most() {
        let workspaces = |max_workspaces, uids| {
            let options = Options {
                max_workspaces,
                uids: Some(uids),
                ..Options::default()
            };
            resolve(&options, &host()).map(|plan| plan.supervisor.workspaces.max)
        };
        assert_eq!(workspaces(None, 4096).unwrap(), 64);
        assert_eq!(workspaces(None, 7).unwrap(), 7);
        assert_eq!(workspaces(Some(0), 7).unwrap(), 0);
        assert_eq!(workspaces(Some(7), 7).unwrap(), 7);
        let open = Host {
            traces_former_root: true,
            ..host()
        };
        let plan = resolve(&Options::default(), &open).unwrap();
        assert_eq!(plan.supervisor.workspaces.max, 0);
        let error = workspaces(Some(8), 7).unwrap_err().to_string();
        assert!(error.contains("--max-workspaces"), "{error}");
    }

    #[test]
    fn disk_space_of_workspaces_is_bounded_on_request() {
        let disk = |bytes| Options {
            max_workspace_disk: Some(Size(bytes)),
            ..Options::default()
        };
        let max = |options| {
            let plan = resolve(&options, &host()).unwrap();
            plan.supervisor.workspaces.disk_max
        };
        assert_eq!(max(Options::default()), None);
        assert_eq!(max(disk(MIB)), Some(MIB));
        for refused in [0, MIB - 1, u64::MAX] {
            assert!(failed(disk(refused)).contains("--max-workspace-disk"));
        }
    }

    #[test]
    fn output_that_would_not_fit_into_memory_is_refused() {
        let budget = Options {
            output_budget: Some(Size(5000 * MIB)),
            ..Options::default()
        };
        assert!(failed(budget).contains("--output-budget"));
        let ceiling = Options {
            output_ceiling: Some(Size(2048 * MIB)),
            ..Options::default()
        };
        assert!(failed(ceiling).contains("--output-ceiling"));
        let default = Options {
            output_default: Some(Size(65 * MIB)),
            output_ceiling: Some(Size(64 * MIB)),
            ..Options::default()
        };
        assert!(failed(default).contains("--output-default"));
        let disk = |bytes| Options {
            output_disk: Some(SizeOrZero(bytes)),
            ..Options::default()
        };
        assert!(failed(disk(65_535)).contains("--output-disk"));
        assert_eq!(
            resolve(&disk(0), &host()).unwrap().supervisor.output.len(),
            1
        );
        let plan = resolve(&disk(2 << 40), &host()).unwrap();
        assert_eq!(
            plan.supervisor.output.get(&OutputStore::Disk),
            Some(&StoreLimits {
                ceiling: 1 << 40,
                budget: 2 << 40
            })
        );
        assert_eq!(plan.frontend.output_disk, 1 << 40);
        let small = Options {
            output_budget: Some(Size(MIB)),
            ..Options::default()
        };
        assert_eq!(
            resolve(&small, &host()).unwrap().frontend.output_default,
            MIB
        );
    }

    #[test]
    fn the_writer_has_ids_that_nobody_else_has() {
        let writer_of = |host: &Host| {
            let plan = resolve(&Options::default(), host).unwrap();
            let supervisor = plan.supervisor;
            let frontend = [supervisor.frontend_uid, supervisor.frontend_gid];
            crate::audit::writer(host, plan.uids, frontend)
        };
        let fixed = crate::audit::UID;
        assert_eq!(writer_of(&host()), Ok((fixed, fixed)));
        let named = Host {
            named_ids: [fixed].into(),
            ..host()
        };
        let refused = writer_of(&named).unwrap_err();
        assert!(refused.contains("another account's"), "{refused}");
        let of = |ids| Host {
            audit_ids: Some(ids),
            ..host()
        };
        assert_eq!(writer_of(&of((991, 992))), Ok((991, 992)));
        for taken in [(0, 992), (991, 0), (FRONTEND_UID, 992), (991, FRONTEND_UID)] {
            let refused = writer_of(&of(taken)).unwrap_err();
            assert!(refused.contains("another part's"), "{refused}");
        }
    }
}
