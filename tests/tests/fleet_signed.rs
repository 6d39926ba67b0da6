//! Jobs that are signed for a fleet, on servers that start nothing else: what whoever owns the store can
//! do with them, and what not. The server's root half decides, not the agent.

use std::time::{Duration, SystemTime};

use prn_client::credentials::{CertificateSource, Credentials, KeySource, ServerSource};
use prn_client::{Client, StartSpec};
use prn_fleet::etcd::Txn;
use prn_fleet::v1::{self, outcome::State};
use prn_fleet::{JobView, Standing};
use prn_ipc_protocol::signed::StartSignature;
use prn_ipc_protocol::types::{Digest, ProcessId, UnixMicros};
use prn_proto::tls::{Certificate, Key, Signer};
use prn_proto::v1::StartRequest;
use prn_tests::agents::{Host, Hosts, Plan};
use prn_tests::pki::Identity;

/// Two hosts of the fleet "prod", whose servers want signatures. The agent brings what anna has signed,
/// and sees whose processes these are.
struct Signed {
    hosts: Hosts,
    anna: Identity,
    signer: Signer,
    _folder: tempfile::TempDir,
}

impl Signed {
    fn new() -> Self {
        Self::with_role("may = ['start', 'list']\nwhose = 'all'")
    }

    fn with_role(role: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let anna = Identity::keygen(folder.path(), "anna", &[]);
        let admin = Identity::keygen(folder.path(), "admin", &[]);
        let configuration = format!(
            "fleet = ['prod']\nrequire-signed-starts = true\n\
             [[role]]\nname = 'agent'\n{role}\n\
             [[client]]\nname = 'agent'\ncert = 'AGENT'\nrole = 'agent'\n\
             [[client]]\nname = 'anna'\ncert = '{}'\nrole = 'runner'\n\
             [[client]]\nname = 'admin'\ncert = '{}'\nrole = 'admin'\n",
            anna.certificate.display(),
            admin.certificate.display()
        );
        let hosts = Hosts::with(Plan {
            hosts: 2,
            configuration: Some((&configuration, &admin)),
            ..Plan::default()
        });
        let certificate = Certificate::from_pem(anna.certificate_pem().as_bytes()).unwrap();
        let key = Key::from_pem(anna.key_pem().as_bytes()).unwrap();
        let signer = Signer::new(certificate.kind(), &key).unwrap();
        Self {
            hosts,
            anna,
            signer,
            _folder: folder,
        }
    }

    /// What anna signs for this audience, as one of the hosts would start it.
    fn start(&self, argv: &[&str], audience: &str) -> StartRequest {
        let signed = self.hosts.runtime.block_on(async {
            let client = self.connect().await;
            client.sign(&spec(argv)).await.unwrap()
        });
        self.for_audience(signed.request().clone(), audience)
    }

    /// What she signs for the first host's server as it runs now.
    fn start_for_run(&self, argv: &[&str]) -> StartRequest {
        let signed = self.hosts.runtime.block_on(async {
            let client = self.connect().await;
            client.sign_for_later(&spec(argv)).await.unwrap()
        });
        signed.request().clone()
    }

    /// Her connection to the first host.
    async fn connect(&self) -> Client {
        let host = &self.hosts.hosts[0];
        let own = CertificateSource::File(self.anna.certificate.clone());
        let server = CertificateSource::File(host.server.identity.certificate.clone());
        let server = ServerSource {
            certificates: vec![server],
            ..ServerSource::default()
        };
        let key = KeySource::File(self.anna.key.clone());
        let credentials = Credentials::find(&own, &key, &server).unwrap();
        let client = Client::connect(&host.server.address, &credentials).await;
        client.unwrap()
    }

    /// The same start, signed for another audience from now on.
    fn for_audience(&self, mut request: StartRequest, audience: &str) -> StartRequest {
        let id = ProcessId::from_bytes(bytes(&request.id));
        let digest = Digest(bytes(&request.expect_digest));
        let now = UnixMicros::now().0;
        let signature = StartSignature {
            key: self.signer.public_key().try_into().unwrap(),
            audience: audience.to_owned().try_into().unwrap(),
            not_before: UnixMicros(now),
            not_after: UnixMicros(now + 60_000_000),
            signature: vec![0; 64].try_into().unwrap(),
        };
        let bytes = signature.signed_bytes(id, digest);
        let at = |micros: UnixMicros| SystemTime::UNIX_EPOCH + Duration::from_micros(micros.0);
        request.signature = Some(prn_proto::v1::StartSignature {
            public_key: self.signer.public_key(),
            audience: audience.to_owned(),
            not_before: Some(at(signature.not_before).into()),
            not_after: Some(at(signature.not_after).into()),
            signature: self.signer.sign(&bytes).unwrap(),
        });
        request
    }

    fn submit(&self, start: StartRequest, host: &str) -> String {
        self.hosts.submit(v1::Job {
            attempts: vec![start],
            host: host.to_owned(),
            ..v1::Job::default()
        })
    }

    fn over(&self, id: &str) -> JobView {
        self.hosts.until(id, "the end", JobView::is_over)
    }

    /// How a job that is refused is refused.
    fn refused(&self, id: &str) -> String {
        let view = self.over(id);
        assert_eq!(view.standing(), Standing::Refused, "{view:?}");
        for host in &self.hosts.hosts {
            assert!(
                !host.processes().iter().any(|there| there == id),
                "{view:?}"
            );
        }
        view.outcome().unwrap().reason.clone()
    }
}

/// What is started by this command line.
fn spec(argv: &[&str]) -> StartSpec {
    let mut spec = StartSpec::new(argv.iter().copied());
    spec.best_effort_limits = true;
    spec
}

/// So many bytes of hexadecimal digits.
fn bytes<const N: usize>(digits: &str) -> [u8; N] {
    let byte = |place: usize| u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).unwrap();
    assert_eq!(digits.len(), 2 * N);
    std::array::from_fn(byte)
}

fn times_started(host: &Host, id: &str) -> usize {
    host.processes().iter().filter(|there| *there == id).count()
}

#[test]
fn what_is_signed_for_the_fleet_runs_on_one_host_and_is_its_signers() {
    let signed = Signed::new();
    let id = signed.submit(signed.start(&["echo", "started"], "prod"), "");
    let view = signed.over(&id);
    assert_eq!(view.standing(), Standing::Ended, "{view:?}");
    signed.hosts.each_once([&id]);
    let host = view.host().unwrap();
    let mut hosts = signed.hosts.hosts.iter();
    let host = hosts.find(|there| there.name == host).unwrap();
    let status = host.server.status(&id);
    assert_eq!(status["signed"]["via"], "agent", "{status}");
    let as_anna = |words: &[&str]| host.server.prn_as(&signed.anna, words).output().unwrap();
    assert_eq!(as_anna(&["logs", &id]).stdout, b"started\n", "it is hers");
}

#[test]
fn what_the_store_makes_of_a_signed_job_is_refused_by_the_servers() {
    let signed = Signed::new();
    // Not signed at all.
    let mut none = signed.start(&["echo", "started"], "prod");
    none.signature = None;
    let id = signed.submit(none, "");
    assert_eq!(signed.refused(&id), "SIGNATURE_REQUIRED");
    // Another command, with the digest of what was signed and without it.
    let mut altered = signed.start(&["echo", "started"], "prod");
    altered.args = vec!["altered".to_owned()];
    let id = signed.submit(altered.clone(), "");
    assert_eq!(signed.refused(&id), "OTHER_DIGEST");
    altered.id = prn_client::mint_id().unwrap().to_string();
    altered.expect_digest.clear();
    let id = signed.submit(altered, "");
    assert_eq!(signed.refused(&id), "SIGNATURE_INVALID");
    // Another id: a second run of the same.
    let mut again = signed.start(&["echo", "started"], "prod");
    again.id = prn_client::mint_id().unwrap().to_string();
    let id = signed.submit(again, "");
    assert_eq!(signed.refused(&id), "SIGNATURE_INVALID");
    // For another fleet, and for one server's run.
    let id = signed.submit(signed.start(&["echo", "started"], "other"), "");
    assert_eq!(signed.refused(&id), "SIGNATURE_OTHER_AUDIENCE");
    // By somebody whom the servers do not know.
    let mut forged = signed.start(&["echo", "started"], "prod");
    if let Some(signature) = &mut forged.signature {
        let folder = tempfile::tempdir().unwrap();
        let nobody = Identity::keygen(folder.path(), "nobody", &[]);
        let certificate = Certificate::from_pem(nobody.certificate_pem().as_bytes()).unwrap();
        let key = Key::from_pem(nobody.key_pem().as_bytes()).unwrap();
        let signer = Signer::new(certificate.kind(), &key).unwrap();
        signature.public_key = signer.public_key();
    }
    let id = signed.submit(forged, "");
    assert_eq!(signed.refused(&id), "SIGNATURE_UNKNOWN_KEY");
}

/// Writes a job into the store as its owner can, past all that prn does.
fn write(signed: &Signed, id: &str, start: &StartRequest, host: &str) {
    let fleet = &signed.hosts.fleet;
    let job = v1::Job {
        attempts: vec![start.clone()],
        host: host.to_owned(),
        ..v1::Job::default()
    };
    let waiting = v1::Waiting {
        token: "again".to_owned(),
        host: host.to_owned(),
        ..v1::Waiting::default()
    };
    let keys = fleet.keys();
    let txn = Txn::new()
        .put(&keys.job(id), prn_fleet::encoded(&job))
        .put(&keys.waiting(id), prn_fleet::encoded(&waiting))
        .delete(&keys.claim(id));
    let committed = signed.hosts.runtime.block_on(fleet.etcd().commit(&txn));
    assert!(committed.unwrap().succeeded);
}

#[test]
fn what_is_signed_for_the_fleet_starts_once_on_each_host_whatever_the_store_says() {
    let signed = Signed::new();
    let start = signed.start(&["echo", "started"], "prod");
    let id = signed.submit(start.clone(), "web1");
    assert_eq!(signed.over(&id).standing(), Standing::Ended);
    let web1 = &signed.hosts.hosts[0];
    assert_eq!(times_started(web1, &id), 1);
    // Once more on the same host, which does not have the process any more.
    web1.server.ok(&["rm", &id]);
    write(&signed, &id, &start, "web1");
    let view = signed.hosts.until(&id, "the second end", JobView::is_over);
    assert_eq!(view.standing(), Standing::Lost, "it has run: {view:?}");
    assert_eq!(times_started(web1, &id), 0);
    // On the other host it starts: that is what a signature for a fleet allows, once.
    write(&signed, &id, &start, "web2");
    let ended = |view: &JobView| view.standing() == Standing::Ended;
    signed.hosts.until(&id, "the end there", ended);
    assert_eq!(times_started(&signed.hosts.hosts[1], &id), 1);
}

#[test]
fn what_is_signed_for_one_server_starts_there_once_and_nowhere_else_whatever_the_store_says() {
    let mut signed = Signed::new();
    let start = signed.start_for_run(&["echo", "started"]);
    let id = signed.submit(start.clone(), "web1");
    assert_eq!(signed.over(&id).standing(), Standing::Ended);
    assert_eq!(times_started(&signed.hosts.hosts[0], &id), 1);
    // The store's owner has it on the other host, bound to it and free.
    write(&signed, &id, &start, "web2");
    let has_said = |view: &JobView| view.standing() == Standing::NeedsSigning;
    let view = signed.hosts.until(&id, "the other host's no", has_said);
    let reason = &view.outcome().unwrap().reason;
    assert_eq!(reason, "SIGNATURE_OTHER_AUDIENCE", "{view:?}");
    write(&signed, &id, &start, "");
    let is_over = |view: &JobView| view.is_over() && !has_said(view);
    signed.hosts.until(&id, "its end", is_over);
    assert_eq!(times_started(&signed.hosts.hosts[1], &id), 0);
    // What waits while that server begins anew is to be signed anew.
    let waits = signed.start_for_run(&["echo", "started"]);
    let host = &mut signed.hosts.hosts[0];
    host.end_agent(nix::sys::signal::Signal::SIGTERM);
    host.server.kill_and_start_again();
    let id = signed.submit(waits, "web1");
    signed.hosts.hosts[0].run_agent();
    assert_eq!(signed.over(&id).standing(), Standing::NeedsSigning);
}

#[test]
fn what_was_signed_before_the_server_began_waits_to_be_signed_anew() {
    let mut signed = Signed::new();
    for host in &mut signed.hosts.hosts {
        host.end_agent(nix::sys::signal::Signal::SIGTERM);
    }
    let start = signed.start(&["echo", "started"], "prod");
    let id = signed.submit(start.clone(), "");
    for host in &mut signed.hosts.hosts {
        host.server.kill_and_start_again();
        host.run_agent();
    }
    let view = signed.over(&id);
    assert_eq!(view.standing(), Standing::NeedsSigning, "{view:?}");
    let known = view.outcome().unwrap();
    assert_eq!(
        (known.state(), &*known.reason),
        (State::NeedsSigning, "SIGNATURE_BEFORE_RUN")
    );
    let again = v1::Job {
        attempts: vec![signed.for_audience(start, "prod")],
        ..v1::Job::default()
    };
    let runtime = &signed.hosts.runtime;
    runtime
        .block_on(signed.hosts.fleet.sign_anew(&id, again))
        .unwrap();
    assert_eq!(signed.over(&id).standing(), Standing::Ended);
    signed.hosts.each_once([&id]);
}

#[test]
fn an_agent_whose_role_hides_the_signers_processes_says_what_is_amiss() {
    let signed = Signed::with_role("may = ['start', 'list']");
    let start = signed.start(&["echo", "started"], "prod");
    let id = start.id.clone();
    // Not even one that may run twice is run again: nothing says that it has ended.
    let twice = v1::Job {
        attempts: vec![start, signed.start(&["echo", "started"], "prod")],
        may_run_twice: true,
        ..v1::Job::default()
    };
    signed.hosts.submit(twice);
    let view = signed.over(&id);
    let known = view.outcome().unwrap();
    assert_eq!(
        (view.standing(), &*known.reason),
        (Standing::Lost, "NOT_SEEN")
    );
    assert!(known.why.contains("whose = \"all\""), "{}", known.why);
    signed.hosts.each_once([&id]);
}
