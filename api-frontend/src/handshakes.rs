//! Where handshakes are made: with those who serve, or apart from them.
//!
//! rustls signs within a handshake, and waits for it. A key in a token is another process's, which
//! may take its time for each stranger. So handshakes are then made on one thread of their own:
//! they wait for each other, and nothing that serves waits for them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, mpsc as threads};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

/// One, with what its end is told to.
type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the thread gets to start.
const START_TIME: Duration = Duration::from_secs(10);

/// Where they are made.
#[derive(Debug)]
pub struct Handshakes(Option<Apart>);

#[derive(Debug)]
struct Apart {
    jobs: mpsc::UnboundedSender<Job>,
    /// As many as there may be of them. One that was given up counts until the thread drops it.
    room: Arc<Semaphore>,
}

impl Handshakes {
    /// Makes the thread, if they are to be made apart: no more than `most` at one time. Call it
    /// before the sandbox is closed.
    ///
    /// # Errors
    /// It can't be made.
    pub fn start(is_apart: bool, most: u32) -> io::Result<Self> {
        if !is_apart {
            return Ok(Self(None));
        }
        // It polls sockets, which wake it from where they are registered.
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let (started, starts) = threads::channel();
        let serve = async move {
            // Who waits for it may have given up.
            let _given_up = started.send(());
            while let Some(job) = queue.recv().await {
                tokio::spawn(job);
            }
        };
        std::thread::Builder::new()
            .name("prn-handshakes".to_owned())
            .spawn(move || runtime.block_on(serve))?;
        let started = starts.recv_timeout(START_TIME);
        started.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        let most = usize::try_from(most.max(1)).unwrap_or(Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Ok(Self(Some(Apart { jobs, room })))
    }

    /// Makes one. It is given up when this is dropped.
    pub async fn make<T, F>(&self, handshake: F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let Some(apart) = &self.0 else {
            return handshake.await;
        };
        let place = Arc::clone(&apart.room).acquire_owned().await;
        let (mut answer, made) = oneshot::channel();
        let job = async move {
            let _place = place;
            let made = tokio::select! {
                biased;
                () = answer.closed() => return,
                made = handshake => made,
            };
            // Given up just now.
            let _given_up = answer.send(made);
        };
        // The thread lives as long as this.
        let _gone = apart.jobs.send(Box::pin(job));
        match made.await {
            Ok(made) => made,
            // It has panicked: who waits for it has a time limit.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn one_that_blocks_blocks_nobody_who_serves_and_one_given_up_makes_room() {
        let handshakes = Handshakes::start(true, 1).unwrap();
        let (release, blocked) = threads::channel::<()>();
        let stuck = handshakes.make(async move { blocked.recv() });
        // This runtime has one thread, which goes on.
        assert!(timeout(SOON, stuck).await.is_err());
        assert!(timeout(SOON, handshakes.make(async {})).await.is_err());
        release.send(()).unwrap();
        assert_eq!(handshakes.make(async { 8 }).await, 8);
        let idle = handshakes.make(std::future::pending::<()>());
        assert!(timeout(SOON, idle).await.is_err());
        assert_eq!(handshakes.make(async { 9 }).await, 9);
    }

    #[tokio::test]
    async fn without_a_thread_they_are_made_where_they_are_asked_for() {
        let handshakes = Handshakes::start(false, 1).unwrap();
        let here = std::thread::current().id();
        let there = handshakes.make(async { std::thread::current().id() });
        assert_eq!(there.await, here);
    }
}
