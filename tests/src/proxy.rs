//! A network between a client and a server that breaks when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;

use socket2::SockRef;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// After so many bytes from the server.
    pub after: u64,
    /// With a reset of both sides; otherwise as if both had closed.
    pub reset: bool,
}

type Plan = dyn FnMut() -> Option<Cut> + Send;

#[derive(Default)]
struct State {
    refuses: AtomicBool,
    is_interrupted: AtomicBool,
    /// Connections that were cut where the plan said.
    cuts: AtomicU64,
    sent: AtomicU64,
    open: Mutex<Vec<Weak<Pair>>>,
    /// Nothing passes, either way.
    is_held: Mutex<bool>,
    held_changed: Condvar,
}

impl State {
    /// Returns when what was read may pass.
    fn pass(&self) {
        let held = self.is_held.lock().expect("no panic");
        let passes = self.held_changed.wait_while(held, |held| *held);
        drop(passes.expect("no panic"));
    }

    fn hold(&self, is_held: bool) {
        *self.is_held.lock().expect("no panic") = is_held;
        self.held_changed.notify_all();
    }
}

/// Both sides of one connection. Each is one descriptor: when it is closed, with a linger time of
/// zero, it is reset.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    is_reset: AtomicBool,
}

impl Pair {
    fn close(&self) {
        for stream in [&self.client, &self.server] {
            // As far as it is open.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn reset(&self) {
        self.is_reset.store(true, Ordering::SeqCst);
        for stream in [&self.client, &self.server] {
            SockRef::from(stream)
                .set_linger(Some(Duration::ZERO))
                .expect("a socket");
            // Tells the peer nothing; but whoever reads here goes on.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}

/// A TCP proxy on loopback.
pub struct Proxy {
    /// Where it listens.
    pub address: String,
    local: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    /// In front of `server`. Each connection asks `plan` where it is to be cut.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(server: &str, mut plan: impl FnMut() -> Option<Cut> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let local = listener.local_addr().expect("its address");
        let state = Arc::new(State::default());
        let (server, shared) = (server.to_owned(), Arc::clone(&state));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                if shared.refuses.load(Ordering::SeqCst) {
                    // The listener goes as well: from now on, nobody is there.
                    return;
                }
                if !shared.is_interrupted.load(Ordering::SeqCst) {
                    serve(client, &server, &mut plan, &shared);
                }
            }
        });
        Self {
            address: local.to_string(),
            local,
            state,
        }
    }

    /// How many connections were cut as planned.
    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::SeqCst)
    }

    /// Bytes that went from the server to clients.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// Holds all bytes up, or lets those pass that were held up, and all others. Those of a connection
    /// that is cut meanwhile are lost.
    pub fn hold(&self, is_held: bool) {
        self.state.hold(is_held);
    }

    /// Cuts all connections, and lets no other through.
    pub fn refuse(&self) {
        self.state.refuses.store(true, Ordering::SeqCst);
        self.state.hold(false);
        // Wakes the listener up.
        let _ = TcpStream::connect(self.local);
        self.close_all();
    }

    /// Cuts all connections, and each new one, until [`Proxy::resume`].
    pub fn interrupt(&self) {
        self.state.is_interrupted.store(true, Ordering::SeqCst);
        self.close_all();
    }

    /// Lets connections through again.
    pub fn resume(&self) {
        self.state.is_interrupted.store(false, Ordering::SeqCst);
    }

    fn close_all(&self) {
        for pair in self
            .state
            .open
            .lock()
            .expect("no panic")
            .drain(..)
            .filter_map(|pair| pair.upgrade())
        {
            pair.close();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.refuse();
    }
}

fn serve(client: TcpStream, server: &str, plan: &mut Plan, state: &Arc<State>) {
    // A server that is gone: the client is told by the end of its connection.
    let Ok(server) = TcpStream::connect(server) else {
        return;
    };
    let pair = Arc::new(Pair {
        client,
        server,
        is_reset: AtomicBool::new(false),
    });
    let mut open = state.open.lock().expect("no panic");
    open.retain(|pair| pair.strong_count() > 0);
    open.push(Arc::downgrade(&pair));
    drop(open);
    let cut = plan();
    let (upwards, state_upwards) = (Arc::clone(&pair), Arc::clone(state));
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        pass_upwards(&upwards, &state_upwards);
        if !upwards.is_reset.load(Ordering::SeqCst) {
            let _ = upwards.server.shutdown(Shutdown::Write);
        }
    });
    std::thread::spawn(move || match cut {
        Some(cut) if pass(&pair, cut.after, &state) => {
            if cut.reset {
                pair.reset()
            } else {
                pair.close()
            }
            state.cuts.fetch_add(1, Ordering::SeqCst);
        }
        Some(_) => pair.close(),
        None => {
            pass(&pair, u64::MAX, &state);
            pair.close();
        }
    });
}

/// Passes bytes of the client on until either side ends.
fn pass_upwards(pair: &Pair, state: &State) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = (&pair.client).read(&mut buffer) {
        state.pass();
        if (&pair.server).write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Passes bytes of the server on until either side ends, or to the cut: then, returns true.
fn pass(pair: &Pair, mut left: u64, state: &State) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let room = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let Ok(length @ 1..) = (&pair.server).read(&mut buffer[..room]) else {
            return false;
        };
        state.pass();
        if (&pair.client).write_all(&buffer[..length]).is_err() {
            return false;
        }
        left -= length as u64;
        state.sent.fetch_add(length as u64, Ordering::SeqCst);
    }
    true
}
