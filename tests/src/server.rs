//! A server of a test's own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::pki::Identity;
use crate::{binary, deadline, procfs, wait_for};

/// How a server is to be started.
#[derive(Debug, Default)]
pub struct Options {
    /// Further arguments of `prn server start`.
    pub arguments: Vec<String>,
    /// Further clients' certificates to pin.
    pub pins: Vec<PathBuf>,
    /// No flag pins anybody, not even [`Server::client`]: the configuration among the arguments
    /// says who may come.
    pub lists_clients: bool,
    /// Its certificate and key: those of another server, to stand in for it.
    pub identity: Option<Identity>,
    /// Another state folder than one below the test's own.
    pub state_dir: Option<PathBuf>,
    /// Another folder that the test's own is made in than /var/lib, where processes see what the
    /// host does: they have a /tmp of their own.
    pub below: Option<PathBuf>,
    /// Another address than a port of the kernel's choice.
    pub address: Option<String>,
    /// In a network namespace of its own, with loopback up and ping allowed for all groups.
    pub own_network: bool,
    /// Run under this command, which executes its arguments: `strace …`.
    pub wrapper: Vec<String>,
    /// The folder of the programs to run, if not the ones that were built.
    pub programs: Option<PathBuf>,
    /// Where its standard error goes, if not to the file that [`Server::log`] reads.
    pub log: Option<std::os::fd::OwnedFd>,
    /// Another number of user ids for processes.
    pub uids: Option<u32>,
    /// Another first one of them.
    pub first_uid: Option<u32>,
}

/// A server that did not get as far as listening.
#[derive(Debug)]
pub struct Refused {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub output: String,
    /// What it wrote to standard error.
    pub log: String,
}

/// A running server, stopped and cleaned up after when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: TempDir,
    /// Its instance name.
    pub instance: String,
    /// Its address.
    pub address: String,
    /// Its certificate and key.
    pub identity: Identity,
    /// A client that it lets in.
    pub client: Identity,
    first_uid: u32,
    /// How it was started.
    options: Options,
}

/// Servers of one test program.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// User ids for each server.
const UIDS: u32 = 256;

impl Server {
    /// With the defaults of `prn server start`.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// With further arguments.
    pub fn with_arguments(arguments: &[&str]) -> Self {
        Self::with(Options {
            arguments: arguments.iter().map(|a| a.to_string()).collect(),
            ..Options::default()
        })
    }

    /// As `options` say.
    ///
    /// # Panics
    /// If it does not get as far as listening.
    pub fn with(options: Options) -> Self {
        Self::try_with(options).unwrap_or_else(|refused| {
            panic!(
                "the server did not start: {:?}\n{}",
                refused.output, refused.log
            )
        })
    }

    /// As `options` say.
    ///
    /// # Errors
    /// If it does not get as far as listening.
    ///
    /// # Panics
    /// If it cannot be executed.
    pub fn try_with(mut options: Options) -> Result<Self, Refused> {
        let folder = tempfile::Builder::new()
            .prefix("prn-test-")
            .tempdir_in(options.below.as_deref().unwrap_or(Path::new("/var/lib")))
            .expect("a folder");
        // Processes must be able to pass through it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("its mode");
        let identity = options
            .identity
            .clone()
            .unwrap_or_else(|| Identity::keygen(folder.path(), "server", &[]));
        let client = Identity::keygen(folder.path(), "client", &[]);
        // One with more user ids takes the places of as many.
        let places = options.uids.unwrap_or(UIDS).div_ceil(UIDS);
        let number = COUNT.fetch_add(places, Ordering::Relaxed);
        let instance = format!("prn-test-{}-{number}", std::process::id());
        // Test programs run one after the other, or far apart in process numbers.
        // Up to the largest number that is positive for all.
        let own = 2_000_100_000 + (std::process::id() % 2200 * 256 + number % 256) * UIDS;
        let first_uid = options.first_uid.unwrap_or(own);
        let mut command = Self::command(
            &options,
            folder.path(),
            &instance,
            first_uid,
            &identity,
            &client,
        );
        let log = fs::File::create(folder.path().join("server.log")).expect("a log");
        command
            .stdout(Stdio::piped())
            .stderr(options.log.take().map_or(Stdio::from(log), Stdio::from))
            .stdin(Stdio::null());
        let mut child = command.spawn().expect("prn server start");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its standard output");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its first line");
        let log = || fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
        let Some(address) = line.trim().strip_prefix("Listening on ").map(str::to_owned) else {
            let status = child.wait().expect("wait");
            remove_cgroup(&cgroup_mount().join(&instance));
            return Err(Refused {
                status,
                output: line,
                log: log(),
            });
        };
        Ok(Self {
            child,
            folder,
            instance,
            address,
            identity,
            client,
            first_uid,
            options,
        })
    }

    fn command(
        options: &Options,
        folder: &Path,
        instance: &str,
        first_uid: u32,
        identity: &Identity,
        client: &Identity,
    ) -> Command {
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        if options.own_network {
            let script = "ip link set lo up && echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range && exec \"$@\"";
            words.extend(["unshare", "--net", "sh", "-c", script, "sh"].map(Into::into));
        }
        words.extend(options.wrapper.iter().map(Into::into));
        words.extend(Self::words(
            options, folder, instance, first_uid, identity, client,
        ));
        Self::executed(&words, identity)
    }

    /// The command line of the server itself.
    fn words(
        options: &Options,
        folder: &Path,
        instance: &str,
        first_uid: u32,
        identity: &Identity,
        client: &Identity,
    ) -> Vec<std::ffi::OsString> {
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        words.push(
            options
                .programs
                .as_ref()
                .map_or_else(|| binary("prn"), |folder| folder.join("prn"))
                .into(),
        );
        // In a network of its own a test may add devices, and then come from elsewhere.
        let listen = if options.own_network {
            "0.0.0.0:0"
        } else {
            "127.0.0.1:0"
        };
        words.extend(
            [
                "server",
                "start",
                "--address",
                options.address.as_deref().unwrap_or(listen),
                "--instance",
                instance,
            ]
            .map(Into::into),
        );
        words.extend(["--server-cert".into(), identity.certificate.clone().into()]);
        let own = (!options.lists_clients).then_some(&client.certificate);
        for pin in own.into_iter().chain(&options.pins) {
            words.extend(["--client-cert".into(), pin.into()]);
        }
        let state = options
            .state_dir
            .clone()
            .unwrap_or_else(|| folder.join("state"));
        words.extend(["--state-dir".into(), state.into()]);
        words.extend(["--first-uid".into(), first_uid.to_string().into()]);
        words.extend([
            "--uids".into(),
            options.uids.unwrap_or(UIDS).to_string().into(),
        ]);
        if !has_controllers() {
            words.push("--allow-missing-limits".into());
        }
        words.extend(options.arguments.iter().map(Into::into));
        words
    }

    fn executed(words: &[std::ffi::OsString], identity: &Identity) -> Command {
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env("PRN_TLS_KEY", identity.key_pem());
        command
    }

    /// The command that starts a server of the same name as it was started, with the same state
    /// folder, but here: in this network namespace, and not under its wrapper.
    pub fn again(&self) -> Command {
        let words = Self::words(
            &self.options,
            self.folder(),
            &self.instance,
            self.first_uid,
            &self.identity,
            &self.client,
        );
        Self::executed(&words, &self.identity)
    }

    /// The command that has this server reloaded with what it was started with, whose files may
    /// have changed. As root, here.
    pub fn reload(&self) -> Command {
        let mut words = Self::words(
            &self.options,
            self.folder(),
            &self.instance,
            self.first_uid,
            &self.identity,
            &self.client,
        );
        if let Some(word) = words.iter_mut().find(|word| *word == "start") {
            *word = "reload".into();
        }
        Self::executed(&words, &self.identity)
    }

    /// The `prn` command with these arguments, as the server's client.
    pub fn prn(&self, arguments: &[&str]) -> Command {
        self.prn_as(&self.client, arguments)
    }

    /// The `prn` command with these arguments, as another client.
    pub fn prn_as(&self, client: &Identity, arguments: &[&str]) -> Command {
        let mut command = if self.options.own_network {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{}/ns/net", self.supervisor()));
            command.arg(binary("prn"));
            command
        } else {
            Command::new(binary("prn"))
        };
        command
            .args(arguments)
            .env("PRN_ADDRESS", &self.address)
            .env("PRN_CLIENT_CERT", &client.certificate)
            .env("PRN_SERVER_CERT", &self.identity.certificate)
            .env("PRN_TLS_KEY", client.key_pem())
            .stdin(Stdio::null());
        command
    }

    /// Runs `prn` with these arguments.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.prn(arguments).output().expect("prn")
    }

    /// Runs `prn` with these arguments, which must succeed; returns its standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "prn {arguments:?}: {} {}\nlog: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Starts a process by argv; returns its id.
    pub fn start_process(&self, flags: &[&str], argv: &[&str]) -> String {
        let arguments: Vec<&str> = ["start"]
            .iter()
            .chain(flags)
            .chain(&["--"])
            .chain(argv)
            .copied()
            .collect();
        self.ok(&arguments).trim().to_owned()
    }

    /// What `prn status -o json` says of a process.
    pub fn status(&self, id: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["status", id, "-o", "json"])).expect("JSON")
    }

    /// Process number of the supervisor.
    pub fn supervisor(&self) -> i32 {
        let started = i32::try_from(self.child.id()).expect("a process number");
        // Under a wrapper such as strace it is a child of what was started.
        let mut pids = vec![started];
        while let Some(pid) = pids.pop() {
            if procfs::comm(pid) == "prn-supervisor" {
                return pid;
            }
            pids.extend(procfs::children(pid));
        }
        started
    }

    /// Process number of the frontend.
    pub fn frontend(&self) -> i32 {
        let mut found = None;
        wait_for("a frontend", || {
            found = procfs::children(self.supervisor())
                .into_iter()
                .find(|pid| procfs::comm(*pid) == "prn-frontend");
            found.is_some()
        });
        found.expect("just found")
    }

    /// The folder with the server's log, keys and state.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The server's cgroup.
    pub fn cgroup(&self) -> PathBuf {
        cgroup_mount().join(&self.instance)
    }

    /// First user id of its processes.
    pub fn first_uid(&self) -> u32 {
        self.first_uid
    }

    /// What the server has written to standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.supervisor()), signal).expect("kill");
    }

    /// Stops the server with SIGTERM and waits; returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Kills the supervisor with SIGKILL, and starts a server of the same name at the same address,
    /// with the same options; its standard error goes to the file that [`Self::log`] reads. While
    /// nobody listens there, a connection of somebody else's may have that port for a while.
    ///
    /// # Panics
    /// If that one does not serve.
    pub fn kill_and_start_again(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait_status();
        self.options.address = Some(self.address.clone());
        let until = Instant::now() + deadline();
        loop {
            let before = self.log().len();
            let line = self.spawn_again();
            if line.starts_with("Listening on ") {
                return;
            }
            let log = self.log();
            let said = log.get(before..).unwrap_or_default();
            let is_taken = said.contains("Address already in use");
            assert!(is_taken && Instant::now() < until, "{line}{log}");
            self.wait_status();
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Starts a server in place of one that is gone. The first line that it prints.
    fn spawn_again(&mut self) -> String {
        let mut command = Self::command(
            &self.options,
            self.folder.path(),
            &self.instance,
            self.first_uid,
            &self.identity,
            &self.client,
        );
        let log = fs::OpenOptions::new()
            .append(true)
            .open(self.folder.path().join("server.log"))
            .expect("its log");
        command
            .stdout(Stdio::piped())
            .stderr(log)
            .stdin(Stdio::null());
        self.child = command.spawn().expect("prn server start");
        let stdout = self.child.stdout.take().expect("its standard output");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        line
    }

    /// Waits for the server's end; returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.wait_status().code()
    }

    /// Waits for the server's end; returns how it ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_status(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_for("the server's end", || {
            ended = self.child.try_wait().expect("wait");
            ended.is_some()
        });
        ended.expect("just seen")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Twice: at once, without grace times.
            let supervisor = Pid::from_raw(self.supervisor());
            let _ = kill(supervisor, Signal::SIGTERM);
            let _ = kill(supervisor, Signal::SIGTERM);
            for _ in 0..400 {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(25));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        remove_cgroup(&self.cgroup());
        if std::thread::panicking() {
            eprintln!("--- server log ---\n{}", self.log());
        }
    }
}

/// Removes what a server that was killed has left behind.
pub fn remove_cgroup(path: &Path) {
    let _ = fs::write(path.join("cgroup.kill"), "1");
    for _ in 0..100 {
        let below = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        for folder in below.filter(|path| path.is_dir()) {
            remove_cgroup(&folder);
        }
        if !path.exists() || fs::remove_dir(path).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Where cgroup2 is mounted.
///
/// # Panics
/// If it is mounted nowhere.
pub fn cgroup_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
    let line = mounts
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .expect("a cgroup2 mount");
    PathBuf::from(line.split(' ').nth(4).expect("a mount point"))
}

/// Whether this host's cgroup2 has all the controllers that limits need.
pub fn has_controllers() -> bool {
    let offered = fs::read_to_string(cgroup_mount().join("cgroup.controllers")).unwrap_or_default();
    ["cpu", "io", "memory", "pids"]
        .iter()
        .all(|name| offered.split_whitespace().any(|offer| offer == *name))
}
