//! The way into the table: from a specification to a process that is watched. Runs in the
//! supervisor.

use std::ffi::CString;

use super::*;

/// For a pidfd: it stays readable, also while a tracer keeps its process from being reaped.
const ONCE: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLET);

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
        let config = &self.settings.config;
        if self.draining {
            return Err(Refusal::Draining);
        }
        if spec.profile == Profile::None && !config.confinement.allow_none {
            return Err(Refusal::Unconfined);
        }
        let (ceiling, budget) = config
            .output
            .get(&spec.output.store)
            .copied()
            .unwrap_or_default();
        if budget == 0 || spec.output.max > ceiling {
            return Err(Refusal::OutputAboveCeiling(ceiling));
        }
        // What is set aside is not there for others, who must have something left.
        let reserved = if spec.output.overflow == Overflow::DropOldest {
            0
        } else {
            Store::most(spec.output)
        };
        let left = (budget / 2).saturating_sub(self.ledger(spec.output.store).reserved);
        if reserved > left {
            return Err(Refusal::OutputAboveBudget(left));
        }
        let mut limits = self.limits(&spec)?;
        let (grace, max) = (spec.stop_grace.duration(), self.settings.config.uid_count);
        let uid = self
            .free_uids
            .pop_front()
            .ok_or(Refusal::TooManyProcesses(max))?;
        let number = self.last_number + 1;
        let prepared = directory::create(self.settings.state.as_fd(), spec.id, uid)
            .map_err(resources(Preparation::Directory))
            .and_then(|()| self.prepare(number, &spec, uid, &mut limits));
        let (live, failure) = prepared.inspect_err(|_| {
            let _unused = cgroup::remove(self.settings.groups.as_fd(), &spec.id.to_string());
            directory::remove(self.settings.state.as_fd(), spec.id);
            self.free_uids.push_back(uid);
        })?;
        let info = ProcessInfo {
            id: spec.id,
            number,
            argv: spec.argv,
            working_directory: spec.working_directory,
            uid,
            started: UnixMicros::now(),
            profile: spec.profile,
            limits,
            output: spec.output,
            waits: false,
            main_exit: None,
            end: None,
            stuck: Vec::new(),
        };
        if failure.is_some() {
            self.deadline(number, Duration::ZERO, Due::Remove);
        }
        let (store, charge, told, taken, watch, live, linger) =
            (None, 0, false, 0, None, Some(live), spec.linger);
        let mut process = Process {
            digest,
            info,
            grace,
            linger,
            store,
            charge,
            reserved,
            told,
            taken,
            watch,
            failure,
            live,
        };
        self.ledger(spec.output.store).reserved += reserved;
        self.charge(&mut process);
        self.last_number = number;
        self.numbers.insert(spec.id, number);
        self.table.insert(number, Box::new(process));
        if let Some(timeout) = spec.timeout {
            self.deadline(number, timeout.duration(), Due::Timeout);
        }
        Ok(false)
    }

    /// The limits that a process gets: what it asks for, else the ceiling; never above the ceiling.
    fn limits(&self, spec: &StartSpec) -> Result<AppliedLimits, Refusal> {
        let ceilings = &self.settings.config.limit_ceilings;
        let above = ceilings
            .0
            .iter()
            .find(|(limit, most)| spec.limits.0.get(limit) > Some(most));
        above.map_or(Ok(()), |(limit, most)| {
            Err(Refusal::AboveCeiling(*limit, *most))
        })?;
        let mut wanted = ceilings.clone();
        wanted.0.extend(&spec.limits.0);
        Ok(AppliedLimits {
            wanted,
            ..AppliedLimits::default()
        })
    }

    /// Makes group, pipes and process, in this order, and watches them.
    fn prepare(
        &self,
        number: u64,
        spec: &StartSpec,
        uid: u32,
        limits: &mut AppliedLimits,
    ) -> Prepared {
        let group = Group::create(self.settings.groups.as_fd(), &spec.id.to_string());
        let group = group.map_err(resources(Preparation::Cgroup))?;
        let config = &self.settings.config;
        limits.not_enforced = group
            .limit(&limits.wanted, &config.disks)
            .map_err(Refusal::NotEnforceable)?;
        if !spec.best_effort_limits && !config.allow_missing_limits {
            limits
                .not_enforced
                .first()
                .map_or(Ok(()), |limit| Err(Refusal::NotEnforceable(*limit)))?;
        }
        let pipe = || spawn::pipe_of(uid).map_err(resources(Preparation::Pipes));
        let (stdout, stderr) = (pipe()?, pipe()?);
        let spawned = self
            .launch(spec, uid, &group, [stdout.1.as_fd(), stderr.1.as_fd()])
            .map_err(resources(Preparation::Clone))?;
        // While the child is on its way to its program.
        limits.in_force = group.texts(&["cpu.max", "memory.max", "io.max", "pids.max"]);
        let streams = vec![
            (Stream::Stdout, stdout.0, None),
            (Stream::Stderr, stderr.0, None),
        ];
        let (phase, report) = (Phase::Running, Some(spawned.report));
        let live = Live {
            phase,
            group,
            main: None,
            report,
            streams,
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
            .filter(|_| spec.profile == Profile::Default);
        let rules = landlock.map_or_else(Vec::new, |landlock| {
            let shared = self
                .rules
                .iter()
                .map(|(path, rights)| (path.as_fd(), *rights));
            own.iter()
                .map(|path| (path.as_fd(), landlock.own))
                .chain(shared)
                .collect()
        });
        let child = Child {
            argv: spec.argv.as_slice(),
            environment: &spec.environment,
            streams: [self.null.as_fd(), stdout, stderr],
            directory: &spec.working_directory,
            landlock: landlock.map_or((&[], &[]), |landlock| (&landlock.attributes, &rules)),
            filters: if spec.profile == Profile::Default {
                &confinement.process
            } else {
                &[]
            },
            open_files: self.settings.config.open_files,
            ..Child::new(
                group.directory.as_fd(),
                Program::Paths(&spec.program),
                (uid, uid),
                self.null.as_fd(),
            )
        };
        if spec.profile != Profile::Strict {
            return spawn::spawn(&child);
        }
        let tools = Program::File(self.settings.tools.as_ref().ok_or(Errno::ENOSYS)?.as_fd());
        let argv = strict_arguments(spec).ok_or(Errno::EINVAL)?;
        let descriptors: Vec<_> = own.iter().rev().map(AsFd::as_fd).collect();
        // Nothing that the client chose is the tool's own: its loader would obey LD_PRELOAD before
        // any confinement.
        let tool = Child {
            program: tools,
            argv: &argv,
            environment: &[],
            reports: true,
            ..child
        };
        spawn::spawn(&Child {
            descriptors: &descriptors,
            ..tool
        })
    }

    fn register(&self, number: u64, live: &Live, main: &OwnedFd) -> nix::Result<()> {
        let add = |fd: BorrowedFd<'_>, flags, source| {
            self.epoll
                .add(fd, EpollEvent::new(flags, number << 3 | source))
        };
        for (stream, pipe, _) in &live.streams {
            add(
                pipe.as_fd(),
                ARMED,
                source::STDOUT + u64::from(*stream == Stream::Stderr),
            )?;
        }
        live.report
            .iter()
            .try_for_each(|report| add(report.as_fd(), EpollFlags::EPOLLIN, source::REPORT))?;
        add(main.as_fd(), ONCE, source::MAIN)?;
        add(
            live.group.events.as_fd(),
            EpollFlags::EPOLLPRI,
            source::GROUP,
        )
    }

    /// Starts the cleaner of a process's directories, in a new group: the process's own may have
    /// been killed, and had limits. Linux 6.18 kills what clone3(2) creates in a group that
    /// cgroup.kill was ever written to (measured: it compares the group's count of kills with that
    /// of the parent's group).
    pub(super) fn clean(&self, number: u64, id: ProcessId, uid: u32) -> nix::Result<Live> {
        let tools = Program::File(self.settings.tools.as_ref().ok_or(Errno::ENOENT)?.as_fd());
        let own = directory::open(self.settings.state.as_fd(), id);
        let group = Group::create(self.settings.groups.as_fd(), &id.to_string())?;
        let (argv, descriptors) = (
            [crate::CLEANER.into()],
            own.iter().map(AsFd::as_fd).collect::<Vec<_>>(),
        );
        let child = Child::new(
            group.directory.as_fd(),
            tools,
            (uid, uid),
            self.null.as_fd(),
        );
        let spawned = spawn::spawn(&Child {
            argv: &argv,
            descriptors: &descriptors,
            ..child
        })?;
        let watched = self.watch_fd(spawned.pidfd.as_fd(), ONCE, number << 3 | source::MAIN);
        watched.inspect_err(|_| group.end(&spawned.pidfd))?;
        let (phase, main, streams, read_at) = (
            Phase::Cleaning,
            Some(spawned.pidfd),
            Vec::new(),
            Instant::now(),
        );
        Ok(Live {
            phase,
            group,
            main,
            report: None,
            streams,
            read_at,
            stopping: None,
            busy: 0,
        })
    }
}

/// The argument vector of [`crate::STRICT`]: where the program may be, its environment, its own
/// arguments. The first two are preceded by their number.
fn strict_arguments(spec: &StartSpec) -> Option<Vec<CString>> {
    let mut all = vec![CString::from(crate::STRICT)];
    for list in [&spec.program, &spec.environment] {
        all.push(CString::new(list.len().to_string()).ok()?);
        all.extend(list.iter().cloned());
    }
    all.extend(spec.argv.as_slice().iter().cloned());
    Some(all)
}
