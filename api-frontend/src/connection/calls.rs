//! A connection's calls, in the connection's own task.
//!
//! Each call and its connection pass data to each other under one lock of h2's. In tasks of their
//! own they run on different threads, wait for that lock, and wake each other through the kernel
//! for every chunk of output. Here they take turns, and a task wakes nobody by going on.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::{AbortHandle, BoxFuture, CatchUnwind, abortable, poll_fn};
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use futures_util::{FutureExt, StreamExt};
use hyper::rt::Executor;
use prn_api_frontend::log;
use tokio::task::coop;

/// A call as hyper makes it: from its request to the last byte of its response.
type Call = CatchUnwind<AssertUnwindSafe<BoxFuture<'static, ()>>>;

type Queue = Mutex<Vec<Call>>;

tokio::task_local! {
    /// Ends the call that is being polled.
    static CURRENT: AbortHandle;
}

/// Ends the call that this is asked in: hyper drops its stream, which h2 then resets. `None`
/// outside of one.
pub fn current() -> Option<AbortHandle> {
    CURRENT.try_with(AbortHandle::clone).ok()
}

/// Takes what hyper would spawn. Weak, since each call holds one: what is never drained must not
/// keep itself alive.
#[derive(Clone)]
pub struct Spawner(Weak<Queue>);

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, call: F) {
        if let Some(queue) = self.0.upgrade() {
            // A panic ends one call, as it would in a task of its own.
            let (call, handle) = abortable(call);
            let call = CURRENT.scope(handle, call.map(drop)).boxed();
            let call = AssertUnwindSafe(call).catch_unwind();
            queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(call);
        }
    }
}

/// The calls of one connection.
pub struct Calls<F> {
    spawned: Arc<Queue>,
    running: FuturesUnordered<Call>,
    task: Arc<Task>,
    connection_turn: Arc<Turn>,
    calls_turn: Arc<Turn>,
    flush: F,
}

impl<F> fmt::Debug for Calls<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

impl<F: FnMut(&mut Context<'_>)> Calls<F> {
    /// None yet. At the end of each turn, and of the connection, `flush` sends what was written. It
    /// wakes the connection when it could not send all and more can be sent.
    pub fn new(flush: F) -> Self {
        let task = Arc::<Task>::default();
        let turn = || {
            Arc::new(Turn {
                due: AtomicBool::new(true),
                task: Arc::clone(&task),
            })
        };
        Self {
            spawned: Arc::default(),
            running: FuturesUnordered::new(),
            connection_turn: turn(),
            calls_turn: turn(),
            task,
            flush,
        }
    }

    /// For the connection whose calls these are.
    pub fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.spawned))
    }

    /// Runs `connection` to its end and the calls beside it. Cancel safe: both go on where they
    /// were.
    pub async fn run_beside<T>(&mut self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        self.connection_turn.due.store(true, Ordering::SeqCst);
        poll_fn(|context| self.poll(connection.as_mut(), context)).await
    }

    fn poll<T>(
        &mut self,
        mut connection: Pin<&mut impl Future<Output = T>>,
        context: &mut Context<'_>,
    ) -> Poll<T> {
        self.task.waker.register(context.waker());
        let waker = Waker::from(Arc::clone(&self.connection_turn));
        let mut on_connection = Context::from_waker(&waker);
        loop {
            self.task.is_polled.store(true, Ordering::SeqCst);
            if self.connection_turn.take() {
                if let Poll::Ready(ended) = connection.as_mut().poll(&mut on_connection) {
                    (self.flush)(&mut on_connection);
                    return Poll::Ready(ended);
                }
                let mut spawned = self.spawned.lock().unwrap_or_else(PoisonError::into_inner);
                if !spawned.is_empty() {
                    self.running.extend(spawned.drain(..));
                    self.calls_turn.due.store(true, Ordering::SeqCst);
                }
            }
            if self.calls_turn.take() {
                let waker = Waker::from(Arc::clone(&self.calls_turn));
                let mut context = Context::from_waker(&waker);
                while let Poll::Ready(Some(ended)) = self.running.poll_next_unpin(&mut context) {
                    if ended.is_err() {
                        log::error("a call ended by a panic", &[]);
                    }
                }
            }
            let is_last = !coop::has_budget_remaining();
            if is_last || (!self.connection_turn.is_due() && !self.calls_turn.is_due()) {
                (self.flush)(&mut on_connection);
            }
            self.task.is_polled.store(false, Ordering::SeqCst);
            // After that store: a turn that came before it has woken nobody.
            if !self.connection_turn.is_due() && !self.calls_turn.is_due() {
                return Poll::Pending;
            }
            if is_last {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

/// The task that all of it runs in.
#[derive(Debug, Default)]
struct Task {
    waker: AtomicWaker,
    /// It will look at both turns before it sleeps, and need not be woken.
    is_polled: AtomicBool,
}

/// Whether one side has something to do.
#[derive(Debug)]
struct Turn {
    due: AtomicBool,
    task: Arc<Task>,
}

impl Turn {
    fn take(&self) -> bool {
        self.due.swap(false, Ordering::SeqCst)
    }

    fn is_due(&self) -> bool {
        self.due.load(Ordering::SeqCst)
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.due.store(true, Ordering::SeqCst);
        if !self.task.is_polled.load(Ordering::SeqCst) {
            self.task.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::{mpsc, oneshot};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_wake_up_from_another_thread_is_taken() {
        let mut calls = Calls::new(|_: &mut Context<'_>| {});
        let spawner = calls.spawner();
        let (done, mut results) = mpsc::unbounded_channel();
        let connection = async {
            for _ in 0..1000 {
                let (sender, receiver) = oneshot::channel();
                let done = done.clone();
                spawner.execute(async move { done.send(receiver.await).unwrap() });
                tokio::spawn(async { sender.send(()) });
                tokio::task::yield_now().await;
            }
            for _ in 0..1000 {
                results.recv().await.unwrap().unwrap();
            }
        };
        tokio::time::timeout(
            std::time::Duration::from_secs(60),
            calls.run_beside(connection),
        )
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn r8_a_panic_ends_one_call() {
        let mut calls = Calls::new(|_: &mut Context<'_>| {});
        let spawner = calls.spawner();
        let (sender, receiver) = oneshot::channel();
        let connection = async {
            spawner.execute(async { panic!("a fault of ours") });
            spawner.execute(async { sender.send(()).unwrap() });
            receiver.await.unwrap();
        };
        calls.run_beside(connection).await;
    }

    #[tokio::test]
    async fn calls_go_on_after_a_break_and_not_after_the_connection() {
        let mut calls = Calls::new(|_: &mut Context<'_>| {});
        let spawner = calls.spawner();
        let (first, second) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let call = |steps: &Arc<AtomicUsize>| {
            let steps = Arc::clone(steps);
            async move {
                loop {
                    steps.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            }
        };
        let mut connection = pin!(async {
            spawner.execute(call(&first));
            while first.load(Ordering::SeqCst) < 100 {
                tokio::task::yield_now().await;
            }
            // Never begun: the connection ends at once.
            spawner.execute(call(&second));
        });
        tokio::select! {
            biased;
            () = calls.run_beside(connection.as_mut()) => panic!("it waits for its call"),
            () = tokio::task::yield_now() => {}
        }
        calls.run_beside(connection).await;
        assert!(first.load(Ordering::SeqCst) >= 100);
        drop(calls);
        assert_eq!(
            (Arc::strong_count(&first), Arc::strong_count(&second)),
            (1, 1)
        );
    }
}
