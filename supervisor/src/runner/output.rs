//! Output on its way from the pipes to the stores, within the budget. Runs in the supervisor.

use super::*;

/// Memory is given back in steps of this size at least, so that a process at the budget does not pay for each read.
const EVICT_STEP: u64 = 1 << 20;

/// Bytes in a pipe once it was found full: beyond that, measured, there is under 10 % to gain.
const PIPE_SIZE: i32 = 256 * 1024;
/// Bytes in a pipe as it is made (pipe(7)).
const PIPE_DEFAULT: u64 = 64 * 1024;

/// Bytes read for a process that has ended: all that its pipe can hold, many times over. A pipe in packet mode (O_DIRECT,
/// pipe(7)) gives a packet at a time, so that only EAGAIN says that it is empty.
pub(super) const LAST_TURN: u64 = 4 << 20;

impl Runner {
    /// Read-only descriptors of a process's output: ring and index, for a [`prn_ipc_protocol::output::Reader`].
    ///
    /// # Errors
    /// `UnknownProcess`, or `Resources` when the store cannot be made.
    pub fn output(&mut self, id: ProcessId) -> Result<[File; 2], Refusal> {
        let process = self.numbers.get(&id).and_then(|number| self.table.get_mut(number));
        let process = process.filter(|process| process.visible()).ok_or(Refusal::UnknownProcess)?;
        let made = match process.store.take() {
            Some(store) => Ok(store),
            None => Store::new(process.info.output_max),
        };
        let store = process.store.insert(made.map_err(resources(Preparation::Output))?);
        if process.info.end.is_some() {
            store.ring.finish();
        }
        store.ring.reader().and_then(|ring| Ok([ring, store.index.reader()?])).map_err(resources(Preparation::Output))
    }

    /// Asks for one [`Notice::Advanced`] as soon as the output's end lies beyond `seen`. The newest call counts.
    pub fn watch(&mut self, id: ProcessId, seen: u64) {
        let Some(process) = self.numbers.get(&id).and_then(|number| self.table.get_mut(number)) else { return };
        let end = process.store.as_ref().map_or(0, |store| store.marks.high);
        if end > seen {
            process.watch = None;
            self.notices.push_back(Notice::Advanced(id, end));
        } else {
            process.watch = Some(seen);
        }
    }

    /// Reads what is in a process's pipe, up to `budget` bytes.
    pub(super) fn pump(&mut self, process: &mut Process, stream: Stream, budget: u64) {
        let Some(live) = &mut process.live else { return };
        let [stdout, stderr] = &mut live.streams;
        let slot = if stream == Stream::Stdout { stdout } else { stderr };
        let Some(pipe) = slot.take() else { return };
        let before = process.store.as_ref().map_or(0, Store::charge);
        let mut ended = false;
        let silent = process.store.is_none();
        if silent {
            match Store::new(process.info.output_max) {
                Ok(store) => process.store = Some(store),
                Err(error) => {
                    // Its output can't be kept, so it must not go on as if it were.
                    crate::log(&format!("process {}: no memory for its output ({error}): killed", process.info.id));
                    let kill_at = Instant::now();
                    live.stopping.get_or_insert(Stopping { cause: ExitCause::StoppedOnRequest, kill_at, killed: true });
                    let _unused = live.group.kill();
                    ended = true;
                }
            }
        }
        let mut left = budget;
        while let Some(store) = process.store.as_mut().filter(|_| left > 0 && !ended) {
            match store.fill(pipe.as_fd(), stream, UnixMicros::now()) {
                Ok(0) => ended = true,
                Ok(read) => {
                    if read == PIPE_DEFAULT {
                        // EPERM: the kernel's own budget for pipes is used up (pipe-user-pages-soft, pipe(7)).
                        let _unused = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
                    }
                    left = left.saturating_sub(read);
                    if read < PIPE_DEFAULT && budget != LAST_TURN {
                        break;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => {
                    crate::log(&format!("process {}: its output cannot be read: {error}", process.info.id));
                    ended = true;
                }
            }
        }
        // One that only closed its stream needs no memory for that.
        process.store.take_if(|store| silent && store.marks.high == 0);
        let (charge, end) = process.store.as_ref().map_or((0, 0), |store| (store.charge(), store.marks.high));
        if process.watch.take_if(|seen| end > *seen).is_some() {
            self.notices.push_back(Notice::Advanced(process.info.id, end));
        }
        if ended {
            self.detach(&pipe);
        } else {
            *slot = Some(pipe);
        }
        self.charged = self.charged + charge - before;
        self.evict(process);
    }

    /// Makes room within the budget: finished processes lose their output, oldest first, then `process` its own oldest.
    fn evict(&mut self, process: &mut Process) {
        while let Some(excess) = self.charged.checked_sub(self.settings.config.output_budget + 1) {
            let oldest = self.evictable.pop_front();
            let (victim, bytes) = match oldest {
                Some(number) => (self.table.get_mut(&number).and_then(|oldest| oldest.store.as_mut()), u64::MAX),
                None => (process.store.as_mut(), EVICT_STEP.max(excess + 1)),
            };
            if let Some(store) = victim {
                let before = store.charge();
                // A failure leaves memory allocated that nobody reads; the marks exclude it all the same.
                let _unused = store.evict(bytes);
                self.charged = self.charged + store.charge() - before;
            }
            if oldest.is_none() {
                return;
            }
        }
    }
}
