//! Hosts of a fleet: servers with an agent each, and one etcd for all.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_fleet::{Fleet, JobView, v1};
use prn_proto::v1::StartRequest;
use tokio::runtime::Runtime;

use crate::binary;
use crate::etcd::{Cluster, client, server};
use crate::networks::{MIDDLE, Networks};
use crate::pki::Identity;
use crate::proxy::Proxy;
use crate::server::{Options, Server};
use crate::wait_within;

/// How long a test waits for what a fleet does: leases have to end, and two cores are shared.
const PATIENCE: Duration = Duration::from_secs(90);

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

/// What hosts there are to be.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Members of etcd.
    pub members: usize,
    /// Hosts.
    pub hosts: usize,
    /// Further arguments of each agent.
    pub arguments: &'a [&'a str],
    /// For how long each is believed to be there.
    pub lease: &'a str,
    /// Further arguments of each server.
    pub server_arguments: &'a [&'a str],
    /// Configuration of each server, with the agent's certificate where it says AGENT, and whom it has
    /// as an administrator. `None`: none, and the agent is one, too.
    pub configuration: Option<(&'a str, &'a Identity)>,
    /// Where they are, if not all on loopback: call this in the middle of it.
    pub networks: Option<&'a Networks>,
    /// A label of each agent, in turns.
    pub labels: &'a [&'a str],
    /// User ids of each server: so many processes at a time.
    pub uids: Option<u32>,
    /// Each agent reaches its server and etcd by proxies of its own.
    pub has_links: bool,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            members: 1,
            hosts: 1,
            arguments: &[],
            lease: "3s",
            server_arguments: &[],
            configuration: None,
            networks: None,
            labels: &[],
            uids: None,
            has_links: false,
        }
    }
}

/// A server and its agent.
pub struct Host {
    /// Its name.
    pub name: String,
    /// The server.
    pub server: Server,
    /// Between agent and server, if the plan has links.
    pub to_server: Option<Proxy>,
    /// Between agent and each member of etcd, if the plan has links.
    pub to_store: Vec<Proxy>,
    /// Set in the environment of its next agent.
    pub environment: BTreeMap<String, String>,
    /// Further arguments of its next agent.
    pub arguments: Vec<String>,
    /// The command that executes its agent where it is.
    within: Vec<String>,
    lease: String,
    identity: Identity,
    agent: Option<Child>,
    endpoints: Vec<String>,
    ca: PathBuf,
}

impl Hosts {
    /// So many, each with these more arguments of its agent's.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn start(members: usize, count: usize, arguments: &[&str]) -> Self {
        Self::with(Plan {
            members,
            hosts: count,
            arguments,
            ..Plan::default()
        })
    }

    /// As planned.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn with(plan: Plan<'_>) -> Self {
        let middle = plan.networks.map_or("127.0.0.1", |_| MIDDLE);
        let cluster = Cluster::start_at(middle, plan.members);
        let runtime = Runtime::new().expect("a runtime");
        let etcd = cluster.client_for(Duration::from_secs(30));
        let fleet = Fleet::new(etcd, "prod").expect("a name");
        let hosts = (1..=plan.hosts).map(|number| Host::new(&cluster, number, plan));
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
        wait_within(PATIENCE, "all hosts", || {
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
        wait_within(PATIENCE, &format!("{what} of {id}"), || {
            view = self.job(id);
            is_so(&view)
        });
        view
    }
}

impl Host {
    fn new(cluster: &Cluster, number: usize, plan: Plan<'_>) -> Self {
        let name = format!("web{number}");
        let identity = client(&cluster.authorities, &name);
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let certificate = cluster.authorities.path(&format!("{name}.pem"));
        let mut arguments: Vec<String> = owned(plan.server_arguments);
        let mut options = Options {
            uids: plan.uids,
            identity: Some(server(&cluster.authorities, &format!("{name}-server"))),
            ..Options::default()
        };
        if let Some((text, _)) = plan.configuration {
            let path = cluster.authorities.path(&format!("{name}.toml"));
            let shown = certificate.display().to_string();
            fs::write(&path, text.replace("AGENT", &shown)).expect("a configuration");
            arguments.extend(["--config".to_owned(), path.display().to_string()]);
            options.lists_clients = true;
        } else {
            // The fleet's user reads output there.
            let user = cluster.client.certificate.clone();
            options.pins.extend([certificate, user]);
        }
        options.arguments = arguments;
        let within = plan.networks.map(|networks| networks.within(number));
        if let Some(within) = &within {
            options.wrapper.clone_from(within);
            options.address = Some(format!("{}:0", Networks::address(number)));
        }
        let mut server = Server::with(options);
        if let Some((_, administrator)) = plan.configuration {
            server.client = administrator.clone();
        }
        let mut with_label: Vec<String> = owned(plan.arguments);
        let label = plan.labels.iter().cycle().nth(number - 1);
        let label = label.map(|label| ["--label".to_owned(), (*label).to_owned()]);
        with_label.extend(label.into_iter().flatten());
        let link = |to: &String| Proxy::start(to, || None);
        let members = cluster.endpoints();
        let to_store: Vec<_> = members
            .iter()
            .filter(|_| plan.has_links)
            .map(link)
            .collect();
        let endpoints = to_store.iter().map(|link| link.address.clone()).collect();
        Self {
            to_server: plan.has_links.then(|| link(&server.address)),
            endpoints: if plan.has_links { endpoints } else { members },
            to_store,
            environment: BTreeMap::new(),
            arguments: with_label,
            within: within.unwrap_or_default(),
            lease: plan.lease.to_owned(),
            server,
            identity,
            agent: None,
            ca: cluster.ca(),
            name,
        }
    }

    /// What holds up or cuts all between its agent and etcd.
    pub fn store(&self, act: impl Fn(&Proxy)) {
        self.to_store.iter().for_each(act);
    }

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
        let mut words: Vec<std::ffi::OsString> = self.within.iter().map(Into::into).collect();
        words.push(binary("prn-agent").into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["--fleet", "prod", "--host", &self.name])
            .args(["--address", self.server_address()])
            .args(["--store", &self.endpoints.join(",")])
            .args(["--lease", &self.lease, "--lost-after", "1s"])
            .arg("--store-ca")
            .arg(&self.ca)
            .arg("--server-cert")
            .arg(&self.server.identity.certificate)
            .arg("--client-cert")
            .arg(&self.identity.certificate)
            .arg("--tls-key")
            .arg(&self.identity.key)
            .args(&self.arguments)
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.agent = Some(command.spawn().expect("prn-agent"));
    }

    fn server_address(&self) -> &str {
        let link = self.to_server.as_ref();
        link.map_or(&self.server.address, |link| &link.address)
    }

    /// Process number of its agent.
    ///
    /// # Panics
    /// If there is none.
    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().expect("an agent").id()
    }

    /// Ids of the processes that its server has.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn processes(&self) -> Vec<String> {
        let listed = self.server.ok(&["list", "--all", "-q"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Lets the process of a [`waiter`] end.
    ///
    /// # Panics
    /// If there is none.
    pub fn let_end(&self, id: &str) {
        fs::write(self.server.state_dir().join(id).join("go"), "").expect("its folder");
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

/// A job that prints "started", waits for [`Host::let_end`] and ends with code 3.
///
/// # Panics
/// Without random bytes.
pub fn waiter(attempts: usize) -> v1::Job {
    let script = "echo started; until [ -e go ]; do sleep 0.05; done; exit 3";
    job(&["sh", "-c", script], attempts)
}

impl Hosts {
    /// Checks that each of these ids was started on one host, once.
    ///
    /// # Panics
    /// If that is not so.
    pub fn each_once<'a>(&self, ids: impl IntoIterator<Item = &'a String>) {
        let mut all: BTreeMap<String, Vec<&Host>> = BTreeMap::new();
        for host in &self.hosts {
            for id in host.processes() {
                all.entry(id).or_default().push(host);
            }
        }
        for id in ids {
            let there = all.remove(id).unwrap_or_default();
            let names: Vec<_> = there.iter().map(|host| &host.name).collect();
            assert_eq!(names.len(), 1, "{id} is on {names:?}");
            assert_eq!(there[0].server.ok(&["logs", id]), "started\n", "{id}");
        }
    }

    /// Waits until all of these jobs are over; what is known of them then.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn all_over(&self, ids: &[String], mut meanwhile: impl FnMut()) -> Vec<JobView> {
        let until = Instant::now() + 2 * PATIENCE;
        loop {
            meanwhile();
            // What is as good as a job that is not over: etcd may be away.
            let all = self.runtime.block_on(self.fleet.jobs());
            let all = all.unwrap_or_default().into_iter();
            let ours: Vec<_> = all.filter(|view| ids.contains(&view.id)).collect();
            let left: Vec<_> = ours.iter().filter(|view| !view.is_over()).collect();
            if ours.len() == ids.len() && left.is_empty() {
                return ours;
            }
            let (seen, first) = (ours.len(), left.first());
            assert!(
                Instant::now() < until,
                "of {} jobs {seen} are there and {} are not over; the first: {first:#?}",
                ids.len(),
                left.len(),
            );
        }
    }
}
