//! A frontend that is the attacker's: the harness that speaks raw bytes to the supervisor, and
//! makes raw system calls where the frontend does.
//!
//! [`HostileFrontend`] installs the program `hostile-frontend` as `prn-frontend` beside the real
//! `prn` and the real `prn-supervisor`, and starts a server of them. The program inherits what the
//! real frontend does, and obeys a test over the listener that it was handed: [`Order`] and
//! [`Answer`], each as a length and its postcard form. What it does first in each life is in the
//! file [`MODE`] beside it. The real frontend is there too, as [`REAL`].

use std::collections::VecDeque;
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use prn_ipc_protocol::codec;
use prn_ipc_protocol::message::{
    Ask, Event, FromSupervisor, Input, Keeping, OutputStore, Overflow, ProcessInfo, ProcessSpec,
    Profile, Reply, Request, RequestId, Retention, StartSpec, StopHow,
};
use prn_ipc_protocol::types::{AccessName, Labels, Limits, Paths, ProcessId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::server::{Options, Server};
use crate::{binary, deadline, procfs, wait_for};

/// Beside the program: what it does first, the postcard form of a [`Mode`].
pub const MODE: &str = "mode";

/// Beside the program: the real frontend.
pub const REAL: &str = "real-frontend";

/// What the program does first in its next life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Nothing: the supervisor's phase is Silent.
    Silent,
    /// Hello, and takes the snapshot: the supervisor's phase is Greeted.
    Greeted,
    /// That and Ready, as the real one.
    Ready,
    /// Hello as a frontend of another build.
    OtherBuild,
    /// Executes the real frontend.
    Honest,
}

/// What the program is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Send these bytes as one datagram, with so many descriptors of this kind, so many times.
    Send(Vec<u8>, Cargo, u32, u32),
    /// Receive one datagram, waiting for it.
    Receive,
    /// Make this system call.
    Call(Call),
    /// Do this in a child, in the frontend's own sandbox or without it.
    Attack(Vec<Deed>, bool),
    /// Send these bytes again and again from a thread of its own, from now on.
    Flood(Vec<u8>),
    /// How many times that was so far.
    Flooded,
    /// Fork; the child holds everything that the parent does, for ever.
    Fork,
    /// Close the channel, and stay.
    CloseChannel,
    /// Exit.
    Exit,
}

/// What the program answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To whoever connects: its process number.
    Here(i32),
    /// To Send: how many were sent, and the errno of the first that was not.
    Sent(u32, i32),
    /// To Receive: the bytes, and the numbers of the descriptors, which stay open. No bytes: the
    /// channel is closed.
    Received(Vec<u8>, Vec<i32>),
    /// To Call: the result, or the negative errno.
    Returned(i64),
    /// To Attack.
    Ended(Outcome),
    /// To Flooded.
    Count(u64),
    /// To Fork: the child's process number.
    Forked(i32),
    /// To all else that is answered.
    Done,
}

/// Descriptors to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cargo {
    /// /dev/null.
    Null,
    /// Its end of the channel: a reference to itself in its own queue.
    Channel,
    /// The listener.
    Listener,
}

/// One system call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its number.
    pub number: i64,
    /// Its arguments, six at most.
    pub arguments: Vec<Argument>,
}

/// An argument of a system call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Argument {
    /// A number.
    Number(u64),
    /// The address of these bytes, which the call may change.
    Bytes(Vec<u8>),
}

/// A system call with numbers for arguments; negative ones as the kernel sees them.
pub fn call(number: libc::c_long, arguments: &[i64]) -> Call {
    let arguments = arguments
        .iter()
        .map(|argument| Argument::Number(argument.cast_unsigned()))
        .collect();
    Call { number, arguments }
}

impl Call {
    /// With the address of these bytes as the argument at `place`.
    ///
    /// # Panics
    /// If it has no such argument.
    pub fn bytes(mut self, place: usize, bytes: &[u8]) -> Self {
        self.arguments[place] = Argument::Bytes(bytes.to_vec());
        self
    }
}

/// What is done in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// A system call.
    Call(Call),
    /// getpid(2) by the entry for 32-bit programs: `int 0x80`.
    Int80,
    /// A panic that is caught, as the frontend's runtime catches those of its tasks.
    CaughtPanic,
    /// A panic where none may unwind.
    Panic,
    /// An allocation that fails.
    AllocationFailure,
}

/// How an attack went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The result of each deed that was survived: as [`Answer::Returned`].
    pub returned: Vec<i64>,
    /// It got as far as the first deed: the sandbox is closed.
    pub began: bool,
    /// The signal that ended it; 0: it exited.
    pub signal: i32,
}

/// Writes one message of this protocol.
///
/// # Errors
/// Those of the stream.
pub fn write_frame(mut to: impl Write, value: &impl Serialize) -> io::Result<()> {
    let bytes = codec::encode(value).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_le_bytes()[..], &bytes].concat())
}

/// Reads one.
///
/// # Errors
/// Those of the stream, or `InvalidData`.
pub fn read_frame<T: DeserializeOwned + Serialize>(mut from: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut bytes = vec![
        0;
        u32::from_le_bytes(length)
            .try_into()
            .map_err(io::Error::other)?
    ];
    from.read_exact(&mut bytes)?;
    codec::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A server whose frontend does what it is told.
pub struct HostileFrontend {
    /// The server.
    pub server: Server,
    /// Process number of the life that is spoken to.
    pub pid: i32,
    link: TcpStream,
    last: u64,
    /// Whom it says that it asks for: the server's client, unless a test says otherwise.
    pub principal: AccessName,
    /// What was received beside replies.
    pub events: VecDeque<Event>,
    programs: TempDir,
}

impl HostileFrontend {
    /// With the defaults of `prn server start`.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// As `options` say.
    ///
    /// # Panics
    /// If it does not start.
    pub fn with(options: Options) -> Self {
        let programs = install(Mode::Ready);
        let server = Server::with(Options {
            programs: Some(programs.path().to_owned()),
            ..options
        });
        let (link, pid) = connect(&server, 0);
        Self {
            server,
            pid,
            link,
            last: 0,
            principal: "client".to_owned().try_into().expect("a name"),
            events: VecDeque::new(),
            programs,
        }
    }

    /// Tries to start a server whose frontend never gets as far as serving; returns its exit code
    /// and its log.
    ///
    /// # Panics
    /// If it serves.
    pub fn refused(mode: Mode) -> (Option<i32>, String) {
        let programs = install(mode);
        let attempt = Server::try_with(Options {
            programs: Some(programs.path().to_owned()),
            ..Options::default()
        });
        let refused = attempt.expect_err("a server that gives up");
        (refused.status.code(), refused.output + &refused.log)
    }

    /// The folder of the programs: also a test's own may run from there.
    pub fn programs(&self) -> &Path {
        self.programs.path()
    }

    /// What the next life does first.
    ///
    /// # Panics
    /// If that cannot be written down.
    pub fn next_life(&self, mode: Mode) {
        write_mode(self.programs.path(), mode);
    }

    /// Ends this life, and meets the next.
    pub fn live_again(&mut self, mode: Mode) {
        self.next_life(mode);
        write_frame(&self.link, &Order::Exit).expect("an order to exit");
        self.meet_next();
    }

    /// Ends this life; the real frontend takes over.
    pub fn hand_over(&mut self) {
        self.next_life(Mode::Honest);
        write_frame(&self.link, &Order::Exit).expect("an order to exit");
        wait_for("the real frontend", || {
            self.server.run(&["list"]).status.success()
        });
    }

    /// Takes over from the real frontend, which is killed.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn take_over(&mut self, mode: Mode) {
        self.next_life(mode);
        self.pid = self.server.frontend();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .expect("kill");
        self.meet_next();
    }

    /// Waits until this life is over, and meets the next.
    pub fn meet_next(&mut self) {
        wait_for("the frontend's end", || !procfs::alive(self.pid));
        (self.link, self.pid) = connect(&self.server, self.pid);
        self.last = 0;
        self.events.clear();
    }

    /// Gives an order; returns its answer.
    ///
    /// # Panics
    /// If there is none.
    pub fn order(&self, order: &Order) -> Answer {
        self.try_order(order)
            .unwrap_or_else(|error| panic!("no answer to {order:?}: {error}"))
    }

    /// Gives an order; returns its answer, if this life lasts for as long.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn try_order(&self, order: &Order) -> io::Result<Answer> {
        write_frame(&self.link, order)?;
        read_frame(&self.link)
    }

    /// Sends one datagram, once there is room for it.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn send(&self, bytes: &[u8]) {
        let order = Order::Send(bytes.to_vec(), Cargo::Null, 0, 1);
        let full = Answer::Sent(0, Errno::EAGAIN as i32);
        let mut answer = full.clone();
        wait_for("room for a datagram", || {
            answer = self.order(&order);
            answer != full
        });
        assert_eq!(answer, Answer::Sent(1, 0));
    }

    /// Sends one datagram that may be this life's end, sooner than it can say that it was sent.
    pub fn throw(&self, bytes: &[u8]) {
        let _ = self.try_order(&Order::Send(bytes.to_vec(), Cargo::Null, 0, 1));
    }

    /// Receives one message with the numbers of its descriptors.
    ///
    /// # Panics
    /// If none comes.
    pub fn receive(&self) -> (FromSupervisor, Vec<i32>) {
        match self.order(&Order::Receive) {
            Answer::Received(bytes, fds) if !bytes.is_empty() => {
                (codec::decode(&bytes).expect("a message"), fds)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Asks, and waits for the reply; what happens meanwhile is in `events`.
    pub fn ask(&mut self, ask: Ask) -> (Reply, Vec<i32>) {
        let request = self.request(ask);
        loop {
            match self.receive() {
                (FromSupervisor::Reply(of, reply), fds) => {
                    assert_eq!(of, request, "the only request that waits");
                    return (reply, fds);
                }
                (FromSupervisor::Event(event), _) => self.events.push_back(event),
            }
        }
    }

    /// Asks, and waits for nothing.
    pub fn request(&mut self, ask: Ask) -> RequestId {
        let request = RequestId(self.next_request());
        self.send(&encoded(&Request::Ask(
            request,
            self.principal.clone(),
            ask,
        )));
        request
    }

    /// The id of the next request.
    pub fn next_request(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Starts a process, which must work; returns its id.
    pub fn start_process(&mut self, argv: &[&str]) -> ProcessId {
        let spec = self.spec(argv);
        let id = spec.id;
        assert_eq!(self.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
        id
    }

    /// What the real frontend would ask for, with this argument vector.
    pub fn spec(&self, argv: &[&str]) -> StartSpec {
        spec(argv)
    }

    /// Waits for an event.
    pub fn event<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let until = Instant::now() + deadline();
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
            assert!(Instant::now() < until, "it does not happen");
            if let (FromSupervisor::Event(event), _) = self.receive() {
                self.events.push_back(event);
            }
        }
    }

    /// Waits for the end of a process.
    pub fn end_of(&mut self, id: ProcessId) -> ProcessInfo {
        self.event(|event| match event {
            Event::Process(info) if info.id == id && info.end.is_some() => Some((**info).clone()),
            _ => None,
        })
    }

    /// Makes a system call in this life; its result, or its negative errno.
    ///
    /// # Panics
    /// If it is not survived.
    pub fn call(&self, call: Call) -> i64 {
        match self.order(&Order::Call(call)) {
            Answer::Returned(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// Does these deeds in a child that is in the frontend's own sandbox.
    ///
    /// # Panics
    /// If it cannot be told what came of it.
    pub fn attack(&self, deeds: &[Deed], sandboxed: bool) -> Outcome {
        match self.order(&Order::Attack(deeds.to_vec(), sandboxed)) {
            Answer::Ended(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// Does something that the supervisor must kill this life for, saying `why`, and meets the
    /// next, which begins as `mode` says.
    pub fn fault(&mut self, why: &str, mode: Mode, act: impl FnOnce(&mut Self)) {
        let (before, pid) = (self.server.log().len(), self.pid);
        self.next_life(mode);
        act(self);
        self.meet_next();
        assert_ne!(self.pid, pid);
        let log = self.server.log();
        let said: Vec<_> = log[before..]
            .lines()
            .filter(|line| line.contains("audit: the frontend is killed: "))
            .collect();
        assert!(matches!(&said[..], [line] if line.contains(why)), "{log}");
    }

    /// Whether this life has not been ended by what was sent: the supervisor has read all of it by
    /// the time it answers.
    pub fn is_alive(&mut self) -> bool {
        let unknown = ProcessId::from_bytes([0; 16]);
        self.ask(Ask::Stop(unknown, StopHow::Kill)).0
            == Reply::Refused(prn_ipc_protocol::message::Refusal::UnknownProcess)
    }
}

/// The bytes of a request, to send or to change first.
///
/// # Panics
/// Never: every request has some.
pub fn encoded(request: &Request) -> Vec<u8> {
    codec::encode(request).expect("bytes")
}

/// The bytes with the first `from` in them replaced.
///
/// # Panics
/// If there is none.
pub fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .expect("something to replace");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// What the real frontend would ask for, with this argument vector, under a name that no
/// other has.
///
/// # Panics
/// If a string has a NUL.
pub fn spec(argv: &[&str]) -> StartSpec {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NAMES: AtomicU64 = AtomicU64::new(1);
    let name =
        u128::from(NAMES.fetch_add(1, Ordering::Relaxed)) | u128::from(std::process::id()) << 64;
    let id = ProcessId::from_bytes(name.to_be_bytes());
    let string = |text: &str| CString::new(text).expect("no NUL");
    StartSpec {
        id,
        process: ProcessSpec {
            argv: argv
                .iter()
                .map(|argument| string(argument))
                .collect::<Vec<_>>()
                .try_into()
                .expect("an argv"),
            working_directory: None,
            limits: Limits::default(),
            best_effort_limits: false,
            input: Input::Nothing,
            output: Keeping {
                max: 65_536,
                overflow: Overflow::DropOldest,
                store: OutputStore::Memory,
            },
            timeout: None,
            stop_grace: 10_000.try_into().unwrap(),
            linger: false,
            profile: Profile::Default,
            user: None,
            paths: Paths::default(),
            workspace: None,
            name: None,
            labels: Labels::default(),
            deadline: None,
            lease: None,
            retention: Retention::default(),
        },
        variables: vec![string("PATH=/usr/local/bin:/usr/bin:/bin")],
        expect: None,
        signature: None,
        requested: None,
    }
}

fn install(mode: Mode) -> TempDir {
    // Where processes see it too: they have a /tmp of their own.
    let programs = tempfile::Builder::new()
        .prefix("prn-hostile-")
        .tempdir_in("/var/lib")
        .expect("a folder");
    // The frontend's user, and processes, must be able to pass through it.
    std::fs::set_permissions(programs.path(), std::fs::Permissions::from_mode(0o711))
        .expect("its mode");
    for (from, name) in [
        ("prn", "prn"),
        ("prn-supervisor", "prn-supervisor"),
        ("prn-tools", "prn-tools"),
        ("prn-frontend", REAL),
        ("hostile-frontend", "prn-frontend"),
    ] {
        let (from, to) = (binary(from), programs.path().join(name));
        if std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
    write_mode(programs.path(), mode);
    programs
}

fn write_mode(folder: &Path, mode: Mode) {
    let (path, new) = (folder.join(MODE), folder.join("mode.new"));
    std::fs::write(&new, codec::encode(&mode).expect("bytes")).expect("a file");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    // At once: a life may begin at any moment.
    std::fs::rename(&new, &path).expect("its name");
}

/// Connects to a life that is not the one of process number `old`.
fn connect(server: &Server, old: i32) -> (TcpStream, i32) {
    let mut found = None;
    wait_for("a frontend that answers", || {
        // One that is being killed may have taken the connection.
        found = greet(server).ok().filter(|(_, pid)| *pid != old);
        found.is_some()
    });
    found.expect("just found")
}

fn greet(server: &Server) -> io::Result<(TcpStream, i32)> {
    let link = TcpStream::connect(&server.address)?;
    link.set_read_timeout(Some(deadline()))?;
    link.set_nodelay(true)?;
    match read_frame(&link)? {
        Answer::Here(pid) => Ok((link, pid)),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}
