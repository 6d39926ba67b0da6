//! The way into the table: from a specification to a process that is watched. Runs in the supervisor.

use super::*;

/// Descriptors that a live process needs at most: pidfd, report, two pipes, directory and events of its group, ring,
/// index, cleaner.
const FDS_LIVE: u64 = 9;
/// Descriptors that a finished process keeps: ring and index.
const FDS_FINISHED: u64 = 2;
/// Descriptors for everything else, a start under way included.
const FDS_OTHER: u64 = 128;

impl Runner {
    /// Starts a process, or finds the one that the same start made before. Does not wait for it.
    ///
    /// # Errors
    /// The refusal; nothing is left of the attempt.
    pub fn start(&mut self, spec: StartSpec) -> Result<Start, Refusal> {
        let digest = self.hasher.hash_one(&spec);
        if let Some(known) = self.numbers.get(&spec.id).and_then(|number| self.table.get(number)) {
            if known.digest != digest {
                return Err(Refusal::AlreadyExists);
            }
            let pending = known.live.as_ref().is_some_and(|live| live.report.is_some() || live.failure.is_some());
            return Ok(if pending { Start::Pending } else { Start::Existing });
        }
        if self.draining {
            return Err(Refusal::Draining);
        }
        let (limits, not_enforced) = self.tree.enforceable(&self.limits(&spec.limits)?, &self.settings.config.disks);
        if let Some(limit) = not_enforced.first()
            && !(spec.best_effort_limits || self.settings.config.allow_missing_limits)
        {
            return Err(Refusal::NotEnforceable { limit: *limit });
        }
        let config = &self.settings.config;
        let output_max = spec.output_max.unwrap_or(config.output_default);
        if output_max > config.output_ceiling {
            return Err(Refusal::OutputAboveCeiling { ceiling: config.output_ceiling.value() });
        }
        let working_directory = match &spec.working_directory {
            Some(path) => path.clone(),
            None => AbsolutePath::try_from(self.state.path(spec.id).to_string_lossy().into_owned())
                .map_err(|_| resources(Preparation::Directory)(Errno::ENAMETOOLONG))?,
        };
        let most = config.uid_count;
        self.make_room_for_descriptors()?;
        let uid = self.free_uids.pop_front().ok_or(Refusal::TooManyProcesses { max: most })?;
        self.last_number += 1;
        let number = self.last_number;
        let (live, limits) = match self.prepare(number, &spec, uid, limits) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                self.free_uids.push_back(uid);
                return Err(refusal);
            }
        };
        let info = ProcessInfo {
            id: spec.id,
            number,
            argv: spec.argv,
            working_directory,
            uid,
            started: UnixMicros::now(),
            limits: AppliedLimits { values: limits, not_enforced },
            output_max,
            main_exit: None,
            end: None,
            stuck: Vec::new(),
        };
        self.live += 1;
        self.numbers.insert(spec.id, number);
        let grace = spec.stop_grace.unwrap_or(self.settings.config.stop_grace).duration();
        let process = Process { digest, info, grace, linger: spec.linger, store: None, watch: None, live: Some(live) };
        self.table.insert(number, process);
        if let Some(timeout) = spec.timeout {
            self.deadline(number, timeout.duration(), Due::Timeout);
        }
        Ok(Start::New)
    }

    /// The limits that a process gets: what it asks for, else the default, else the ceiling; never above the ceiling.
    pub(super) fn limits(&self, asked: &Limits) -> Result<Limits, Refusal> {
        fn one<T: Copy + Ord + Into<u64>>(
            limit: LimitName,
            asked: Option<T>,
            default: Option<T>,
            ceiling: Option<T>,
        ) -> Result<Option<T>, Refusal> {
            match (asked.or(default), ceiling) {
                (Some(asked), Some(ceiling)) if asked > ceiling => {
                    Err(Refusal::AboveCeiling { limit, ceiling: ceiling.into() })
                }
                (value, ceiling) => Ok(value.or(ceiling)),
            }
        }
        let config::Supervisor { default_limits: default, limit_ceilings: most, .. } = &self.settings.config;
        Ok(Limits {
            cpu: one(LimitName::Cpu, asked.cpu, default.cpu, most.cpu)?,
            memory: one(LimitName::Memory, asked.memory, default.memory, most.memory)?,
            io_read: one(LimitName::IoRead, asked.io_read, default.io_read, most.io_read)?,
            io_write: one(LimitName::IoWrite, asked.io_write, default.io_write, most.io_write)?,
            pids: one(LimitName::Pids, asked.pids, default.pids, most.pids)?,
        })
    }

    /// Forgets finished processes, oldest first, if a new one could otherwise run out of descriptors later, when its
    /// output would be lost.
    pub(super) fn make_room_for_descriptors(&mut self) -> Result<(), Refusal> {
        let (_, most) = self.settings.open_files;
        loop {
            let finished = u64::try_from(self.finished.len()).unwrap_or(u64::MAX);
            let held = FDS_OTHER + FDS_LIVE * u64::from(self.live + 1) + FDS_FINISHED * finished;
            if held <= most {
                return Ok(());
            }
            if !self.forget_oldest() {
                return Err(resources(Preparation::Watch)(Errno::EMFILE));
            }
        }
    }

    /// Makes directory, group, pipes and process, in this order, and watches them. On an error nothing is left.
    pub(super) fn prepare(
        &self,
        number: u64,
        spec: &StartSpec,
        uid: u32,
        limits: Limits,
    ) -> Result<(Live, Limits), Refusal> {
        let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
        self.state.create(spec.id, uid).map_err(|error| resources(Preparation::Directory)(errno(error)))?;
        let group = match self.tree.create(spec.id) {
            Ok(group) => group,
            Err(error) => {
                self.state.remove(spec.id);
                return Err(resources(Preparation::Cgroup)(cgroup_errno(&error)));
            }
        };
        let undo = |group: &Group| {
            let _unused = group.remove();
            self.state.remove(spec.id);
        };
        let (spawned, streams, in_force) = self.launch(spec, uid, &group, limits).inspect_err(|_| undo(&group))?;
        let live = Live {
            group,
            main: Some(spawned.pidfd),
            report: Some(spawned.report),
            failure: None,
            streams: streams.map(Some),
            stopping: None,
            cleaning: false,
            cleaner: None,
            cleaned: false,
            busy: 0,
            timers: Vec::new(),
        };
        if let Err(error) = self.register(number, &live) {
            // The process exists already: it dies with its group, and is reaped here.
            if let Some(main) = &live.main {
                live.group.kill_and_wait(main);
            }
            undo(&live.group);
            return Err(resources(Preparation::Watch)(error));
        }
        Ok((live, in_force))
    }

    /// Writes the limits, then makes pipes and process.
    pub(super) fn launch(
        &self,
        spec: &StartSpec,
        uid: u32,
        group: &Group,
        limits: Limits,
    ) -> Result<(spawn::Spawned, [OwnedFd; 2], Limits), Refusal> {
        let in_force = group
            .limit(&limits, &self.settings.config.disks)
            .map_err(|(limit, _)| Refusal::NotEnforceable { limit })?;
        let [stdout, stderr] = spawn::pipes_of(uid).map_err(resources(Preparation::Pipes))?;
        for pipe in [&stdout.0, &stderr.0] {
            // Of this end alone: the process's end is another open file description.
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(resources(Preparation::Pipes))?;
        }
        let home = self.state.path(spec.id);
        let home = home.to_string_lossy();
        let directory = spec.working_directory.as_ref().map_or(&*home, AbsolutePath::as_str);
        let spawned = spawn::spawn(&Child {
            group: group.directory(),
            program: &Program::Paths(launch::candidates(spec.argv.program(), &spec.environment)),
            argv: &launch::argv(&spec.argv),
            environment: &launch::environment(&spec.environment, &home),
            streams: [self.null.as_fd(), stdout.1.as_fd(), stderr.1.as_fd()],
            descriptors: &[],
            uid,
            gid: uid,
            directory: &CString::new(directory).map_err(|_| resources(Preparation::Directory)(Errno::EINVAL))?,
            open_files: self.settings.open_files,
        })
        .map_err(resources(Preparation::Clone))?;
        Ok((spawned, [stdout.0, stderr.0], in_force))
    }

    pub(super) fn register(&self, number: u64, live: &Live) -> nix::Result<()> {
        let add = |fd: BorrowedFd<'_>, flags, source| self.epoll.add(fd, EpollEvent::new(flags, token(number, source)));
        let [stdout, stderr] = &live.streams;
        let watched = [
            (live.report.as_ref(), source::REPORT),
            (stdout.as_ref(), source::STDOUT),
            (stderr.as_ref(), source::STDERR),
        ];
        for (fd, source) in watched {
            if let Some(fd) = fd {
                add(fd.as_fd(), EpollFlags::EPOLLIN, source)?;
            }
        }
        if let Some(main) = &live.main {
            add(main.as_fd(), ONCE, source::MAIN)?;
        }
        add(live.group.events(), EpollFlags::EPOLLPRI, source::GROUP)
    }
}

fn cgroup_errno(error: &CgroupError) -> Errno {
    match error {
        CgroupError::File { source, .. } => Errno::from_raw(source.raw_os_error().unwrap_or(0)),
        CgroupError::InUse(_) | CgroupError::Missing(_) | CgroupError::Leftover(_) => Errno::EBUSY,
    }
}
