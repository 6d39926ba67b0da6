//! The way into the table: from a specification to a process that is watched. Runs in the
//! supervisor.

use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};
use prn_ipc_protocol::fds::tools;
use prn_ipc_protocol::output::Stream;
use prn_ipc_protocol::types::{Argv, LimitName, Limits};

use super::*;
use crate::resolve::{Execution, resolve};

/// Most bytes of arguments of all processes that are not finished: both halves hold them.
const ARGUMENTS_MAX: usize = 16 << 20;

/// A process that exists, and what keeps it from being watched; or why there is none.
type Prepared = Result<(Live, Option<Refusal>), Refusal>;

impl Runner {
    /// Starts a process, or finds the one that the same start made before. Does not wait for it:
    /// [`Notice::Started`] or [`Notice::StartFailed`] follows, unless this returns true, for one
    /// that had started before.
    ///
    /// # Errors
    /// The refusal; nothing is left of the attempt.
    pub fn start(&mut self, spec: StartSpec) -> Result<bool, Refusal> {
        let digest = self.numbers.hasher().hash_one(&spec);
        if let Some(known) = self
            .numbers
            .get(&spec.id)
            .and_then(|number| self.table.get(number))
        {
            return if known.digest == digest {
                Ok(known.visible())
            } else {
                Err(Refusal::AlreadyExists)
            };
        }
        let is_left = |leftover: &Leftover| leftover.owner.id == spec.id;
        if self.leftovers.values().any(is_left) {
            return Err(Refusal::AlreadyExists);
        }
        let reserved = self.admit(&spec.process)?;
        let execution = resolve(&self.settings.config.state_dir, &spec)?;
        let mut spec = spec;
        spec.process.limits = self.limits(&spec.process)?;
        spec.process.working_directory = Some(execution.working_directory.clone());
        let mut limits = AppliedLimits::default();
        let uid = self
            .free_uids
            .pop_front()
            .ok_or_else(|| self.no_user_id())?;
        let number = self.last_number + 1;
        let made = directory::create(self.settings.state.as_fd(), spec.id, uid);
        let prepared = match made {
            Ok(()) => {
                let prepared = self.prepare(number, &spec, &execution, uid, &mut limits);
                prepared.inspect_err(|_| {
                    let groups = self.settings.groups.as_fd();
                    let _unused = cgroup::remove(groups, &spec.id.to_string());
                    directory::remove(self.settings.state.as_fd(), spec.id);
                })
            }
            Err(errno) => Err(resources(Preparation::Directory)(errno)),
        };
        let prepared = prepared.inspect_err(|_| self.free_uids.push_back(uid));
        let (live, failure) = prepared.inspect_err(|refusal| self.log_refusal(refusal))?;
        let info = ProcessInfo {
            id: spec.id,
            number,
            uid,
            started: UnixMicros::now(),
            limits,
            spec: spec.process,
            waits: false,
            main_exit: None,
            end: None,
            stuck: Vec::new(),
            left_behind: None,
        };
        if failure.is_some() {
            self.deadline(number, Duration::ZERO, Due::Remove);
        }
        let mut process = Process {
            digest,
            info,
            store: None,
            charge: 0,
            held: 0,
            reserved,
            is_evictable: false,
            told: false,
            taken: 0,
            follower: None,
            watch: None,
            failure,
            live: Some(live),
        };
        self.await_follower(&mut process);
        self.arguments += process.info.spec.argv.size();
        self.ledger(process.info.spec.output.store).reserved += reserved;
        self.charge(&mut process);
        let timeout = process.info.spec.timeout;
        self.last_number = number;
        self.numbers.insert(spec.id, number);
        self.table.insert(number, Box::new(process));
        if let Some(timeout) = timeout {
            self.deadline(number, timeout.duration(), Due::Timeout);
        }
        Ok(false)
    }

    /// Whether a process may be started, before anything is made for it. Returns what is set aside
    /// for its output.
    fn admit(&mut self, spec: &ProcessSpec) -> Result<u64, Refusal> {
        let config = &self.settings.config;
        if self.draining {
            return Err(Refusal::Draining);
        }
        if spec.profile == Profile::None && !config.confinement.allow_none {
            return Err(Refusal::Unconfined);
        }
        let room = ARGUMENTS_MAX.saturating_sub(self.arguments);
        if spec.argv.size() > room {
            let room = u64::try_from(room).unwrap_or(u64::MAX);
            return Err(Refusal::ArgumentsAboveBudget(room));
        }
        let StoreLimits { ceiling, budget } = config
            .output
            .get(&spec.output.store)
            .copied()
            .unwrap_or_default();
        if budget == 0 || spec.output.max > ceiling {
            return Err(Refusal::OutputAboveCeiling(ceiling));
        }
        // What is set aside is not there for others, who must have something left.
        let reserved = match spec.output.overflow {
            Overflow::DropOldest | Overflow::Follow(_) => 0,
            Overflow::Wait | Overflow::Kill => Store::most(spec.output),
        };
        let left = (budget / 2).saturating_sub(self.ledger(spec.output.store).reserved);
        if reserved > left {
            return Err(Refusal::OutputAboveBudget(left));
        }
        Ok(reserved)
    }

    /// Why there is no user id for a process.
    fn no_user_id(&self) -> Refusal {
        let all = self.settings.config.uid_count;
        match u32::try_from(self.leftovers.len()).unwrap_or(u32::MAX) {
            0 => Refusal::TooManyProcesses(all),
            held => Refusal::UserIdsHeld { held, all },
        }
    }

    /// Tells the log what the machine refused: the operator's matter, of which clients are not told
    /// the details. Once a second, however often they try.
    fn log_refusal(&mut self, refusal: &Refusal) {
        let Refusal::Resources { what, errno } = refusal else {
            return;
        };
        let now = Instant::now();
        let logged = self.refusal_logged.replace(now);
        if logged.is_some_and(|logged| now.duration_since(logged) < Duration::from_secs(1)) {
            self.refusal_logged = logged;
            return;
        }
        let error = Errno::from_raw(*errno);
        let hint = match (what, error) {
            (Preparation::Directory, Errno::ENOENT) => {
                ": the state folder was removed or moved away; this server holds the old one: restart it"
            }
            _ => "",
        };
        crate::log::line(&format!("a start failed at {what:?}: {error}{hint}"));
    }

    /// The limits that a process gets: what it asks for, else the ceiling; never above the ceiling.
    fn limits(&self, spec: &ProcessSpec) -> Result<Limits, Refusal> {
        let ceilings = &self.settings.config.limit_ceilings;
        let above = |(limit, ceiling): &(LimitName, u64)| spec.limits.get(*limit) > Some(*ceiling);
        if let Some((limit, ceiling)) = ceilings.iter().find(above) {
            return Err(Refusal::AboveCeiling { limit, ceiling });
        }
        Ok(spec.limits.or(ceilings))
    }

    /// Makes group, pipes and process, in this order, and watches them.
    fn prepare(
        &self,
        number: u64,
        spec: &StartSpec,
        execution: &Execution,
        uid: u32,
        limits: &mut AppliedLimits,
    ) -> Prepared {
        let group = Group::create(self.settings.groups.as_fd(), &spec.id.to_string());
        let group = group.map_err(resources(Preparation::Cgroup))?;
        let config = &self.settings.config;
        limits.not_enforced = group
            .limit(&spec.process.limits, &config.disks)
            .map_err(Refusal::NotEnforceable)?;
        if !spec.process.best_effort_limits && !config.allow_missing_limits {
            limits
                .not_enforced
                .first()
                .map_or(Ok(()), |limit| Err(Refusal::NotEnforceable(*limit)))?;
        }
        let made = || spawn::pipe_of(uid).map_err(resources(Preparation::Pipes));
        let (stdout, stderr) = (made()?, made()?);
        let spawned = self
            .launch(
                spec,
                execution,
                uid,
                &group,
                [stdout.1.as_fd(), stderr.1.as_fd()],
            )
            .map_err(resources(Preparation::Clone))?;
        // While the child is on its way to its program.
        limits.in_force = group.texts(&["cpu.max", "memory.max", "io.max", "pids.max"]);
        let pipe = |stream, fd| Pipe {
            stream,
            fd,
            left_until: None,
            writers: Writers::Some,
        };
        let live = Live {
            phase: Phase::Running,
            group,
            main: None,
            report: Some(spawned.report),
            pipes: vec![
                pipe(Stream::Stdout, stdout.0),
                pipe(Stream::Stderr, stderr.0),
            ],
            read_at: Instant::now(),
            stopping: None,
            busy: 0,
        };
        if let Err(refusal) = self
            .register(number, &live, &spawned.pidfd)
            .map_err(resources(Preparation::Watch))
        {
            // The process exists already: it dies with its group, and is reaped here. Its
            // directories need not be empty.
            live.group.end(&spawned.pidfd);
            return Ok((
                Live {
                    phase: Phase::Removing,
                    report: None,
                    ..live
                },
                Some(refusal),
            ));
        }
        Ok((
            Live {
                main: Some(spawned.pidfd),
                ..live
            },
            None,
        ))
    }

    /// Creates the process with all that its profile asks for.
    fn launch(
        &self,
        spec: &StartSpec,
        execution: &Execution,
        uid: u32,
        group: &Group,
        pipes: [BorrowedFd<'_>; 2],
    ) -> nix::Result<Spawned> {
        let [stdout, stderr] = pipes;
        let own = directory::open(self.settings.state.as_fd(), spec.id);
        let confinement = &self.settings.config.confinement;
        let landlock = confinement
            .landlock
            .as_ref()
            .filter(|_| spec.process.profile == Profile::Default);
        let rules = landlock.map_or_else(Vec::new, |landlock| {
            let own = own.iter().map(|path| Rule {
                below: path.as_fd(),
                rights: landlock.own,
            });
            let shared = self.rules.iter().map(|(path, rights)| Rule {
                below: path.as_fd(),
                rights: *rights,
            });
            own.chain(shared).collect()
        });
        let child = Child {
            argv: spec.process.argv.as_slice(),
            environment: &execution.environment,
            streams: [self.null.as_fd(), stdout, stderr],
            directory: &execution.working_directory,
            landlock: landlock.map(|landlock| spawn::Landlock {
                attributes: &landlock.attributes,
                rules: &rules,
            }),
            filters: if spec.process.profile == Profile::Default {
                &confinement.process
            } else {
                &[]
            },
            open_files: self.settings.config.open_files,
            ..Child::new(
                group.directory.as_fd(),
                Program::Paths(&execution.candidates),
                Ids::of_user(uid),
                self.null.as_fd(),
            )
        };
        if spec.process.profile != Profile::Strict {
            return spawn::spawn(&child);
        }
        let program = Program::File(self.settings.tools.as_ref().ok_or(Errno::ENOSYS)?.as_fd());
        let plan = self.settings.strict.as_ref().ok_or(Errno::ENOSYS)?;
        let launch = strict_launch(&spec.process.argv, execution)?;
        let directories = own.iter().rev().map(AsFd::as_fd);
        let descriptors: Vec<_> = directories.chain([launch.as_fd(), plan.as_fd()]).collect();
        // Nothing that the client chose is the tool's own: its loader would obey LD_PRELOAD before
        // any confinement.
        let tool = Child {
            program,
            argv: &[tools::STRICT.into()],
            environment: &[],
            report: Report::Program,
            ..child
        };
        spawn::spawn(&Child {
            descriptors: &descriptors,
            ..tool
        })
    }

    fn register(&self, number: u64, live: &Live, main: &OwnedFd) -> nix::Result<()> {
        let add = |fd: BorrowedFd<'_>, interest, part| {
            self.events
                .add(fd, interest, Source::Process { number, part })
        };
        for pipe in &live.pipes {
            add(
                pipe.fd.as_fd(),
                Interest::ReadableOnce,
                Part::Pipe(pipe.stream),
            )?;
        }
        live.report
            .iter()
            .try_for_each(|report| add(report.as_fd(), Interest::Readable, Part::Report))?;
        // It stays readable, also while a tracer keeps its process from being reaped.
        add(main.as_fd(), Interest::Changed, Part::Main)?;
        add(live.group.events.as_fd(), Interest::Priority, Part::Group)
    }
}

/// What [`tools::STRICT`] is to run, as it reads it at [`tools::LAUNCH`]. Not as arguments, which
/// everybody can read (proc_pid_cmdline(5)).
fn strict_launch(argv: &Argv, execution: &Execution) -> nix::Result<OwnedFd> {
    let mut bytes = Vec::new();
    for list in [&execution.candidates, &execution.environment] {
        bytes.extend(list.len().to_string().into_bytes());
        bytes.push(0);
        let strings = list.iter().map(|string| string.as_bytes_with_nul());
        strings.for_each(|string| bytes.extend_from_slice(string));
    }
    for argument in argv.as_slice() {
        bytes.extend_from_slice(argument.as_bytes_with_nul());
    }
    let launch = File::from(memfd_create(c"prn-launch", MFdFlags::MFD_CLOEXEC)?);
    let written = launch.write_all_at(&bytes, 0);
    written.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    Ok(launch.into())
}
