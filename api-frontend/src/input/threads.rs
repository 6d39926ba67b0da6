//! Threads for what a process can make wait.
//!
//! A pipe has a mutex, which a process that reads it holds while it copies to its memory. That
//! memory may be slow to come, by the process's own choice, and whoever writes to the pipe or closes
//! an end meanwhile sleeps, even if the descriptor does not block (fs/pipe.c). So neither happens on
//! the threads that serve: these here are made for it. Processes that do so hold up the inputs of
//! others at worst, and nothing else.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::runtime::Runtime;

/// How many: more than there are processes, by far most often, that hold up who writes to them. With
/// those that serve they are less than the tasks that the supervisor allows the frontend.
pub const COUNT: usize = 8;

/// For how long an idle one stays: none can be made once the sandbox is closed.
pub const KEEP_ALIVE: Duration = Duration::MAX;

/// What a thread gets to start.
const START_TIME: Duration = Duration::from_secs(10);

/// Makes all of them: those that the runtime has for what blocks.
///
/// # Errors
/// One can't be made.
pub fn start(runtime: &Runtime) -> io::Result<()> {
    let gate = Arc::new(Mutex::new(()));
    let (started, starts) = mpsc::channel();
    // Each waits for all: one that was done would be given what the next one is made for.
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..COUNT {
        let (gate, started) = (Arc::clone(&gate), started.clone());
        runtime.spawn_blocking(move || {
            // Who waits for it may have given up.
            let _given_up = started.send(());
            drop(gate.lock());
        });
    }
    let all = (0..COUNT).try_for_each(|_| starts.recv_timeout(START_TIME));
    drop(closed);
    all.map_err(|_| io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_are_there_before_there_is_anything_to_do() {
        let threads: Arc<Mutex<HashSet<_>>> = Arc::default();
        let made = Arc::clone(&threads);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(COUNT)
            .thread_keep_alive(KEEP_ALIVE)
            .on_thread_start(move || {
                made.lock().unwrap().insert(std::thread::current().id());
            })
            .build()
            .unwrap();
        start(&runtime).unwrap();
        let before = threads.lock().unwrap().clone();
        assert!(before.len() >= COUNT);
        let gate = Arc::new(std::sync::Barrier::new(COUNT));
        let jobs: Vec<_> = (0..COUNT)
            .map(|_| {
                let gate = Arc::clone(&gate);
                runtime.spawn_blocking(move || gate.wait())
            })
            .collect();
        for job in jobs {
            runtime.block_on(job).unwrap();
        }
        assert_eq!(threads.lock().unwrap().len(), COUNT + 1);
    }
}
