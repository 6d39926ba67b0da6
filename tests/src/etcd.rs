//! A cluster of etcd of a test's own: real members on loopback, mutual TLS with Ed25519, certificates
//! that openssl has made.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_client::credentials::{CertificateSource, Credentials, KeySource, ServerSource};
use prn_fleet::etcd::{Etcd, EtcdSettings};
use tempfile::TempDir;

use crate::authority::{Authorities, Leaf};
use crate::pki::Identity;
use crate::{procfs, wait_for};

/// For which time certificates are valid: for those whose clock is behind, too.
const PERIOD: (&str, &str) = ("20200101000000Z", "20491231235959Z");

/// Members, killed when dropped.
pub struct Cluster {
    folder: TempDir,
    /// Who signs certificates of members and of clients.
    pub authorities: Authorities,
    members: Vec<Member>,
    server: Identity,
    /// A client that it lets in.
    pub client: Identity,
}

struct Member {
    client: String,
    peer: String,
    child: Option<Child>,
}

impl Cluster {
    /// Of so many members, serving.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn start(count: usize) -> Self {
        Self::start_at("127.0.0.1", count)
    }

    /// The same at this address of the machine's, which is one of a certificate's.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn start_at(ip: &str, count: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authorities = Authorities::ed25519();
        authorities.authority_within(Some(PERIOD), "ca", None, "CA:TRUE");
        let leaf = Leaf {
            name: "etcd",
            issuer: "ca",
            names: "IP:127.0.0.1,IP:10.77.0.1,DNS:localhost",
            // A member is its peers' client, too.
            usage: "serverAuth,clientAuth",
            period: Some(PERIOD),
        };
        let server = authorities.leaf(leaf, &[]);
        let client = client(&authorities, "agent");
        // All held until each is known, so that none is had twice.
        let ports: Vec<_> = (0..2 * count)
            .map(|_| TcpListener::bind((ip, 0)).expect("a port"))
            .collect();
        let address = |number: usize| ports[number].local_addr().expect("a port").to_string();
        let members = (0..count)
            .map(|number| Member {
                client: address(2 * number),
                peer: address(2 * number + 1),
                child: None,
            })
            .collect();
        drop(ports);
        let mut cluster = Self {
            folder,
            authorities,
            members,
            server,
            client,
        };
        for number in 0..count {
            cluster.run(number);
        }
        cluster.serves();
        cluster
    }

    /// Starts a member that does not run.
    ///
    /// # Panics
    /// If it cannot be executed.
    pub fn run(&mut self, number: usize) {
        let all = self.members.iter().enumerate();
        let all = all.map(|(other, member)| format!("m{other}=https://{}", member.peer));
        let all: Vec<_> = all.collect();
        let folder = self.folder.path().join(format!("m{number}"));
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("m{number}.log")))
            .expect("a log");
        let (cert, key) = (&self.server.certificate, &self.server.key);
        let ca = self.authorities.path("ca.pem");
        let member = &mut self.members[number];
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("m{number}"), "--data-dir"])
            .arg(folder)
            .args([
                "--listen-client-urls",
                &format!("https://{}", member.client),
            ])
            .args([
                "--advertise-client-urls",
                &format!("https://{}", member.client),
            ])
            .args(["--listen-peer-urls", &format!("https://{}", member.peer)])
            .args([
                "--initial-advertise-peer-urls",
                &format!("https://{}", member.peer),
            ])
            .args(["--initial-cluster", &all.join(","), "--logger", "zap"])
            .args(["--client-cert-auth", "--peer-client-cert-auth"]);
        for (flag, path) in [
            ("--cert-file", cert),
            ("--key-file", key),
            ("--trusted-ca-file", &ca),
            ("--peer-cert-file", cert),
            ("--peer-key-file", key),
            ("--peer-trusted-ca-file", &ca),
        ] {
            command.arg(flag).arg(path);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        member.child = Some(command.spawn().expect("etcd, which this test needs"));
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn serves(&self) {
        wait_for("etcd to serve", || {
            self.ctl(&["get", "nothing"]).status.success()
        });
    }

    /// etcdctl with these arguments.
    ///
    /// # Panics
    /// If it cannot be executed.
    pub fn ctl(&self, arguments: &[impl AsRef<OsStr>]) -> std::process::Output {
        self.ctl_of(&self.endpoints(), arguments)
    }

    fn ctl_of(
        &self,
        endpoints: &[String],
        arguments: &[impl AsRef<OsStr>],
    ) -> std::process::Output {
        Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--dial-timeout", "1s", "--command-timeout", "3s"])
            .args(["--endpoints", &endpoints.join(",")])
            .arg("--cacert")
            .arg(self.authorities.path("ca.pem"))
            .arg("--cert")
            .arg(&self.client.certificate)
            .arg("--key")
            .arg(&self.client.key)
            .args(arguments)
            .output()
            .expect("etcdctl, which this test needs")
    }

    /// Where the members are.
    pub fn endpoints(&self) -> Vec<String> {
        let all = self.members.iter();
        all.map(|member| member.client.clone()).collect()
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.authorities.path("ca.pem")
    }

    /// Which member leads.
    ///
    /// # Panics
    /// If none does.
    pub fn leader(&self) -> usize {
        let mut leader = None;
        wait_for("a leader", || {
            leader = (0..self.members.len()).find(|number| {
                let endpoint = [self.members[*number].client.clone()];
                let words = ["endpoint", "status", "-w", "json"];
                let output = self.ctl_of(&endpoint, &words);
                let said: serde_json::Value =
                    serde_json::from_slice(&output.stdout).unwrap_or_default();
                let status = &said[0]["Status"];
                let id = &status["header"]["member_id"];
                id.is_number() && status["leader"] == *id
            });
            leader.is_some()
        });
        leader.expect("just found")
    }

    /// Kills a member.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, number: usize) {
        let mut child = self.members[number]
            .child
            .take()
            .expect("a member that runs");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Kills all members, and starts them again.
    ///
    /// # Panics
    /// If they do not serve then.
    pub fn restart(&mut self) {
        for number in 0..self.members.len() {
            self.kill(number);
        }
        for number in 0..self.members.len() {
            self.run(number);
        }
        self.serves();
    }

    /// Process numbers of the members that run.
    pub fn pids(&self) -> Vec<u32> {
        let children = self
            .members
            .iter()
            .filter_map(|member| member.child.as_ref());
        children.map(Child::id).collect()
    }

    /// Holds a member up, or lets it go on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn hold(&self, number: usize, held: bool) {
        let child = self.members[number]
            .child
            .as_ref()
            .expect("a member that runs");
        let pid = i32::try_from(child.id()).expect("a process number");
        match held {
            true => procfs::hold(pid),
            false => kill(Pid::from_raw(pid), Signal::SIGCONT).expect("kill"),
        }
    }

    /// Compacts all revisions away but the newest.
    ///
    /// # Panics
    /// If it is refused.
    pub fn compact(&self) {
        let words = ["get", "nothing", "-w", "json"];
        let said = self.ctl(&words).stdout;
        let said: serde_json::Value = serde_json::from_slice(&said).expect("JSON");
        let revision = said["header"]["revision"].to_string();
        let output = self.ctl(&["compact", &revision]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    /// A client of all members, which gives a call up after so long.
    ///
    /// # Panics
    /// If its certificates are refused.
    pub fn client_for(&self, patience: Duration) -> Etcd {
        self.client_of(&self.endpoints(), &self.client, patience)
    }

    /// The same of these endpoints, as this client.
    ///
    /// # Panics
    /// If its certificates are refused.
    pub fn client_of(&self, endpoints: &[String], client: &Identity, patience: Duration) -> Etcd {
        let server = ServerSource {
            authorities: vec![CertificateSource::File(self.ca())],
            name: "127.0.0.1".to_owned(),
            ..ServerSource::default()
        };
        let own = CertificateSource::File(client.certificate.clone());
        let key = KeySource::File(client.key.clone());
        let credentials = Credentials::find(&own, &key, &server).expect("credentials");
        let endpoints = endpoints.iter().map(|at| at.parse().expect("an address"));
        Etcd::new(EtcdSettings {
            endpoints: endpoints.collect(),
            credentials,
            name: None,
            patience,
            when_slow: None,
        })
        .expect("endpoints")
    }
}

/// A client's certificate of this name, signed by the authority "ca".
pub fn client(authorities: &Authorities, name: &str) -> Identity {
    let leaf = Leaf {
        name,
        issuer: "ca",
        names: "",
        usage: "clientAuth",
        period: Some(PERIOD),
    };
    authorities.leaf(leaf, &[])
}

/// A server's certificate of this name, signed by the authority "ca". It has the name of a host, too:
/// what is before "-server".
pub fn server(authorities: &Authorities, name: &str) -> Identity {
    let host = name.strip_suffix("-server").unwrap_or(name);
    let names = format!("IP:127.0.0.1,DNS:localhost,DNS:{host}");
    let leaf = Leaf {
        name,
        issuer: "ca",
        names: &names,
        usage: "serverAuth",
        period: Some(PERIOD),
    };
    authorities.leaf(leaf, &[])
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(mut child) = member.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("m0.log")).unwrap_or_default();
            let from = log.len().saturating_sub(2000);
            eprintln!(
                "--- log of the first member ---\n{}",
                log.get(from..).unwrap_or_default()
            );
        }
    }
}
