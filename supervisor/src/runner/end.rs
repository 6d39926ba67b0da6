//! What the kernel reports of a process, up to its end and the removal of all that it held. Runs in the supervisor.

use super::*;

/// How long a cleaner has to empty a directory.
const CLEAN_WAIT: Duration = Duration::from_secs(10);

/// How often the removal of a group is tried, 20 ms after the first time and twice as long each time: 10 s together.
const REMOVE_TRIES: u32 = 9;

/// Most bytes of arguments that finished processes are remembered with: both halves hold them, and each List sends them.
const REMEMBERED_MAX: usize = 16 << 20;

impl Runner {
    pub(super) fn ready(&mut self, number: u64, source: u64) {
        match source {
            source::REPORT => self.reported(number),
            source::MAIN => {
                // A short process can end before its report was looked at; what the report says comes first.
                self.reported(number);
                self.main_ended(number);
                if let Some(Live { main: Some(_), group, .. }) = self.table.get(&number).and_then(|p| p.live.as_ref()) {
                    // It has ended, but a process of its own that traces it keeps it (ptrace(2)). Without that one it
                    // is let go, and the descriptor, which is watched for changes alone, tells again.
                    let _unused = group.kill();
                }
            }
            source::STDOUT => self.pump(number, Stream::Stdout, TURN),
            source::STDERR => self.pump(number, Stream::Stderr, TURN),
            source::GROUP => self.group_changed(number),
            source::CLEANER => self.cleaner_ended(number),
            source::TIMER => self.timers.clear(),
            _ => {}
        }
    }

    /// Reads whether the program runs.
    pub(super) fn reported(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        let Some(report) = live.report.take() else { return };
        let mut bytes = [0; spawn::REPORT];
        let id = process.info.id;
        match nix::unistd::read(&report, &mut bytes) {
            Ok(0) => {
                process.info.started = UnixMicros::now();
                self.notices.extend([Notice::Started(id), Notice::Changed(id)]);
            }
            Ok(length) => {
                let failed = bytes.get(..length).and_then(spawn::failure);
                let (step, errno) = failed.unwrap_or((ChildStep::Exec, errno_number(Errno::EIO)));
                live.failure = Some(Refusal::Exec { step, errno });
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {
                live.report = Some(report);
                return;
            }
            Err(error) => {
                live.failure = Some(Refusal::Exec { step: ChildStep::Exec, errno: errno_number(error) });
            }
        }
        self.forget(report);
    }

    pub(super) fn main_ended(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        let Some(main) = live.main.take() else { return };
        let status = match pidfd::reap(&main) {
            Ok(Some(status)) => status,
            Ok(None) => {
                live.main = Some(main);
                return;
            }
            // Cannot be: it is our child, and nobody else reaps it.
            Err(_) => prn_ipc_protocol::message::ExitStatus::Exited(u8::MAX),
        };
        if live.failure.is_none() {
            let cause = exit_cause(status, live.stopping.map(|stopping| stopping.cause), live.group.oom_kills());
            process.info.main_exit = Some(MainExit { status, cause, at: UnixMicros::now() });
            self.notices.push_back(Notice::Changed(process.info.id));
        }
        // A stop under way has its own deadline for what the main process leaves behind.
        let kill = !process.linger && live.stopping.is_none();
        self.forget(main);
        self.group_changed(number);
        if kill && self.table.get(&number).and_then(|process| process.live.as_ref()).is_some_and(|live| !live.cleaning)
        {
            self.kill(number);
        }
    }

    /// Looks whether the tree is empty, and finishes the process if it is.
    pub(super) fn group_changed(&mut self, number: u64) {
        let Some(live) = self.table.get(&number).and_then(|process| process.live.as_ref()) else { return };
        if !live.group.populated() && live.main.is_none() && live.report.is_none() && !live.cleaning {
            self.tree_emptied(number);
        }
    }

    pub(super) fn tree_emptied(&mut self, number: u64) {
        // What is in the pipes is all that there will be; a stranger who was handed a pipe's end is not waited for.
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.pump(number, stream, output::LAST_TURN);
        }
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        live.cleaning = true;
        let streams = std::mem::take(&mut live.streams);
        for key in std::mem::take(&mut live.timers) {
            self.timers.cancel(key);
        }
        if live.failure.is_none() {
            let output = process.store.as_ref().map(Store::totals).unwrap_or_default();
            process.info.end = Some(End { at: UnixMicros::now(), usage: live.group.usage(), output });
            process.info.stuck.clear();
            self.notices.push_back(Notice::Changed(process.info.id));
        }
        if let Some(store) = &mut process.store {
            store.finish();
            self.evictable.push_back(number);
        }
        for pipe in streams.into_iter().flatten() {
            self.forget(pipe);
        }
        self.remove_group(number);
    }

    /// Starts the cleaner of a process's directory, in a new group: the process's own may have been killed (see
    /// [`Tree::renew_frontend`]) and had limits. Returns whether there is one.
    pub(super) fn clean(&mut self, number: u64) -> bool {
        let Some(process) = self.table.get_mut(&number) else { return false };
        let Some(live) = &mut process.live else { return false };
        let (id, uid) = (process.info.id, process.info.uid);
        let Ok(group) = self.tree.create(id) else { return false };
        live.group = group;
        let Some(live) = self.table.get(&number).and_then(|process| process.live.as_ref()) else { return false };
        let Ok(pidfd) = self.spawn_cleaner(id, uid, &live.group) else { return false };
        if self.epoll.add(&pidfd, EpollEvent::new(ONCE, token(number, source::CLEANER))).is_err() {
            live.group.kill_and_wait(&pidfd);
            return false;
        }
        self.deadline(number, CLEAN_WAIT, Due::Clean);
        if let Some(live) = self.table.get_mut(&number).and_then(|process| process.live.as_mut()) {
            live.cleaner = Some(pidfd);
        }
        true
    }

    pub(super) fn spawn_cleaner(&self, id: ProcessId, uid: u32, group: &Group) -> io::Result<OwnedFd> {
        let program = self.settings.cleaner.as_ref().ok_or(io::ErrorKind::NotFound)?.try_clone()?;
        let directory = self.state.handle(id)?;
        let null = self.null.as_fd();
        let spawned = spawn::spawn(&Child {
            group: group.directory(),
            program: &Program::File(program),
            argv: &[CString::from(crate::CLEANER)],
            environment: &[],
            streams: [null, null, null],
            descriptors: &[directory.as_fd()],
            uid,
            gid: uid,
            directory: c"/",
            open_files: self.settings.open_files,
        })?;
        Ok(spawned.pidfd)
    }

    pub(super) fn cleaner_ended(&mut self, number: u64) {
        let Some(live) = self.table.get_mut(&number).and_then(|process| process.live.as_mut()) else { return };
        let Some(cleaner) = live.cleaner.take() else { return };
        if matches!(pidfd::reap(&cleaner), Ok(None)) {
            live.cleaner = Some(cleaner);
            return;
        }
        self.forget(cleaner);
        self.remove_group(number);
    }

    /// Removes directory and group, now or soon, and with them the last of the process.
    pub(super) fn remove_group(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        if live.group.remove().is_err() && live.busy < REMOVE_TRIES {
            live.busy += 1;
            let wait = Duration::from_millis(10 << live.busy);
            self.deadline(number, wait, Due::Remove);
            return;
        }
        if !live.cleaned {
            live.cleaned = true;
            let _unused = self.epoll.delete(live.group.events());
            if !self.state.remove(process.info.id) {
                if self.clean(number) {
                    return;
                }
                let group = self.table.get(&number).and_then(|process| process.live.as_ref()).map(|live| &live.group);
                let _unused = group.map(Group::remove);
            }
        }
        let Some(process) = self.table.get_mut(&number) else { return };
        let Some(live) = &mut process.live else { return };
        let directory_gone = self.state.remove(process.info.id);
        let clean = directory_gone && live.busy < REMOVE_TRIES;
        let Some(live) = process.live.take() else { return };
        let (id, uid) = (process.info.id, process.info.uid);
        for key in live.timers {
            self.timers.cancel(key);
        }
        self.live -= 1;
        if clean {
            self.free_uids.push_back(uid);
        } else {
            // Somebody else must not get what is left as its own.
            crate::log(&format!(
                "process {id}: its directory or cgroup is left, and its user id {uid} is not used again"
            ));
        }
        if let Some(refusal) = live.failure {
            self.drop_entry(number);
            self.notices.push_back(Notice::StartFailed(id, refusal));
            return;
        }
        self.notices.push_back(Notice::Stopped(id));
        self.finished.push_back(number);
        self.remembered += self.table.get(&number).map_or(0, |process| process.info.argv.size());
        let most = usize::try_from(self.settings.config.finished_max).unwrap_or(usize::MAX);
        while self.finished.len() > most || self.remembered > REMEMBERED_MAX {
            self.forget_oldest();
        }
    }

    pub(super) fn drop_entry(&mut self, number: u64) -> Option<ProcessId> {
        let mut process = self.table.remove(&number)?;
        self.numbers.remove(&process.info.id);
        if let Some(store) = &mut process.store {
            self.charged -= store.charge();
            // The frontend may hold it open still.
            let _unused = store.evict(u64::MAX);
        }
        self.evictable.retain(|other| *other != number);
        Some(process.info.id)
    }

    pub(super) fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.finished.pop_front() else { return false };
        self.remembered -= self.table.get(&oldest).map_or(0, |process| process.info.argv.size());
        let forgotten = self.drop_entry(oldest);
        self.notices.extend(forgotten.map(Notice::Forgotten));
        true
    }

    /// Removes the directory of an earlier run, with a cleaner that has some seconds for it. Returns whether it is gone.
    pub(super) fn sweep(&self, id: ProcessId, uid: u32) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        if !self.state.remove(id)
            && self.settings.config.uids().contains(&uid)
            && let Ok(group) = self.tree.create(id)
        {
            if let Ok(cleaner) = self.spawn_cleaner(id, uid, &group) {
                let _unused =
                    poll(&mut [PollFd::new(cleaner.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_000u16));
                group.kill_and_wait(&cleaner);
            }
            let _unused = group.remove();
        }
        let gone = self.state.remove(id);
        if !gone {
            let path = self.state.path(id);
            crate::log(&format!("the directory {} of an earlier run could not be removed", path.display()));
        }
        gone
    }

    /// Takes a descriptor out of the event loop and closes it. Closing alone would not do: a child that has not
    /// executed its program yet holds a copy, for which epoll(7) would go on reporting.
    pub(super) fn forget(&self, fd: OwnedFd) {
        let _unused = self.epoll.delete(&fd);
    }
}
