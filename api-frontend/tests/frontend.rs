//! The real `prn-frontend`, run as the supervisor runs it, against a supervisor end and clients
//! made here.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "frontend/access.rs"]
mod access;
#[path = "frontend/changes.rs"]
mod changes;
#[path = "frontend/input.rs"]
mod input;
#[path = "frontend/workspaces.rs"]
mod workspaces;

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, ExitStatus as ChildStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use prn_ipc_protocol::channel::{self, Received, Sent, SupervisorEnd};
use prn_ipc_protocol::config;
use prn_ipc_protocol::message::{
    AppliedLimits, Ask, ChildStep, End, Event, ExitCause, ExitStatus, FromSupervisor, Input,
    Keeping, MainExit, OutputStore, OutputTotals, Overflow, PROTOCOL, ProcessInfo, ProcessSpec,
    Profile, Refusal, Reply, Request, RequestId, Retention, StopHow,
};
use prn_ipc_protocol::output::{MAGIC, Marks, PAGE, RECORD, Record, Stream, word};
use prn_ipc_protocol::policy::{Policy, Principal, Programs, Reach, Role, VERBS};
use prn_ipc_protocol::types::{
    AccessName, Id, Labels, Limits, Millis, Paths, ProcessId, UnixMicros,
};
use prn_proto::tls::{self, Certificate, Key};
use prn_proto::v1;
use prn_proto::v1::process_runner_service_client::ProcessRunnerServiceClient;
use prost::Message;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

const DEADLINE: Duration = Duration::from_secs(10);
const A: ProcessId = ProcessId::from_bytes([0xaa; 16]);
const B: ProcessId = ProcessId::from_bytes([0xbb; 16]);
const EPOCH: Id = Id::from_bytes([0xee; 16]);

type Client = ProcessRunnerServiceClient<Channel>;

struct Identity {
    certificate: Certificate,
    key: Vec<u8>,
}

impl Identity {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        Self {
            certificate: Certificate::from_der(certificate.der().to_vec()).unwrap(),
            key: key.serialize_der(),
        }
    }

    fn key(&self) -> Key {
        Key::from_pkcs8_der(self.key.clone().into())
    }
}

/// A frontend with its supervisor end.
struct Frontend {
    child: Child,
    supervisor: SupervisorEnd,
    address: SocketAddr,
    server: Identity,
    client: Identity,
    /// Another certificate of the client's.
    twin: Identity,
}

impl Drop for Frontend {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn memfd(bytes: &[u8]) -> OwnedFd {
    let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file.into()
}

impl Frontend {
    fn executed(handshakes_max: u32) -> Self {
        Self::executed_by(handshakes_max, policy())
    }

    fn executed_by(handshakes_max: u32, policy: Policy) -> Self {
        let [server, client, twin] = [(); 3].map(|()| Identity::new());
        let config = config::Frontend {
            started: UnixMicros(1_000_000),
            processes_max: 100,
            default_limits: Limits::default(),
            output_default: 65_536,
            output_disk: 0,
            stop_grace: 10_000.try_into().unwrap(),
            epoch: EPOCH,
            certificate: server.certificate.der().to_vec(),
            pins: vec![config::Pin {
                principal: principal(),
                certificates: [&client, &twin]
                    .map(|identity| identity.certificate.der().to_vec())
                    .into(),
                keys: Vec::new(),
                names: Vec::new(),
            }],
            issuers: Vec::new(),
            authorities: Vec::new(),
            revocations: Vec::new(),
            allows_p256: false,
            reflects: true,
            policy,
            handshakes_max,
            handshake_timeout: Millis::try_from(Duration::from_secs(5)).unwrap(),
            connections_max: 4,
            connections_per_client: 4,
            streams_max: 1000,
            subscribers_max: 1000,
            subscribers_per_process: 1000,
            peer_timeout: Millis::try_from(Duration::from_secs(120)).unwrap(),
            connection_age: None,
            has_namespaces: false,
            threads: 2,
            memory: 512 << 20,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = channel::pair().unwrap();
        let empty = File::open(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let config = memfd(&prn_ipc_protocol::codec::encode(&config).unwrap());
        let key = memfd(&server.key);
        // In the order of fds::frontend. Above all other descriptors of this process, without
        // close-on-exec.
        let fds = [
            theirs.as_fd(),
            config.as_fd(),
            key.as_fd(),
            listener.as_fd(),
            empty.as_fd(),
        ];
        let mut script = String::from("exec \"$0\"");
        let mut closes = String::new();
        let mut passed = Vec::new();
        for (number, fd) in (3..).zip(fds) {
            let high = fcntl(fd, FcntlArg::F_DUPFD(500)).unwrap();
            script.push_str(&format!(" {number}<&{high}"));
            closes.push_str(&format!(" {high}<&-"));
            passed.push(high);
        }
        let child = Command::new("bash")
            .args([
                "-c",
                &format!("{script}{closes}"),
                env!("CARGO_BIN_EXE_prn-frontend"),
            ])
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        for high in passed {
            nix::unistd::close(high).unwrap();
        }
        Self {
            child,
            supervisor: SupervisorEnd::new(ours),
            address,
            server,
            client,
            twin,
        }
    }

    /// Executed, and greeted with these processes.
    fn with(processes: &[ProcessInfo]) -> Self {
        let mut frontend = Self::executed(16);
        frontend.greet(processes);
        frontend
    }

    fn greet(&mut self, processes: &[ProcessInfo]) {
        assert_eq!(self.receive(), Request::Hello(PROTOCOL.to_owned()));
        for process in processes {
            self.event(Event::Process(Box::new(process.clone())));
        }
        self.event(Event::SnapshotEnd {
            change: 0,
            receipt_key: None,
        });
        assert_eq!(self.receive(), Request::Ready);
    }

    fn readable(&self, within: Duration) -> bool {
        let mut set = [PollFd::new(self.supervisor.as_fd(), PollFlags::POLLIN)];
        poll(&mut set, PollTimeout::try_from(within).unwrap()).unwrap() > 0
    }

    /// The next request, but for those that tell of what was refused before, whenever that is.
    fn receive(&mut self) -> Request {
        loop {
            let request = self.next();
            if !matches!(request, Request::Denied { .. }) {
                return request;
            }
        }
    }

    fn next(&mut self) -> Request {
        assert!(self.readable(DEADLINE), "the frontend asks for nothing");
        match self.supervisor.receive(|_| 0).unwrap() {
            Received::Message(request, _) => request,
            other @ (Received::Nothing | Received::Closed) => panic!("{other:?}"),
        }
    }

    /// The next request, which must be answered.
    fn asked(&mut self) -> (RequestId, Ask) {
        let asked = self.receive();
        let Request::Ask(request, _, ask) = asked else {
            panic!("{asked:?}")
        };
        (request, ask)
    }

    fn send(&self, message: FromSupervisor, fds: &[std::os::fd::BorrowedFd<'_>]) {
        let started = Instant::now();
        loop {
            match self.supervisor.send(&message, fds).unwrap() {
                Sent::Whole => return,
                Sent::Full => assert!(started.elapsed() < DEADLINE, "the frontend reads nothing"),
                Sent::Closed => panic!("the frontend is gone"),
            }
            std::thread::yield_now();
        }
    }

    fn event(&self, event: Event) {
        self.send(FromSupervisor::Event(event), &[]);
    }

    fn reply(&self, request: RequestId, reply: Reply) {
        self.send(FromSupervisor::Reply(request, reply), &[]);
    }

    /// Answers the next request, which must be Subscribe.
    fn hand_out(&mut self, id: ProcessId, output: &Output) {
        let asked = self.receive();
        let Request::Ask(request, _, Ask::Subscribe(of)) = asked else {
            panic!("{asked:?}")
        };
        assert_eq!(of, id);
        self.send(
            FromSupervisor::Reply(request, Reply::Subscribed),
            &[output.data.as_fd(), output.page.as_fd()],
        );
    }

    /// Opens a stream; hands the output out if no other subscriber holds it.
    async fn open(
        &mut self,
        client: &Client,
        request: v1::GetOutputRequest,
        output: &Output,
    ) -> Result<Streaming<v1::GetOutputResponse>, Status> {
        let named = request.process_identifier.clone().unwrap();
        let id = prn_proto::id::ProcessId::try_from(named).unwrap();
        let id = ProcessId::from_bytes(id.to_bytes());
        let mut client = client.clone();
        let opening = tokio::spawn(async move { client.get_output(request).await });
        while !opening.is_finished() {
            if self.readable(Duration::from_millis(10)) {
                self.hand_out(id, output);
                break;
            }
        }
        Ok(opening.await.unwrap()?.into_inner())
    }

    async fn connect(&self) -> Client {
        self.connect_as(&self.client).await.unwrap()
    }

    async fn tls(&self, identity: &Identity) -> std::io::Result<TlsStream<TcpStream>> {
        let config = tls::client_config(
            &identity.certificate,
            &identity.key(),
            self.server.certificate.clone(),
        )
        .unwrap();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config))
            .connect("prn".try_into().unwrap(), stream)
            .await
    }

    async fn connect_as(&self, identity: &Identity) -> Result<Client, tonic::transport::Error> {
        let config = tls::client_config(
            &identity.certificate,
            &identity.key(),
            self.server.certificate.clone(),
        )
        .unwrap();
        let (connector, address) = (TlsConnector::from(Arc::new(config)), self.address);
        let connect = tower::service_fn(move |_: tonic::transport::Uri| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let stream = connector.connect("prn".try_into().unwrap(), stream).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        });
        let channel = Endpoint::from_static("http://prn")
            .connect_with_connector(connect)
            .await?;
        Ok(Client::new(channel))
    }

    fn ended(&mut self) -> ChildStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "the frontend goes on");
            std::thread::yield_now();
        }
    }
}

fn principal() -> AccessName {
    "client".to_owned().try_into().unwrap()
}

/// The client may do anything.
fn policy() -> Policy {
    let admin: AccessName = "admin".to_owned().try_into().unwrap();
    let role = Role {
        verbs: VERBS.into(),
        reach: Reach::All,
        hours: Vec::new(),
        programs: Programs::Any,
        profile: Profile::None,
        users: Default::default(),
        ceilings: Limits::default(),
        defaults: Limits::default(),
        processes_max: None,
        output_max: None,
    };
    let client = Principal {
        role: admin.clone(),
        group: None,
        not_after: None,
        must_sign: false,
    };
    Policy {
        principals: [(principal(), client)].into(),
        roles: [(admin, role)].into(),
        ..Policy::default()
    }
}

fn live(id: ProcessId, number: u64) -> ProcessInfo {
    ProcessInfo {
        id,
        number,
        spec: ProcessSpec {
            argv: vec![c"sleep".into(), c"1 2".into()].try_into().unwrap(),
            working_directory: Some(c"/".into()),
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
        uid: 1,
        started_by: Some(principal()),
        signed: None,
        requested: None,
        received: UnixMicros(999_000),
        admitted: UnixMicros(999_100),
        prepared: UnixMicros(999_900),
        started: UnixMicros(1_000_000),
        limits: AppliedLimits::default(),
        waits: false,
        input_ended: false,
        main_exit: None,
        end: None,
        stuck: vec![],
        left_behind: None,
        layers: Vec::new(),
        paused: false,
        lease_ends: None,
        stop: None,
        change: 0,
    }
}

fn ended(id: ProcessId, number: u64, output: OutputTotals) -> ProcessInfo {
    let at = UnixMicros(2_000_000);
    ProcessInfo {
        main_exit: Some(MainExit {
            status: ExitStatus::Exited(3),
            cause: ExitCause::Exited,
            at,
        }),
        end: Some(End {
            at,
            usage: vec![],
            output,
        }),
        ..live(id, number)
    }
}

/// An output as the supervisor lays it out.
struct Output {
    data: File,
    page: File,
    marks: Marks,
    totals: OutputTotals,
}

const CAPACITY: u64 = 1 << 20;
const SLOTS: u64 = 1024;

impl Output {
    fn new() -> Self {
        let file = |length| {
            let file = File::from(memfd_create(c"output", MFdFlags::MFD_CLOEXEC).unwrap());
            file.set_len(length).unwrap();
            file
        };
        let output = Self {
            data: file(CAPACITY + SLOTS * RECORD),
            page: file(PAGE),
            marks: Marks::default(),
            totals: OutputTotals::default(),
        };
        output.word(word::MAGIC, MAGIC);
        output.word(word::CAPACITY, CAPACITY);
        output.word(word::SLOTS, SLOTS);
        output
    }

    fn word(&self, at: u64, value: u64) {
        self.page.write_all_at(&value.to_le_bytes(), at).unwrap();
    }

    fn publish(&self) {
        self.word(word::SEQUENCE, 1);
        self.word(word::LOW, self.marks.low);
        self.word(word::HIGH, self.marks.high);
        self.word(word::FIRST_RECORD, self.marks.first_record);
        self.word(word::NEXT_RECORD, self.marks.next_record);
        self.word(word::SEQUENCE, 2);
    }

    fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap();
        assert!(self.marks.high + length <= CAPACITY);
        self.data.write_all_at(bytes, self.marks.high).unwrap();
        let record = Record {
            offset: self.marks.high,
            time: UnixMicros(5_000_000),
            stream,
        };
        let [offset, tag] = record.to_words();
        let bytes = [offset.to_le_bytes(), tag.to_le_bytes()].concat();
        self.data
            .write_all_at(&bytes, CAPACITY + self.marks.next_record * RECORD)
            .unwrap();
        self.marks.next_record += 1;
        self.marks.high += length;
        self.totals.end = self.marks.high;
        match stream {
            Stream::Stdout => self.totals.stdout += length,
            Stream::Stderr => self.totals.stderr += length,
        }
        self.publish();
    }

    /// Drops whole records.
    fn drop_first(&mut self, records: u64, bytes: u64) {
        self.marks.first_record += records;
        self.marks.low += bytes;
        self.totals.first = self.marks.low;
        self.publish();
    }
}

fn http_request(path: &str, headers: &[(&str, &str)]) -> hyper::Request<()> {
    let request = hyper::Request::post(format!("https://prn{path}"))
        .header("content-type", "application/grpc");
    headers
        .iter()
        .fold(request, |request, (name, value)| {
            request.header(*name, *value)
        })
        .body(())
        .unwrap()
}

fn named(id: ProcessId) -> Option<v1::ProcessIdentifier> {
    Some(v1::ProcessIdentifier { id: id.to_string() })
}

fn output_of(id: ProcessId) -> v1::GetOutputRequest {
    v1::GetOutputRequest {
        process_identifier: named(id),
        ..Default::default()
    }
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("no details: {status:?}"))
        .reason
}

fn epoch_of(metadata: &tonic::metadata::MetadataMap) -> &str {
    metadata
        .get(prn_proto::BOOT_EPOCH_METADATA)
        .unwrap()
        .to_str()
        .unwrap()
}

async fn frame(
    stream: &mut Streaming<v1::GetOutputResponse>,
) -> Result<Option<v1::GetOutputResponse>, Status> {
    tokio::time::timeout(DEADLINE, stream.message())
        .await
        .unwrap()
}

/// All data, and how the stream ended.
async fn all(
    stream: &mut Streaming<v1::GetOutputResponse>,
) -> (Vec<u8>, Result<Option<v1::OutputEnd>, Status>) {
    let mut bytes = Vec::new();
    let mut end = None;
    loop {
        match frame(stream).await {
            Ok(Some(frame)) => {
                bytes.extend(&frame.data);
                end = frame.end.or(end);
            }
            Ok(None) => return (bytes, Ok(end)),
            Err(status) => return (bytes, Err(status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_and_list_cost_the_supervisor_nothing_and_every_answer_carries_the_epoch() {
    let frontend = Frontend::with(&[live(B, 1), ended(A, 2, OutputTotals::default())]);
    let mut client = frontend.connect().await;

    let listed = client.list(v1::ListRequest::default()).await.unwrap();
    assert_eq!(epoch_of(listed.metadata()), EPOCH.to_string());
    let listed = listed.into_inner();
    let ids: Vec<_> = listed
        .processes
        .iter()
        .map(|process| process.id.clone().unwrap().id)
        .collect();
    assert_eq!(ids, [B.to_string(), A.to_string()]);
    assert_eq!(listed.boot_epoch, EPOCH.to_string());

    let status = client
        .status(v1::StatusRequest {
            process_identifier: named(A),
        })
        .await
        .unwrap()
        .into_inner();
    let status = status.process_status.unwrap();
    assert_eq!(
        (status.state(), status.exit_code),
        (v1::ProcessState::Stopped, 3)
    );
    assert_eq!(status.command, "sleep '1 2'");

    let stopped = client
        .stop(v1::StopRequest {
            process_identifier: named(A),
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(stopped.into_inner().process_status.unwrap(), status);

    let unknown = ProcessId::from_bytes([1; 16]);
    let error = client
        .status(v1::StatusRequest {
            process_identifier: named(unknown),
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::NotFound, "PROCESS_NOT_FOUND")
    );
    assert_eq!(epoch_of(error.metadata()), EPOCH.to_string());
    assert!(!frontend.readable(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_reaches_the_supervisor_and_is_known_to_the_next_call() {
    let mut frontend = Frontend::with(&[]);
    let mut client = frontend.connect().await;

    let mut starter = client.clone();
    let start = tokio::spawn(async move {
        starter
            .start(v1::StartRequest {
                command: "sleep".into(),
                args: vec!["1 2".into()],
                ..Default::default()
            })
            .await
    });
    let Request::Ask(request, _, Ask::Start(spec)) = frontend.receive() else {
        panic!("no start")
    };
    assert_eq!(request, RequestId(1));
    assert_eq!(
        spec.process.argv.as_slice(),
        [c"sleep".into(), std::ffi::CString::from(c"1 2")]
    );
    // No event: the reply alone must do.
    frontend.event(Event::Process(Box::new(live(spec.id, 1))));
    frontend.reply(request, Reply::Done);
    let started = start.await.unwrap().unwrap().into_inner();
    let id = started.response.unwrap().id;
    assert_eq!(id.as_ref().unwrap().id, spec.id.to_string());
    assert!(!started.already_running);
    assert!(
        client
            .status(v1::StatusRequest {
                process_identifier: id
            })
            .await
            .is_ok()
    );

    let mut starter = client.clone();
    let start = tokio::spawn(async move {
        starter
            .start(v1::StartRequest {
                command: "nope".into(),
                id: A.to_string(),
                ..Default::default()
            })
            .await
    });
    let Request::Ask(request, _, Ask::Start(spec)) = frontend.receive() else {
        panic!("no start")
    };
    assert_eq!((request, spec.id), (RequestId(2), A));
    frontend.reply(
        request,
        Reply::Refused(Refusal::Exec {
            step: ChildStep::Exec,
            errno: 2,
        }),
    );
    let error = start.await.unwrap().unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::NotFound, "COMMAND_NOT_FOUND")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_r5_what_is_over_a_limit_is_refused_here_and_by_name() {
    let frontend = Frontend::with(&[]);
    let mut client = frontend.connect().await;

    let long = v1::StartRequest {
        command: "true".into(),
        args: vec!["x".repeat(128 * 1024)],
        ..Default::default()
    };
    let error = client.start(long).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(
        error.get_details_bad_request().unwrap().field_violations[0].field,
        "args"
    );

    let huge = v1::StartRequest {
        command: "x".repeat(4 * 1024 * 1024 + 1),
        ..Default::default()
    };
    let error = client.start(huge).await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE")
    );
    assert_eq!(epoch_of(error.metadata()), EPOCH.to_string());
    assert!(!frontend.readable(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_at_its_clients_deadline() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let mut client = frontend.connect().await;
    // tonic's client would end the call by itself, so this is HTTP/2 by hand.
    let stream = frontend.tls(&frontend.client).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http_request(
        "/proto.v1.ProcessRunnerService/Stop",
        &[("grpc-timeout", "50m")],
    );
    let (response, mut body) = sender.send_request(request, false).unwrap();
    let message = v1::StopRequest {
        process_identifier: named(A),
        ..Default::default()
    }
    .encode_to_vec();
    let prefix = [
        &[0][..],
        &u32::try_from(message.len()).unwrap().to_be_bytes(),
    ]
    .concat();
    body.send_data([prefix, message].concat().into(), true)
        .unwrap();
    let headers = tokio::time::timeout(DEADLINE, response)
        .await
        .unwrap()
        .unwrap()
        .headers()
        .clone();
    assert_eq!(headers["grpc-status"], "4");
    assert_eq!(headers[prn_proto::BOOT_EPOCH_METADATA], EPOCH.to_string());

    // The late reply is for nobody and does no harm.
    let Request::Ask(request, _, Ask::Stop(..)) = frontend.receive() else {
        panic!("no stop")
    };
    frontend.event(Event::Process(Box::new(ended(
        A,
        1,
        OutputTotals::default(),
    ))));
    frontend.reply(request, Reply::Done);
    assert!(
        client
            .status(v1::StatusRequest {
                process_identifier: named(A)
            })
            .await
            .is_ok()
    );
}

fn stop(
    client: &Client,
    signal: v1::Signal,
    grace: Option<i64>,
) -> JoinHandle<Result<v1::StopResponse, Status>> {
    let mut client = client.clone();
    let grace = grace.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    let request = v1::StopRequest {
        process_identifier: named(A),
        signal: signal.into(),
        grace,
    };
    tokio::spawn(async move { Ok(client.stop(request).await?.into_inner()) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_of_one_process_share_a_request_and_never_keep_a_kill_out() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let client = frontend.connect().await;
    let mut asked = Vec::new();
    let mut expect = |frontend: &mut Frontend, expected: StopHow| {
        let Request::Ask(request, _, Ask::Stop(id, how)) = frontend.receive() else {
            panic!("no stop")
        };
        assert_eq!((id, how), (A, expected));
        asked.push(request);
    };
    let grace = |seconds| {
        StopHow::Graceful(Some(
            Millis::try_from(Duration::from_secs(seconds)).unwrap(),
        ))
    };

    let mut stops: Vec<_> = (0..60)
        .map(|_| stop(&client, v1::Signal::Sigterm, Some(300)))
        .collect();
    expect(&mut frontend, grace(300));
    assert!(
        !frontend.readable(Duration::from_millis(500)),
        "one request for all of them"
    );
    // Clients that leave change nothing for those who stay or come later.
    let stay = stops.split_off(50);
    stops.iter().for_each(JoinHandle::abort);
    let mut rest = stay;
    rest.push(stop(&client, v1::Signal::Sigterm, Some(200)));
    expect(&mut frontend, grace(200));
    rest.push(stop(&client, v1::Signal::Sigkill, None));
    expect(&mut frontend, StopHow::Kill);
    rest.extend((0..10).map(|_| stop(&client, v1::Signal::Sigkill, None)));
    rest.extend((0..10).map(|_| stop(&client, v1::Signal::Sigterm, None)));
    assert!(
        !frontend.readable(Duration::from_millis(300)),
        "one request of each kind"
    );

    for request in asked {
        frontend.event(Event::Process(Box::new(ended(
            A,
            1,
            OutputTotals::default(),
        ))));
        frontend.reply(request, Reply::Done);
    }
    for stop in rest {
        let answer = tokio::time::timeout(DEADLINE, stop)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(
            answer.process_status.unwrap().state(),
            v1::ProcessState::Stopped
        );
    }
    assert!(!frontend.readable(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_left_its_process_running_can_be_repeated_and_a_refusal_reaches_all() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let client = frontend.connect().await;
    for _ in 0..2 {
        let waiting = stop(&client, v1::Signal::Sigkill, None);
        let Request::Ask(request, _, Ask::Stop(_, StopHow::Kill)) = frontend.receive() else {
            panic!("no stop")
        };
        frontend.reply(request, Reply::Done);
        let answer = waiting.await.unwrap().unwrap();
        assert_eq!(
            answer.process_status.unwrap().state(),
            v1::ProcessState::Running
        );
    }
    let waiting = [(); 2].map(|()| stop(&client, v1::Signal::Sigterm, None));
    let Request::Ask(request, _, Ask::Stop(_, StopHow::Graceful(None))) = frontend.receive() else {
        panic!("no stop")
    };
    assert!(!frontend.readable(Duration::from_millis(200)));
    frontend.reply(request, Reply::Refused(Refusal::UnknownProcess));
    for waiting in waiting {
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(
            (error.code(), reason(&error).as_str()),
            (Code::NotFound, "PROCESS_NOT_FOUND")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x10_lists_that_nobody_takes_keep_no_list_waiting() {
    let processes: Vec<_> = (1..=100_u8)
        .map(|number| {
            let argv = vec![
                c"echo".into(),
                std::ffi::CString::new("x".repeat(10_000)).unwrap(),
            ]
            .try_into()
            .unwrap();
            let mut info = live(ProcessId::from_bytes([number; 16]), number.into());
            info.spec.argv = argv;
            info
        })
        .collect();
    let frontend = Frontend::with(&processes);
    let mut client = frontend.connect().await;
    // Connections that read no further than their windows.
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let stream = frontend.tls(&frontend.client).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let (response, mut body) = sender
            .send_request(
                http_request("/proto.v1.ProcessRunnerService/List", &[]),
                false,
            )
            .unwrap();
        body.send_data(vec![0; 5].into(), true).unwrap();
        let response = tokio::time::timeout(DEADLINE, response)
            .await
            .unwrap()
            .unwrap();
        stalled.push((sender, response));
    }
    let listed = tokio::time::timeout(DEADLINE, client.list(v1::ListRequest::default()))
        .await
        .unwrap()
        .unwrap()
        .into_inner();
    assert_eq!(listed.processes.len(), 100);
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_and_live_output_are_one_stream_to_the_end_frame() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let mut client = frontend.connect().await;
    let mut output = Output::new();
    let early: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    output.append(Stream::Stdout, &early);
    output.append(Stream::Stderr, b"oops");

    let request = v1::GetOutputRequest {
        control_frames: true,
        ..output_of(A)
    };
    let mut stream = frontend.open(&client, request, &output).await.unwrap();
    let mut got: Vec<u8> = Vec::new();
    while got.len() < early.len() {
        let frame = frame(&mut stream).await.unwrap().unwrap();
        assert_eq!(frame.r#type(), v1::get_output_response::Type::Stdout);
        assert_eq!(frame.offset, u64::try_from(got.len()).unwrap());
        assert_eq!(frame.time.unwrap().seconds, 5);
        assert!(frame.data.len() <= 64 * 1024);
        got.extend(&frame.data);
    }
    assert!(got == early);
    let last = frame(&mut stream).await.unwrap().unwrap();
    assert_eq!(
        (last.r#type(), &last.data[..]),
        (v1::get_output_response::Type::Stderr, &b"oops"[..])
    );

    // A second subscriber shares the descriptors, and both share one watch.
    let mut second = client.get_output(output_of(A)).await.unwrap().into_inner();
    assert_eq!(frame(&mut second).await.unwrap().unwrap().offset, 0);
    let seen = output.marks.high;
    assert_eq!(frontend.receive(), Request::Watch { id: A, seen });
    for live in [&b"one"[..], b"two"] {
        let seen = output.marks.high + u64::try_from(live.len()).unwrap();
        output.append(Stream::Stdout, live);
        frontend.event(Event::Advanced { id: A, end: seen });
        assert_eq!(&frame(&mut stream).await.unwrap().unwrap().data[..], live);
        assert_eq!(frontend.receive(), Request::Watch { id: A, seen });
    }

    // The end wakes without a further Advanced.
    output.append(Stream::Stdout, b"last");
    frontend.event(Event::Process(Box::new(ended(A, 1, output.totals))));
    let (rest, end) = all(&mut stream).await;
    assert_eq!(rest, b"last");
    let end = end.unwrap().unwrap();
    assert_eq!(end.exit_cause.unwrap().exit_code, 3);
    assert_eq!((end.stdout_bytes, end.stderr_bytes), (800_010, 4));
    assert_eq!(end.end_offset, 800_014);
    assert_eq!(end.boot_epoch, EPOCH.to_string());
    let (_, end) = all(&mut second).await;
    assert_eq!(end.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o6_lost_output_is_announced_or_ends_in_data_loss() {
    let mut output = Output::new();
    output.append(Stream::Stdout, b"gone");
    output.append(Stream::Stdout, b"kept");
    output.drop_first(1, 4);
    let mut frontend = Frontend::with(&[ended(A, 1, output.totals)]);
    let client = frontend.connect().await;

    let mut stream = frontend.open(&client, output_of(A), &output).await.unwrap();
    let plain = frame(&mut stream).await.unwrap().unwrap();
    assert_eq!(plain.data, "kept");
    assert!(plain.time.is_none() && plain.gap.is_none() && plain.offset == 0);
    let error = frame(&mut stream).await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::DataLoss, "OUTPUT_LOST")
    );
    assert!(error.message().contains('4'));

    let request = v1::GetOutputRequest {
        control_frames: true,
        ..output_of(A)
    };
    let mut stream = frontend.open(&client, request, &output).await.unwrap();
    let gap = frame(&mut stream).await.unwrap().unwrap().gap.unwrap();
    assert_eq!((gap.from, gap.to), (0, 4));

    let beyond = v1::GetOutputRequest {
        from_offset: 9,
        ..output_of(A)
    };
    let error = frontend.open(&client, beyond, &output).await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::OutOfRange, "OFFSET_BEYOND_END")
    );
    let at_end = v1::GetOutputRequest {
        from_offset: 8,
        control_frames: true,
        ..output_of(A)
    };
    let mut empty = frontend.open(&client, at_end, &output).await.unwrap();
    let (bytes, end) = all(&mut empty).await;
    assert!(bytes.is_empty() && end.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_follow_a_stream_ends_at_the_last_byte_captured() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let client = frontend.connect().await;
    let mut output = Output::new();
    output.append(Stream::Stdout, b"so far");
    let request = v1::GetOutputRequest {
        control_frames: true,
        no_follow: true,
        ..output_of(A)
    };
    let (bytes, end) = all(&mut frontend.open(&client, request, &output).await.unwrap()).await;
    assert_eq!(bytes, b"so far");
    assert_eq!(end.unwrap(), None);
    assert!(!frontend.readable(Duration::ZERO), "nothing is watched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_the_forgetting_of_its_process() {
    let mut output = Output::new();
    for _ in 0..10 {
        output.append(Stream::Stdout, &[7; 100_000]);
    }
    let mut frontend = Frontend::with(&[ended(A, 1, output.totals)]);
    let mut client = frontend.connect().await;
    let mut stream = frontend.open(&client, output_of(A), &output).await.unwrap();
    frontend.event(Event::Forgotten { id: A, change: 0 });
    // Seen once the process is unknown.
    while client
        .status(v1::StatusRequest {
            process_identifier: named(A),
        })
        .await
        .is_ok()
    {}
    let (bytes, end) = all(&mut stream).await;
    assert_eq!(bytes.len(), 1_000_000);
    assert!(end.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_forgotten_before_its_end_was_told_ends_its_streams_loudly() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let client = frontend.connect().await;
    let mut output = Output::new();
    let mut stream = frontend.open(&client, output_of(A), &output).await.unwrap();
    assert_eq!(frontend.receive(), Request::Watch { id: A, seen: 0 });
    output.append(Stream::Stdout, b"last");
    frontend.event(Event::Forgotten { id: A, change: 0 });
    let (bytes, end) = all(&mut stream).await;
    assert_eq!(bytes, b"last");
    let error = end.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::NotFound, "PROCESS_NOT_FOUND")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_method_is_an_error_with_details() {
    let frontend = Frontend::with(&[]);
    let stream = frontend.tls(&frontend.client).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let (response, _) = sender
        .send_request(
            http_request("/grpc.channelz.v1.Channelz/GetServers", &[]),
            true,
        )
        .unwrap();
    let headers = tokio::time::timeout(DEADLINE, response)
        .await
        .unwrap()
        .unwrap()
        .headers()
        .clone();
    let status = Status::from_header_map(&headers).unwrap();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unimplemented, "UNKNOWN_METHOD")
    );
    assert_eq!(headers[prn_proto::BOOT_EPOCH_METADATA], EPOCH.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l2_when_the_supervisor_is_gone_streams_end_unavailable_and_the_frontend_exits() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let client = frontend.connect().await;
    let output = Output::new();
    let mut stream = frontend.open(&client, output_of(A), &output).await.unwrap();
    assert_eq!(frontend.receive(), Request::Watch { id: A, seen: 0 });

    let (ours, _) = channel::pair().unwrap();
    drop(std::mem::replace(
        &mut frontend.supervisor,
        SupervisorEnd::new(ours),
    ));
    let error = frame(&mut stream).await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::Unavailable, "RESTARTING")
    );
    assert_eq!(frontend.ended().code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l3_while_draining_nothing_starts_streams_end_whole_and_the_frontend_exits_with_0() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let mut client = frontend.connect().await;
    let mut output = Output::new();
    let mut getter = client.clone();
    let request = v1::GetOutputRequest {
        control_frames: true,
        ..output_of(A)
    };
    let opening = tokio::spawn(async move { getter.get_output(request).await });
    frontend.hand_out(A, &output);
    let mut stream = opening.await.unwrap().unwrap().into_inner();
    frontend.event(Event::Draining);
    frontend.event(Event::Process(Box::new(live(B, 2))));
    while client
        .status(v1::StatusRequest {
            process_identifier: named(B),
        })
        .await
        .is_err()
    {}
    let error = client
        .start(v1::StartRequest {
            command: "true".into(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::Unavailable, "DRAINING")
    );
    assert!(error.get_details_retry_info().is_some());

    output.append(Stream::Stdout, b"bye");
    frontend.event(Event::Process(Box::new(ended(A, 1, output.totals))));
    let (ours, _) = channel::pair().unwrap();
    drop(std::mem::replace(
        &mut frontend.supervisor,
        SupervisorEnd::new(ours),
    ));
    let (bytes, end) = all(&mut stream).await;
    assert_eq!(bytes, b"bye");
    assert!(end.unwrap().is_some());
    assert_eq!(frontend.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_protocol_ends_the_frontend() {
    let mut frontend = Frontend::with(&[]);
    frontend.reply(RequestId(1), Reply::Refused(Refusal::Draining));
    assert_eq!(frontend.ended().code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_t3_t13_only_pinned_clients_that_speak_http2_get_in() {
    let frontend = Frontend::with(&[]);
    let stranger = Identity::new();
    let refused = match frontend.connect_as(&stranger).await {
        Err(_) => true,
        // In TLS 1.3 a client learns of it with its first read.
        Ok(mut client) => client.list(v1::ListRequest::default()).await.is_err(),
    };
    assert!(refused);

    let pinned = &frontend.client;
    let mut config = tls::client_config(
        &pinned.certificate,
        &pinned.key(),
        frontend.server.certificate.clone(),
    )
    .unwrap();
    config.alpn_protocols.clear();
    let stream = TcpStream::connect(frontend.address).await.unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect("prn".try_into().unwrap(), stream)
        .await
        .unwrap();
    let mut bytes = [0; 1];
    let read = tokio::time::timeout(DEADLINE, stream.read(&mut bytes))
        .await
        .unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));

    assert!(
        frontend
            .connect()
            .await
            .list(v1::ListRequest::default())
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_silent_strangers_push_each_other_out_and_never_a_client() {
    let mut frontend = Frontend::executed(4);
    frontend.greet(&[]);
    let mut client = frontend.connect().await;
    let mut strangers = Vec::new();
    for _ in 0..50 {
        strangers.push(TcpStream::connect(frontend.address).await.unwrap());
    }
    // The first is closed long before its handshake's time is up.
    let read = tokio::time::timeout(Duration::from_secs(3), strangers[0].read(&mut [0]))
        .await
        .unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));
    assert!(client.list(v1::ListRequest::default()).await.is_ok());
    assert!(
        frontend
            .connect()
            .await
            .list(v1::ListRequest::default())
            .await
            .is_ok()
    );
}

/// Voluntary context switches of all threads: each is a wake-up.
fn wake_ups(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("voluntary_ctxt_switches"))
                .unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o10_a_frontend_with_idle_subscribers_never_wakes_and_lets_go_of_those_that_leave() {
    let mut frontend = Frontend::with(&[live(A, 1)]);
    let mut client = frontend.connect().await;
    let mut output = Output::new();
    output.append(Stream::Stdout, b"x");
    let mut streams = Vec::new();
    for number in 0..20 {
        let mut getter = client.clone();
        let opening = tokio::spawn(async move { getter.get_output(output_of(A)).await });
        if number == 0 {
            frontend.hand_out(A, &output);
        }
        let mut stream = opening.await.unwrap().unwrap().into_inner();
        assert_eq!(frame(&mut stream).await.unwrap().unwrap().data, "x");
        streams.push(stream);
    }
    assert_eq!(frontend.receive(), Request::Watch { id: A, seen: 1 });
    // Quiet once everything on the way has arrived.
    let pid = frontend.child.id();
    let started = Instant::now();
    loop {
        let before = wake_ups(pid);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if wake_ups(pid) == before {
            break;
        }
        assert!(started.elapsed() < DEADLINE, "it wakes up while idle");
    }
    assert!(!frontend.readable(Duration::ZERO));

    // When the last one has gone, the output is closed: the next one opens it again.
    drop(streams);
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < DEADLINE, "the output stays open");
        let mut getter = client.clone();
        let opening = tokio::spawn(async move { getter.get_output(output_of(A)).await });
        if frontend.readable(Duration::from_millis(200)) {
            frontend.hand_out(A, &output);
            opening.await.unwrap().unwrap();
            break;
        }
        drop(opening.await.unwrap().unwrap());
    }
    assert!(client.list(v1::ListRequest::default()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_never_said_hello_serves_nobody() {
    let frontend = Frontend::executed(4);
    let connecting = tokio::time::timeout(
        Duration::from_millis(300),
        frontend.connect_as(&frontend.client),
    )
    .await;
    assert!(connecting.is_err());
}
