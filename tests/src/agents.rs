//! Hosts of a fleet: servers with an agent each, and one etcd for all.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_fleet::{Fleet, JobView, v1};
use prn_proto::v1::StartRequest;
use tokio::runtime::Runtime;

use crate::binary;
use crate::etcd::{Cluster, client};
use crate::pki::Identity;
use crate::server::{Options, Server};
use crate::wait_within;

/// Hosts "web1", "web2", … of the fleet "prod".
pub struct Hosts {
    /// Where its agents' etcd is; the fleet's client asks it directly.
    pub cluster: Cluster,
    /// In the order of their names.
    pub hosts: Vec<Host>,
    /// For the fleet's client.
    pub runtime: Runtime,
    /// The fleet, as its client sees it.
    pub fleet: Fleet,
}

/// A server and its agent.
pub struct Host {
    /// Its name.
    pub name: String,
    /// The server.
    pub server: Server,
    identity: Identity,
    agent: Option<Child>,
    arguments: Vec<String>,
    endpoints: Vec<String>,
    ca: PathBuf,
}

impl Hosts {
    /// So many, each with these more arguments of its agent's.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn start(members: usize, count: usize, arguments: &[&str]) -> Self {
        Self::with(members, count, arguments, &[])
    }

    /// The same, each with these more arguments of its server's.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn with(members: usize, count: usize, arguments: &[&str], of_servers: &[&str]) -> Self {
        let cluster = Cluster::start(members);
        let runtime = Runtime::new().expect("a runtime");
        let etcd = cluster.client_for(Duration::from_secs(30));
        let fleet = Fleet::new(etcd, "prod").expect("a name");
        let hosts = (1..=count).map(|number| {
            let name = format!("web{number}");
            let identity = client(&cluster.authorities, &name);
            let options = Options {
                // The fleet's user reads output there.
                pins: vec![
                    cluster.authorities.path(&format!("{name}.pem")),
                    cluster.client.certificate.clone(),
                ],
                arguments: of_servers.iter().map(|word| (*word).to_owned()).collect(),
                ..Options::default()
            };
            Host {
                server: Server::with(options),
                identity,
                agent: None,
                arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
                endpoints: cluster.endpoints(),
                ca: cluster.ca(),
                name,
            }
        });
        let hosts: Vec<_> = hosts.collect();
        let mut all = Self {
            cluster,
            hosts,
            runtime,
            fleet,
        };
        all.hosts.iter_mut().for_each(Host::run_agent);
        all.ready();
        all
    }

    /// Waits until all of them take jobs.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn ready(&self) {
        let is_ready = |host: &prn_fleet::KnownHost| {
            let host = host.host.as_ref();
            host.is_some_and(|host| host.state() == v1::host::State::Ready)
        };
        wait_within(Duration::from_secs(30), "all hosts", || {
            let known = self.runtime.block_on(self.fleet.hosts()).expect("hosts");
            known.iter().filter(|host| is_ready(host)).count() == self.hosts.len()
        });
    }

    /// Submits a job; its id.
    ///
    /// # Panics
    /// If it is refused.
    pub fn submit(&self, job: v1::Job) -> String {
        let submitted = self.runtime.block_on(self.fleet.submit(job));
        submitted.expect("a job").id
    }

    /// What is known of a job.
    ///
    /// # Panics
    /// If nothing is.
    pub fn job(&self, id: &str) -> JobView {
        self.runtime.block_on(self.fleet.job(id)).expect("a job")
    }

    /// Waits until a job is as it is meant to be.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn until(&self, id: &str, what: &str, is_so: impl Fn(&JobView) -> bool) -> JobView {
        let mut view = self.job(id);
        wait_within(Duration::from_secs(60), &format!("{what} of {id}"), || {
            view = self.job(id);
            is_so(&view)
        });
        view
    }
}

impl Host {
    /// Starts its agent.
    ///
    /// # Panics
    /// If it cannot be executed.
    pub fn run_agent(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log");
        let mut command = Command::new(binary("prn-agent"));
        command
            .args(["--fleet", "prod", "--host", &self.name])
            .args(["--address", &self.server.address])
            .args(["--store", &self.endpoints.join(",")])
            .args(["--lease", "3s", "--lost-after", "1s"])
            .arg("--store-ca")
            .arg(&self.ca)
            .arg("--server-cert")
            .arg(&self.server.identity.certificate)
            .arg("--client-cert")
            .arg(&self.identity.certificate)
            .arg("--tls-key")
            .arg(&self.identity.key)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.agent = Some(command.spawn().expect("prn-agent"));
    }

    fn log_path(&self) -> PathBuf {
        self.server.folder().join("agent.log")
    }

    /// What its agent has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Sends its agent a signal.
    ///
    /// # Panics
    /// If there is none.
    pub fn signal_agent(&self, signal: Signal) {
        let child = self.agent.as_ref().expect("an agent");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process number"));
        kill(pid, signal).expect("kill");
    }

    /// Ends its agent with this signal, and waits. Its exit code, if it has one.
    ///
    /// # Panics
    /// If there is none.
    pub fn end_agent(&mut self, signal: Signal) -> Option<i32> {
        self.signal_agent(signal);
        let mut child = self.agent.take().expect("an agent");
        child.wait().expect("wait").code()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the agent of {} ---\n{}", self.name, self.log());
        }
    }
}

/// A job of this command line with so many attempts.
///
/// # Panics
/// Without random bytes.
pub fn job(argv: &[&str], attempts: usize) -> v1::Job {
    let attempt = |_| StartRequest {
        command: argv[0].to_owned(),
        args: argv[1..].iter().map(|word| (*word).to_owned()).collect(),
        id: prn_client::mint_id().expect("random bytes").to_string(),
        best_effort_limits: true,
        ..StartRequest::default()
    };
    v1::Job {
        attempts: (0..attempts).map(attempt).collect(),
        ..v1::Job::default()
    }
}
