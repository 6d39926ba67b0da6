//! Signed starts: what a client has signed starts, once, and nothing else does where a signature is
//! asked for, whatever the frontend says.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use prn_client::credentials::{Credentials, KeySource};
use prn_client::{Client, ClientError, SignedStart};
use prn_ipc_protocol::codec;
use prn_ipc_protocol::message::{
    Ask, Event, FromSupervisor, Input, OutputStore, Overflow, PROTOCOL, ProcessSpec, Profile,
    Refusal, Reply, Request, Retention, StartSpec, TerminalSize, WorkspaceSpec,
};
use prn_ipc_protocol::signed::{SignatureRefusal, StartSignature};
use prn_ipc_protocol::types::{AccessName, Digest, ProcessId, UnixMicros};
use prn_proto::tls::{Certificate, Key, KeyFingerprint, Signer};
use prn_proto::v1;
use prn_tests::hostile_frontend::{HostileFrontend, Mode, encoded, spec};
use prn_tests::pki::Identity;
use prn_tests::random::Random;
use prn_tests::server::{Options, Server};
use prn_tests::taken_over::{Answer, TakenOver};
use prn_tests::wait_for;
use serde_json::Value;

const SECOND: u64 = 1_000_000;

/// A folder with keys and a configuration that lists these clients; each begins with its name, and
/// may go on with other keys of its table.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(clients: &[(&str, &str, &str)], top: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, ..) in clients {
            Identity::keygen(folder.0.path(), name, &[]);
        }
        folder.write(clients, top);
        folder
    }

    fn write(&self, clients: &[(&str, &str, &str)], top: &str) {
        let tables = clients.iter().map(|(name, role, more)| {
            format!("[[client]]\nname = '{name}'\ncert = '{name}.pem'\nrole = '{role}'\n{more}\n")
        });
        let text = format!("{top}\n{}", tables.collect::<String>());
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("prn.toml")
    }

    fn options(&self) -> Options {
        Options {
            arguments: vec!["--config".to_owned(), self.config().display().to_string()],
            lists_clients: true,
            ..Options::default()
        }
    }

    fn identity(&self, name: &str) -> Identity {
        Identity {
            key: self.0.path().join(format!("{name}.key")),
            certificate: self.0.path().join(format!("{name}.pem")),
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn who(name: &str) -> AccessName {
    name.to_owned().try_into().unwrap()
}

fn signer(identity: &Identity) -> Signer {
    let certificate = Certificate::from_pem(identity.certificate_pem().as_bytes()).unwrap();
    let key = Key::from_pem(identity.key_pem().as_bytes()).unwrap();
    Signer::new(certificate.kind(), &key).unwrap()
}

/// A server whose frontend is the attacker's, with what a client signs with.
struct Forged {
    hostile: HostileFrontend,
    run: String,
}

impl Forged {
    fn with(options: Options) -> Self {
        let mut hostile = HostileFrontend::with(options);
        hostile.live_again(Mode::Silent);
        hostile.send(&encoded(&Request::Hello(PROTOCOL.to_owned())));
        let key = match hostile.receive().0 {
            FromSupervisor::Event(Event::SnapshotEnd {
                receipt_key: Some(key),
                ..
            }) => key,
            other => panic!("{other:?}"),
        };
        hostile.send(&encoded(&Request::Ready));
        let pem = hostile.server.identity.certificate_pem();
        let server = Certificate::from_pem(pem.as_bytes()).unwrap();
        let [_, KeyFingerprint::Info(server)] = server.key_fingerprints() else {
            panic!("no fingerprint")
        };
        let run = format!("{}/{}", Digest(server), Digest(key));
        Self { hostile, run }
    }

    fn of(folder: &Folder) -> Self {
        Self::with(folder.options())
    }

    fn digest(&mut self, spec: &StartSpec) -> Digest {
        match self.hostile.ask(Ask::TryStart(Box::new(spec.clone()))).0 {
            Reply::Startable(startable) => startable.digest,
            other => panic!("{other:?}"),
        }
    }

    /// Signed for this run, for a minute around now, or otherwise.
    fn signed(
        &mut self,
        signer: &Signer,
        spec: &StartSpec,
        change: impl FnOnce(&mut StartSignature),
    ) -> StartSpec {
        let digest = self.digest(spec);
        signed(signer, spec, digest, &self.run, change)
    }

    fn start(&mut self, spec: &StartSpec) -> Reply {
        self.hostile.ask(Ask::Start(Box::new(spec.clone()))).0
    }

    fn refused(&mut self, spec: &StartSpec) -> SignatureRefusal {
        match self.start(spec) {
            Reply::Refused(Refusal::Signature(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }
}

fn signed(
    signer: &Signer,
    spec: &StartSpec,
    digest: Digest,
    audience: &str,
    change: impl FnOnce(&mut StartSignature),
) -> StartSpec {
    let now = UnixMicros::now().0;
    let mut signature = StartSignature {
        key: signer.public_key().try_into().unwrap(),
        audience: audience.to_owned().try_into().unwrap(),
        not_before: UnixMicros(now - 30 * SECOND),
        not_after: UnixMicros(now + 30 * SECOND),
        signature: vec![0; 64].try_into().unwrap(),
    };
    change(&mut signature);
    let bytes = signature.signed_bytes(spec.id, digest);
    signature.signature = signer.sign(&bytes).unwrap().try_into().unwrap();
    StartSpec {
        signature: Some(signature),
        ..spec.clone()
    }
}

const ANNA_AND_BEN: [(&str, &str, &str); 2] = [
    ("anna", "runner", "require-signed-starts = true"),
    ("ben", "runner", ""),
];

#[test]
fn s12_each_thing_that_can_be_wrong_with_a_signature_is_refused_by_its_own_name() {
    use SignatureRefusal as No;
    let folder = Folder::new(&ANNA_AND_BEN, "fleet = ['prod']");
    let mut forged = Forged::of(&folder);
    forged.hostile.principal = who("anna");
    let anna = signer(&folder.identity("anna"));
    let nobody = Identity::keygen(folder.0.path(), "nobody", &[]);
    let start = forged.hostile.spec(&["/bin/true"]);
    assert_eq!(forged.refused(&start), No::Required);
    let mut fed = start.clone();
    for input in [
        Input::Pipe,
        Input::Terminal(TerminalSize {
            rows: 1,
            columns: 1,
        }),
    ] {
        fed.process.input = input;
        for ask in [
            Ask::Start(Box::new(fed.clone())),
            Ask::TryStart(Box::new(fed.clone())),
        ] {
            let refused = Reply::Refused(Refusal::Signature(No::Input));
            assert_eq!(forged.hostile.ask(ask).0, refused);
        }
    }
    let by_nobody = forged.signed(&signer(&nobody), &start, |_| ());
    assert_eq!(forged.refused(&by_nobody), No::UnknownKey);

    type Change = fn(&mut StartSignature);
    type Expected = fn(No) -> bool;
    let cases: [(Change, Expected); 8] = [
        (
            |of| of.audience = "dev".to_owned().try_into().unwrap(),
            |no| no == No::OtherAudience,
        ),
        (
            |of| of.audience = format!("{}/x", "0".repeat(64)).try_into().unwrap(),
            |no| no == No::OtherAudience,
        ),
        (
            |of| of.audience = "prod".to_owned().try_into().unwrap(),
            |no| matches!(no, No::BeforeRun(_)),
        ),
        (
            |of| of.not_after.0 += 1,
            |no| matches!(no, No::WindowTooLong(most) if most.milliseconds() == 60_000),
        ),
        (
            |of| of.not_after.0 = u64::MAX,
            |no| matches!(no, No::WindowTooLong(_)),
        ),
        (
            |of| of.not_before.0 += 40 * SECOND,
            |no| matches!(no, No::NotYet(_)),
        ),
        (
            |of| of.not_after.0 -= 40 * SECOND,
            |no| matches!(no, No::Expired(_)),
        ),
        (
            |of| (of.not_before, of.not_after) = (UnixMicros(u64::MAX), UnixMicros(0)),
            |no| matches!(no, No::NotYet(_)),
        ),
    ];
    for (place, (change, is_expected)) in cases.into_iter().enumerate() {
        let spec = forged.signed(&anna, &start, change);
        let refusal = forged.refused(&spec);
        assert!(is_expected(refusal), "{place}: {refusal:?}");
    }

    let good = forged.signed(&anna, &start, |_| ());
    let mut other_id = good.clone();
    other_id.id = spec(&["x"]).id;
    assert_eq!(forged.refused(&other_id), No::Invalid);
    let mut altered = good.clone();
    altered.process.argv = vec![c"/bin/false".into()].try_into().unwrap();
    assert_eq!(forged.refused(&altered), No::Invalid);
    // As clients do it.
    altered.expect = Some(forged.digest(&start));
    assert!(matches!(
        forged.start(&altered),
        Reply::Refused(Refusal::OtherDigest(_))
    ));
    assert_eq!(forged.start(&good), Reply::Done);
}

/// The change of each field, beside those of the whole specification.
fn altered(spec: &StartSpec) -> Vec<(&'static str, StartSpec)> {
    // A field that is new has to get its change below.
    let StartSpec {
        id: _,
        process:
            ProcessSpec {
                argv: _,
                working_directory: _,
                limits: _,
                best_effort_limits: _,
                input: _,
                output: _,
                timeout: _,
                stop_grace: _,
                linger: _,
                profile: _,
                user: _,
                paths: _,
                workspace: _,
                name: _,
                labels: _,
                deadline: _,
                lease: _,
                retention: _,
            },
        variables: _,
        expect: _,
        signature: _,
        // Decides nothing, and is not signed.
        requested: _,
    } = spec;
    type Change = fn(&mut StartSpec);
    let changes: [(&str, Change); 26] = [
        ("id", |of| of.id = ProcessId::from_bytes([0xfe; 16])),
        ("argv", |of| {
            of.process.argv = vec![c"/bin/sleep".into(), c"1001".into()]
                .try_into()
                .unwrap();
        }),
        ("argv[0]", |of| {
            of.process.argv = vec![c"/usr/bin/sleep".into(), c"1000".into()]
                .try_into()
                .unwrap();
        }),
        ("directory", |of| {
            of.process.working_directory = Some(c"/".into());
        }),
        ("limits", |of| {
            of.process.limits = [(prn_ipc_protocol::types::LimitName::Pids, 7)]
                .into_iter()
                .collect();
        }),
        ("best effort", |of| of.process.best_effort_limits = true),
        ("input", |of| of.process.input = Input::Pipe),
        ("output max", |of| of.process.output.max += 1),
        ("overflow", |of| of.process.output.overflow = Overflow::Kill),
        ("store", |of| of.process.output.store = OutputStore::Disk),
        ("timeout", |of| {
            of.process.timeout = Some(1000.try_into().unwrap());
        }),
        ("grace", |of| {
            of.process.stop_grace = 9999.try_into().unwrap();
        }),
        ("linger", |of| of.process.linger = true),
        ("profile", |of| of.process.profile = Profile::Strict),
        ("profile none", |of| of.process.profile = Profile::None),
        ("user", |of| {
            of.process.user = Some("nobody".to_owned().try_into().unwrap());
        }),
        ("paths", |of| {
            let hidden = prn_ipc_protocol::types::PathRule::Hidden(c"/srv".into());
            of.process.paths = vec![hidden].try_into().unwrap();
        }),
        ("workspace", |of| {
            of.process.workspace = Some("w".to_owned().try_into().unwrap());
        }),
        ("name", |of| {
            of.process.name = Some("n".to_owned().try_into().unwrap());
        }),
        ("labels", |of| {
            let labels = [("a".to_owned(), "b".to_owned())];
            let labels = std::collections::BTreeMap::from(labels);
            of.process.labels = labels.try_into().unwrap();
        }),
        ("deadline", |of| {
            of.process.deadline = Some(UnixMicros(UnixMicros::now().0 + 1000 * SECOND));
        }),
        ("lease", |of| {
            of.process.lease = Some(100_000.try_into().unwrap());
        }),
        ("keep", |of| {
            of.process.retention = Retention {
                is_kept: true,
                ..Retention::default()
            };
        }),
        ("keep for", |of| {
            of.process.retention = Retention {
                max_age: Some(1.try_into().unwrap()),
                ..Retention::default()
            };
        }),
        ("variable", |of| of.variables.push(c"LD_PRELOAD=/x".into())),
        ("variables", |of| of.variables.clear()),
    ];
    changes
        .into_iter()
        .map(|(what, change)| {
            let mut altered = spec.clone();
            change(&mut altered);
            assert_ne!(altered, *spec, "{what}");
            (what, altered)
        })
        .collect()
}

#[test]
fn s12_whatever_field_of_a_signed_start_is_altered_nothing_starts() {
    let clients = [
        ("anna", "admin", "require-signed-starts = true"),
        ("ben", "admin", ""),
    ];
    let folder = Folder::new(&clients, "users = ['nobody']\noutput-disk = '64M'");
    let mut forged = Forged::of(&folder);
    forged.hostile.principal = who("anna");
    let anna = signer(&folder.identity("anna"));
    let start = forged.hostile.spec(&["/bin/sleep", "1000"]);
    let good = forged.signed(&anna, &start, |_| ());
    let workspace = Ask::CreateWorkspace(WorkspaceSpec {
        name: "w".to_owned().try_into().unwrap(),
        disk_max: None,
    });
    assert_eq!(forged.hostile.ask(workspace).0, Reply::Done);
    forged.hostile.principal = who("ben");
    for (what, altered) in altered(&good) {
        let expected = match what {
            "profile none" => Refusal::Unconfined,
            "input" => Refusal::Signature(SignatureRefusal::Input),
            _ => Refusal::Signature(SignatureRefusal::Invalid),
        };
        assert_eq!(forged.start(&altered), Reply::Refused(expected), "{what}");
    }
    assert_eq!(forged.start(&good), Reply::Done);
    // Told by ben's connection, and anna's all the same.
    let info = forged.hostile.event(|event| match event {
        Event::Process(info) if info.id == good.id => Some(info.clone()),
        _ => None,
    });
    assert_eq!(info.started_by, Some(who("anna")));
    let signed = info.signed.unwrap();
    assert_eq!(signed.via, Some(who("ben")));
    let signature = good.signature.as_ref().unwrap();
    assert_eq!(signed.key, signature.fingerprint());
}

#[test]
fn s12_what_was_signed_starts_once_whatever_is_forgotten_of_it() {
    let folder = Folder::new(&ANNA_AND_BEN, "");
    let mut forged = Forged::of(&folder);
    forged.hostile.principal = who("anna");
    let anna = signer(&folder.identity("anna"));
    let start = forged.hostile.spec(&["/bin/true"]);
    let good = forged.signed(&anna, &start, |_| ());
    assert_eq!(forged.start(&good), Reply::Done);
    assert_eq!(forged.start(&good), Reply::Existing, "a retry");
    let anew = signed(&anna, &start, Digest([0; 32]), &forged.run, |_| ());
    assert_eq!(forged.start(&anew), Reply::Existing, "nothing starts by it");
    let id = good.id;
    forged.hostile.end_of(id);
    assert_eq!(forged.hostile.ask(Ask::Remove(id)).0, Reply::Done);
    assert_eq!(forged.refused(&good), SignatureRefusal::Replayed);
    let anew = forged.signed(&anna, &start, |of| of.not_after.0 -= SECOND);
    assert_eq!(
        forged.refused(&anew),
        SignatureRefusal::Replayed,
        "signed anew"
    );

    // One whose program is not there is not tried again by the same signature either.
    let missing = forged.hostile.spec(&["/no/such/program"]);
    let missing = forged.signed(&anna, &missing, |_| ());
    assert!(matches!(
        forged.start(&missing),
        Reply::Refused(Refusal::Exec { .. })
    ));
    assert_eq!(forged.refused(&missing), SignatureRefusal::Replayed);

    // Another frontend is the same to it.
    forged.hostile.live_again(Mode::Ready);
    forged.hostile.principal = who("anna");
    assert_eq!(forged.refused(&good), SignatureRefusal::Replayed);
}

#[test]
fn s12_a_signature_that_waits_until_it_has_ended_starts_nothing() {
    let folder = Folder::new(&ANNA_AND_BEN, "");
    let mut forged = Forged::of(&folder);
    forged.hostile.principal = who("anna");
    let anna = signer(&folder.identity("anna"));
    let start = forged.hostile.spec(&["/bin/true"]);
    let held = forged.signed(&anna, &start, |of| {
        of.not_after.0 = UnixMicros::now().0 + SECOND / 2;
    });
    let end = held.signature.as_ref().unwrap().not_after;
    wait_for("its end", || UnixMicros::now() > end);
    assert!(matches!(
        forged.refused(&held),
        SignatureRefusal::Expired(_)
    ));
}

#[test]
fn s12_a_forged_frontend_starts_nothing_but_what_was_signed_over_10_000_mutated_requests() {
    let folder = Folder::new(
        &[("anna", "admin", ""), ("ben", "admin", "")],
        "require-signed-starts = true\nsigned-start-window = '24h'",
    );
    let mut forged = Forged::of(&folder);
    forged.hostile.principal = who("ben");
    let anna = signer(&folder.identity("anna"));
    let start = forged.hostile.spec(&["/bin/sleep", "1000"]);
    // However long all of them take.
    let good = forged.signed(&anna, &start, |of| of.not_after.0 += 3600 * SECOND);
    let fields = altered(&good);
    let bytes = codec::encode(&good).unwrap();
    let mut random = Random::new(17);
    let mut refused = 0;
    while refused < 10_000 {
        // Each field in each case, whatever the numbers of both are.
        let field = &fields[refused / 4 % fields.len()].1;
        let candidate = match refused % 4 {
            // A field, under the signature of another start.
            0 => field.clone(),
            // The same without any.
            1 => StartSpec {
                signature: None,
                ..field.clone()
            },
            // Some bits, wherever they are.
            _ => match codec::decode::<StartSpec>(&mutated(&bytes, &mut random)) {
                Ok(spec) => spec,
                // Such a datagram is the frontend's end, as other tests have it.
                Err(_) => continue,
            },
        };
        let is_signed = StartSpec {
            expect: None,
            ..candidate.clone()
        } == good;
        if is_signed {
            continue;
        }
        let principal = ["anna", "ben", "root"][refused % 3];
        forged.hostile.principal = who(principal);
        match forged.start(&candidate) {
            Reply::Refused(_) => refused += 1,
            other => panic!("{other:?} to {candidate:?}"),
        }
    }
    assert_eq!(groups(&forged.hostile.server), 0, "something was started");
    forged.hostile.principal = who("ben");
    assert_eq!(forged.start(&good), Reply::Done);
    assert_eq!(groups(&forged.hostile.server), 1);
    assert_eq!(forged.start(&good), Reply::Existing);
}

/// One to three bits are others.
fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let length = u64::try_from(bytes.len()).unwrap();
    for _ in 0..=random.below(3) {
        let at = usize::try_from(random.below(length)).unwrap();
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

/// How many processes the server has groups for.
fn groups(server: &Server) -> usize {
    let folder = server.cgroup().join("processes");
    let entries = std::fs::read_dir(folder).unwrap();
    let is_group = |entry: &std::fs::DirEntry| entry.file_type().unwrap().is_dir();
    entries
        .filter(|entry| is_group(entry.as_ref().unwrap()))
        .count()
}

#[test]
fn s12_a_fleets_signature_counts_on_its_servers_and_no_others_from_their_beginning() {
    let folder = Folder::new(&ANNA_AND_BEN, "fleet = ['prod', 'eu']");
    let mut forged = Forged::of(&folder);
    forged.hostile.principal = who("anna");
    let anna = signer(&folder.identity("anna"));
    for fleet in ["prod", "eu"] {
        let start = forged.hostile.spec(&["/bin/true"]);
        let of_fleet = forged.signed(&anna, &start, |of| {
            of.audience = fleet.to_owned().try_into().unwrap();
            of.not_before = UnixMicros::now();
        });
        assert_eq!(forged.start(&of_fleet), Reply::Done, "{fleet}");
        forged.hostile.end_of(start.id);
        assert_eq!(forged.hostile.ask(Ask::Remove(start.id)).0, Reply::Done);
        assert_eq!(forged.refused(&of_fleet), SignatureRefusal::Replayed);
    }
}

#[test]
fn s12_a_key_that_two_clients_have_in_two_forms_is_neithers() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let shared = Identity::keygen(folder.0.path(), "shared", &[]);
    Identity::keygen(folder.0.path(), "cleo", &[]);
    let certificate = Certificate::from_pem(shared.certificate_pem().as_bytes()).unwrap();
    let [ssh, info] = certificate.key_fingerprints();
    let text = format!(
        "[[client]]\nname = 'anna'\nrole = 'admin'\nfingerprint = '{ssh}'\n\
         [[client]]\nname = 'ben'\nrole = 'viewer'\nfingerprint = '{info}'\n\
         [[client]]\nname = 'cleo'\nrole = 'runner'\ncert = 'cleo.pem'\n"
    );
    std::fs::write(folder.config(), text).unwrap();
    let mut forged = Forged::of(&folder);
    forged.hostile.principal = who("cleo");
    let start = forged.hostile.spec(&["/bin/true"]);
    let by_both = forged.signed(&signer(&shared), &start, |_| ());
    assert_eq!(forged.refused(&by_both), SignatureRefusal::UnknownKey);
    let server = Server::with(folder.options());
    assert!(
        (server.prn_as(&folder.identity("cleo"), &["list"]).status())
            .unwrap()
            .success()
    );
    let refused = server.prn_as(&shared, &["list"]).output().unwrap();
    assert!(!refused.status.success(), "{refused:?}");
}

#[test]
fn s12_a_p256_key_signs_where_it_is_taken() {
    for (top, is_taken) in [("allow-p256 = true", true), ("", false)] {
        let folder = Folder(tempfile::tempdir().unwrap());
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        let anna = Identity::custom(folder.0.path(), "anna", params, &key);
        Identity::keygen(folder.0.path(), "ben", &[]);
        let certificate = Certificate::from_pem(anna.certificate_pem().as_bytes()).unwrap();
        let [print, _] = certificate.key_fingerprints();
        let text = format!(
            "{top}\n[[client]]\nname = 'anna'\nrole = 'runner'\nfingerprint = '{print}'\n\
             [[client]]\nname = 'ben'\nrole = 'runner'\ncert = 'ben.pem'\n"
        );
        std::fs::write(folder.config(), text).unwrap();
        let mut forged = Forged::of(&folder);
        forged.hostile.principal = who("ben");
        let start = forged.hostile.spec(&["/bin/true"]);
        let by_anna = forged.signed(&signer(&anna), &start, |_| ());
        let reply = forged.start(&by_anna);
        let unknown = Refusal::Signature(SignatureRefusal::UnknownKey);
        let expected = if is_taken {
            Reply::Done
        } else {
            Reply::Refused(unknown)
        };
        assert_eq!(reply, expected, "{top}");
    }
}

/// A server with these clients, and the real frontend.
struct Listed {
    folder: Folder,
    server: Server,
}

impl Listed {
    fn start(clients: &[(&str, &str, &str)], top: &str) -> Self {
        let folder = Folder::new(clients, top);
        let server = Server::with(folder.options());
        Self { folder, server }
    }

    fn prn(&self, name: &str, words: &[&str]) -> Command {
        self.server.prn_as(&self.folder.identity(name), words)
    }

    fn ok(&self, name: &str, words: &[&str]) -> String {
        let output = self.prn(name, words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn refused(&self, name: &str, words: &[&str]) -> String {
        let output = self.prn(name, words).output().unwrap();
        assert!(!output.status.success(), "{words:?}: {output:?}");
        said(&output)
    }
}

#[test]
fn s12_who_has_to_sign_is_told_how_and_signs_with_a_flag_or_by_the_context() {
    let listed = Listed::start(&ANNA_AND_BEN, "");
    for words in [
        &["start", "--", "true"][..],
        &["run", "--", "true"],
        &["run", "-n", "sleep 1"],
    ] {
        let said = listed.refused("anna", words);
        assert!(
            said.contains("--sign") && said.contains("sign = true"),
            "{said}"
        );
        listed.ok("ben", words);
    }
    assert_eq!(
        listed.ok("anna", &["run", "--sign", "--", "echo", "hi"]),
        "hi"
    );
    let id = listed.ok("anna", &["start", "--sign", "--", "sleep", "1000"]);
    let status: Value =
        serde_json::from_str(&listed.ok("anna", &["status", &id, "-o", "json"])).unwrap();
    assert_eq!(status["started_by"], "anna");
    assert_eq!(status["signed"]["via"], "anna");
    assert_eq!(status["signed"]["key"].as_str().unwrap().len(), 64);
    let dry = listed.ok("anna", &["start", "--dry-run", "--", "true"]);
    assert!(
        dry.contains("digest"),
        "a question needs no signature: {dry}"
    );

    let mut fed = listed.prn("anna", &["run", "--sign", "-i", "--", "cat"]);
    let mut fed = fed
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = fed.stdin.take().unwrap().write_all(b"x");
    let said = said(&fed.wait_with_output().unwrap());
    assert!(said.contains("not signed") && said.contains("-n"), "{said}");

    let config = listed.folder.0.path().join("config.toml");
    let identity = listed.folder.identity("anna");
    let text = format!(
        "current = 'a'\n[context.a]\naddress = '{}'\nserver-cert = '{}'\nclient-cert = '{}'\ntls-key = '{}'\nsign = true\n",
        listed.server.address,
        listed.server.identity.certificate.display(),
        identity.certificate.display(),
        identity.key.display(),
    );
    prn_tests::pki::write_private(&config, &text);
    let by_context = |words: &[&str]| {
        let mut command = Command::new(prn_tests::binary("prn"));
        let command = command
            .args(words)
            .env("PRN_CONFIG", &config)
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(by_context(&["run", "--", "echo", "hi"]), "hi\n");
}

/// Each flag that says something of a start: what the client computes of it is what the server does.
#[test]
fn s12_the_client_signs_each_thing_that_a_start_can_say() {
    let flags: &[&[&str]] = &[
        &[],
        &["--cpu", "0.5", "--memory", "64M", "--pids", "50"],
        &["--io-read", "10M", "--io-write", "10M"],
        &["--best-effort-limits"],
        &["--output-max", "1M"],
        &["--output-max", "1M", "--output-store", "disk"],
        &["--output-policy", "stop-reading", "--output-max", "64K"],
        &["--output-policy", "kill", "--output-max", "64K"],
        &["--output-policy", "follow", "--reconnect", "1500ms"],
        &["--output-policy", "follow"],
        &["--timeout", "100s", "--grace", "1500ms"],
        &["--linger"],
        &["--profile", "default"],
        &[
            "--env",
            "A=b",
            "--env",
            "PATH=/bin::/usr/bin",
            "--env",
            "LANG=x",
        ],
        &["--cwd", "/tmp"],
        &["--name", "web.1", "--label", "b=2", "--label", "a=1=x"],
        &["--deadline", "10m", "--lease", "5m"],
        &["--keep"],
        &["--retain", "5m"],
        &["--rm"],
        &["--hide", "/srv/", "--read-only", "/opt"],
        &["-w", "work"],
        &["--user", "nobody"],
        &["--user", "nobody", "--env", "LOGNAME=x"],
    ];
    // Of a field that is new there is no case: add one, or say here why it needs none.
    let v1::StartRequest {
        command: _,
        args: _,
        environment: _,
        working_directory: _,
        limits: _,
        best_effort_limits: _,
        output_max_bytes: _,
        timeout: _,
        stop_grace: _,
        linger: _,
        profile: _,
        output_policy: _,
        output_store: _,
        follow_timeout: _,
        paths: _,
        workspace: _,
        name: _,
        labels: _,
        deadline: _,
        lease: _,
        retention: _,
        user: _,
        // Made by the client, and not digested.
        id: _,
        expect_digest: _,
        signature: _,
        // Who has to sign feeds nothing.
        stdin: _,
        terminal_size: _,
    } = v1::StartRequest::default();
    let top = "require-signed-starts = true\nusers = ['nobody']\noutput-disk = '64M'";
    let listed = Listed::start(&[("anna", "admin", "")], top);
    listed.ok("anna", &["workspace", "create", "work"]);
    for flags in flags {
        let words = [&["start", "--sign"], *flags, &["--", "sleep", "1000"]].concat();
        listed.ok("anna", &words);
    }
    listed.ok("anna", &["start", "--sign", "--", "/bin/sleep", "1000"]);
    listed.ok("anna", &["start", "--sign", "sleep '1000'"]);
}

#[test]
fn s12_a_ruled_role_signs_what_its_rule_makes_of_a_name() {
    let role = "[[role]]\nname = 'sleeper'\nmay = ['start', 'list']\nprograms = [['/bin/sleep', '...']]\nprofile = 'default'\nmax-memory = '64M'\ndefault-pids = 20\n";
    let folder = Folder::new(&[], "");
    Identity::keygen(folder.0.path(), "anna", &[]);
    let client = "[[client]]\nname = 'anna'\ncert = 'anna.pem'\nrole = 'sleeper'\nrequire-signed-starts = true\n";
    std::fs::write(folder.config(), format!("{client}{role}")).unwrap();
    let server = Server::with(folder.options());
    let listed = Listed { folder, server };
    listed.ok("anna", &["start", "--sign", "--", "sleep", "1000"]);
    let said = listed.refused("anna", &["start", "--sign", "--", "true"]);
    assert!(said.contains("rule"), "{said}");
}

#[test]
fn s12_a_reload_asks_for_signatures_and_takes_a_key_away() {
    let clients = [("anna", "admin", ""), ("ben", "admin", "")];
    let listed = Listed::start(&clients, "");
    listed.ok("anna", &["start", "--", "true"]);
    listed.ok("anna", &["start", "--sign", "--", "true"]);
    let reload = |clients: &[(&str, &str, &str)], top: &str| {
        listed.folder.write(clients, top);
        let output = listed.server.reload().output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            said(&output)
        )
    };
    let told = reload(&clients, "require-signed-starts = true");
    assert!(told.contains("other rules of signed starts"), "{told}");
    assert!(
        listed
            .refused("anna", &["start", "--", "true"])
            .contains("--sign")
    );
    listed.ok("anna", &["start", "--sign", "--", "true"]);
    reload(&[("ben", "admin", "")], "");
    let said = listed.refused("anna", &["start", "--sign", "--", "true"]);
    assert!(said.contains("not authorised"), "{said}");
}

#[test]
fn s12_what_a_client_has_signed_starts_nothing_by_another_when_its_key_was_taken_away() {
    let folder = Folder::new(&[("anna", "admin", ""), ("ben", "admin", "")], "");
    let mut forged = Forged::of(&folder);
    forged.hostile.principal = who("ben");
    let anna = signer(&folder.identity("anna"));
    let start = forged.hostile.spec(&["/bin/true"]);
    let by_anna = forged.signed(&anna, &start, |_| ());
    folder.write(&[("ben", "admin", "")], "");
    forged.hostile.next_life(Mode::Ready);
    let reload = forged.hostile.server.reload().stderr(Stdio::null()).spawn();
    forged.hostile.meet_next();
    reload.unwrap().wait().unwrap();
    forged.hostile.principal = who("ben");
    assert_eq!(forged.refused(&by_anna), SignatureRefusal::UnknownKey);
}

/// Input that nobody signs does not reach what ran before, whatever the frontend says.
#[test]
fn s12_a_reload_that_asks_for_signatures_ends_the_feeding_of_what_runs() {
    let folder = Folder::new(&[], "");
    let mut hostile = HostileFrontend::with(Options {
        lists_clients: false,
        ..folder.options()
    });
    let terminal = Input::Terminal(TerminalSize {
        rows: 1,
        columns: 1,
    });
    let [pipe, terminal, nothing] = [Input::Pipe, terminal, Input::Nothing].map(|input| {
        let mut start = hostile.spec(&["sleep", "60"]);
        let id = start.id;
        start.process.input = input;
        assert_eq!(hostile.ask(Ask::Start(Box::new(start))).0, Reply::Done);
        id
    });
    for id in [pipe, terminal] {
        let (reply, _) = hostile.ask(Ask::LendInput(id));
        assert!(matches!(reply, Reply::Input { .. }), "{reply:?}");
    }
    hostile.hand_over();
    std::fs::write(folder.config(), "require-signed-starts = true").unwrap();
    let reloaded = hostile.server.reload().output().unwrap();
    assert!(reloaded.status.success(), "{}", said(&reloaded));
    let mut attach = hostile.server.prn(&["attach", &pipe.to_string()]);
    let attach = attach.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut attach = attach.spawn().unwrap();
    let _ = attach.stdin.take().unwrap().write_all(b"x");
    let told = said(&attach.wait_with_output().unwrap());
    assert!(
        told.contains("not signed") && told.contains("attach -n"),
        "{told}"
    );

    hostile.take_over(Mode::Ready);
    let refused = Reply::Refused(Refusal::Signature(SignatureRefusal::Input));
    for id in [pipe, terminal] {
        assert_eq!(hostile.ask(Ask::LendInput(id)).0, refused);
        assert_eq!(hostile.ask(Ask::EndInput(id)).0, Reply::Done, "no feeding");
    }
    let none = Reply::Refused(Refusal::NoInput);
    assert_eq!(hostile.ask(Ask::LendInput(nothing)).0, none);
}

fn python(script: &str, arguments: &[&str], input: &str) -> String {
    let mut python = Command::new("python3")
        .args(["-c", script])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = python.stdin.take().unwrap();
    to.write_all(input.as_bytes()).unwrap();
    drop(to);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn script(document: &str) -> &str {
    let (_, script) = document.split_once("```python\n").unwrap();
    script.split_once("```").unwrap().0
}

/// The start of docs/digest.md, as a request.
fn documented(id: &str) -> v1::StartRequest {
    v1::StartRequest {
        command: "sleep".to_owned(),
        args: vec!["60".to_owned()],
        id: id.to_owned(),
        environment: vec![v1::EnvironmentVariable {
            name: "MODE".to_owned(),
            value: "fast".to_owned(),
        }],
        output_max_bytes: 1 << 20,
        stop_grace: Some(prost_types::Duration {
            seconds: 10,
            nanos: 0,
        }),
        labels: [("tier".to_owned(), "web".to_owned())].into(),
        ..v1::StartRequest::default()
    }
}

#[test]
fn s12_the_python_of_the_document_signs_what_the_server_then_starts() {
    let by_digest = script(include_str!("../../docs/digest.md"));
    let by_signature = script(include_str!("../../docs/signed-starts.md"));
    let count = by_signature.lines().count();
    assert!(count <= 45, "{count} lines");
    let server = Server::with_arguments(&["--require-signed-starts"]);
    let words = "start --dry-run -o json --output-max 1M --grace 10s --env MODE=fast --label tier=web -- sleep 60";
    let words: Vec<_> = words.split(' ').collect();
    let said = server.ok(&words);
    let digest = python(by_digest, &[], &said);
    let id = "17".repeat(16);
    let files = [&server.client.key, &server.identity.certificate];
    let [key, certificate] = files.map(|file| file.to_str().unwrap());
    let signed = python(by_signature, &[key, certificate, &id, &digest], &said);
    let signed: Value = serde_json::from_str(&signed).unwrap();
    let text = |name: &str| signed[name].as_str().unwrap().to_owned();
    let bytes = |name: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(text(name))
            .unwrap()
    };
    let time = |name: &str| {
        let micros = signed[name].as_i64().unwrap();
        prost_types::Timestamp {
            seconds: micros / 1_000_000,
            nanos: i32::try_from(micros % 1_000_000).unwrap() * 1000,
        }
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = prn_tests::client::connect(&server).await.unwrap();
        let no = client.start(documented(&id)).await.unwrap_err();
        assert!(no.message().contains("sign"), "{no:?}");
        let request = v1::StartRequest {
            signature: Some(v1::StartSignature {
                public_key: bytes("public_key"),
                audience: text("audience"),
                not_before: Some(time("not_before")),
                not_after: Some(time("not_after")),
                signature: bytes("signature"),
            }),
            ..documented(&id)
        };
        client.start(request).await.unwrap();
    });
    assert_eq!(server.status(&id)["started_by"], "client");
}

/// What a server answers that would start what was asked for, but for its digest.
fn honest(audience: &str) -> v1::CheckAccessResponse {
    let folders = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    v1::CheckAccessResponse {
        allowed: true,
        principal: "anna".to_owned(),
        start: Some(v1::Startable {
            limits: Some(v1::Limits {
                memory_bytes: Some(64 << 20),
                pids: Some(100),
                ..v1::Limits::default()
            }),
            candidates: folders.map(|folder| format!("{folder}/true")).to_vec(),
            digest: "0".repeat(64),
            output_max_bytes: 1 << 20,
            stop_grace: Some(prost_types::Duration {
                seconds: 3,
                nanos: 0,
            }),
            profile: v1::Profile::Strict.into(),
            ..v1::Startable::default()
        }),
        signed_starts: Some(v1::SignedStarts {
            required: true,
            run_audience: audience.to_owned(),
            ..v1::SignedStarts::default()
        }),
        ..v1::CheckAccessResponse::default()
    }
}

/// Signs the same start for a fleet, by what a server says.
fn sign_for_fleet(server: &TakenOver) -> Result<SignedStart, ClientError> {
    let file = |name: &str| server.folder().join(name);
    let key = KeySource::File(file("client.key"));
    let credentials = Credentials::load(&file("client.pem"), &key, &file("server.pem")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(&server.address, &credentials)
            .await
            .unwrap();
        let mut spec = prn_client::StartSpec::new(["true"]);
        spec.limits.memory_bytes = Some(64 << 20);
        spec.output_max_bytes = Some(1 << 20);
        spec.stop_grace = Some(Duration::from_secs(3));
        spec.profile = Some(prn_client::Profile::Strict);
        client.sign_for_fleet(&spec, "prod").await
    })
}

#[test]
fn s12_a_client_signs_nothing_that_it_has_not_asked_for_and_for_nobody_else() {
    type Lie = fn(&mut v1::CheckAccessResponse);
    fn start(of: &mut v1::CheckAccessResponse) -> &mut v1::Startable {
        of.start.as_mut().unwrap()
    }
    let lies: [(Lie, &str); 12] = [
        (|_| (), "by its digest"),
        (
            |of| start(of).limits.as_mut().unwrap().memory_bytes = Some(65 << 20),
            "another limit",
        ),
        (
            |of| start(of).limits.as_mut().unwrap().memory_bytes = None,
            "another limit",
        ),
        (
            |of| start(of).candidates[5] = "/tmp/true".to_owned(),
            "look for the program elsewhere",
        ),
        (
            |of| start(of).candidates = vec!["/bin/true".to_owned()],
            "look for the program elsewhere",
        ),
        (
            |of| {
                start(of).candidates = vec!["/bin/false".to_owned()];
                start(of).rule = Some(0);
            },
            "look for the program elsewhere",
        ),
        (
            |of| start(of).output_max_bytes += 1,
            "another amount of output",
        ),
        (|of| start(of).stop_grace = None, "another grace time"),
        (
            |of| start(of).profile = v1::Profile::Default.into(),
            "confine the process otherwise",
        ),
        (
            |of| {
                let other = "0".repeat(64);
                of.signed_starts.as_mut().unwrap().run_audience = format!("{other}/{other}");
            },
            "another server's key",
        ),
        (
            |of| of.signed_starts.as_mut().unwrap().run_audience.clear(),
            "does not name this run",
        ),
        (
            |of| of.signed_starts = None,
            "before there were signed starts",
        ),
    ];
    for (lie, why) in lies {
        let audience = Arc::new(OnceLock::<String>::new());
        let starts = Arc::new(AtomicU32::new(0));
        let (told, counted) = (Arc::clone(&audience), Arc::clone(&starts));
        let server = TakenOver::start(move |method, _| {
            if method == "Start" {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            let mut answer = honest(told.get().unwrap());
            lie(&mut answer);
            Answer::one(&answer)
        });
        let pem = std::fs::read(server.folder().join("server.pem")).unwrap();
        let [_, KeyFingerprint::Info(key)] =
            Certificate::from_pem(&pem).unwrap().key_fingerprints()
        else {
            panic!("no fingerprint")
        };
        let run = format!("{}/{}", Digest(key), "1".repeat(64));
        audience.set(run).unwrap();
        let words = "start --sign --memory 64M --output-max 1M --grace 3s --profile strict -- true";
        let words: Vec<_> = words.split(' ').collect();
        let output = server.shell("\"$@\"", &words).output().unwrap();
        let said = said(&output);
        assert!(
            !output.status.success() && said.contains(why),
            "{why}: {said}"
        );
        assert!(said.contains("not signed"), "{said}");
        assert_eq!(starts.load(Ordering::Relaxed), 0, "{why}");
        // For a fleet the server's own run is not what is signed for.
        let signed = sign_for_fleet(&server);
        if !["another server's key", "does not name this run"].contains(&why) {
            let refused = signed.unwrap_err().to_string();
            assert!(refused.contains(why), "for a fleet: {why}: {refused}");
        }
    }
}
