//! A host of a fleet as the package installs it: prn-agent.service under real systemd, in the
//! guest, beside prn.service, with a real etcd.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use prn_tests::pki::Identity;
use prn_tests::{binary, procfs, wait_within};

const CONFIG: &str = "/etc/prn/prn.toml";

/// The fleet's configuration, of whoever has made it.
const FOLDER: &str = "/run/prn-fleet";

/// The guest's processor is emulated, and etcd elects first.
const TIME: Duration = Duration::from_secs(120);

fn sh(script: &str) -> String {
    let output = run(Command::new("sh").args(["-c", script]));
    assert!(output.status.success(), "{script}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn run(command: &mut Command) -> Output {
    command
        .current_dir(FOLDER)
        .env("PRN_CONFIG", format!("{FOLDER}/config.toml"))
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// What is set up, until it is dropped: then the machine is as it was.
struct SetUp {
    config: String,
}

impl SetUp {
    /// A server that knows its clients by name, an etcd and a fleet that nobody takes part in.
    fn new() -> Self {
        fs::create_dir_all(FOLDER).unwrap();
        let etc = Path::new("/etc/prn");
        Identity::keygen(etc, "server", &["--force"]);
        Identity::keygen(etc, "admin", &["--force"]);
        let config = fs::read_to_string(CONFIG).unwrap();
        // As docs/operate/access.md says: who may do everything has a name, too.
        let named = config.replace("\nclient-cert = ", "\n# client-cert = ");
        let admin = "[[client]]\nname = \"admin\"\ncert = \"admin.pem\"\nrole = \"admin\"\n";
        fs::write(CONFIG, format!("{named}\n{admin}")).unwrap();
        let set_up = Self { config };
        sh("systemctl daemon-reload; systemctl start prn.service");
        sh(&format!(
            "prn fleet init prod --member=m1=127.0.0.1:23790 --place {FOLDER}/fleets/prod/members --data {FOLDER}/data"
        ));
        let etcd = binary("etcd");
        sh(&format!(
            "systemd-run --unit=prn-test-etcd {} --config-file {FOLDER}/fleets/prod/members/m1/etcd.conf.yml",
            etcd.display()
        ));
        sh("prn fleet enable || prn fleet enable");
        set_up
    }
}

impl Drop for SetUp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let units = ["prn-agent", "prn", "prn-test-etcd"].map(|unit| format!("--unit={unit}"));
            let _shown = Command::new("journalctl")
                .args(units)
                .args(["--no-pager", "-n", "80"])
                .status();
        }
        let _stopped = Command::new("systemctl")
            .args(["disable", "--now", "prn-agent.service"])
            .status();
        let _stopped = Command::new("systemctl")
            .args(["stop", "prn.service", "prn-test-etcd.service"])
            .status();
        fs::write(CONFIG, &self.config).unwrap();
        for name in [
            "agent.toml",
            "agent.pem",
            "agent.key",
            "agent-store.pem",
            "admin.pem",
            "admin.key",
        ] {
            let _absent = fs::remove_file(format!("/etc/prn/{name}"));
        }
        for entry in fs::read_dir("/etc/prn/clients.d").into_iter().flatten() {
            let _absent = fs::remove_file(entry.unwrap().path());
        }
        let _absent = fs::remove_dir_all(FOLDER);
    }
}

fn until(what: &str, script: &str, contains: &str) {
    wait_within(TIME, what, || sh(script).contains(contains));
}

fn state(id: &str) -> String {
    let shown = sh(&format!("prn status --fleet {id} -o json"));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    shown["state"].as_str().unwrap().to_owned()
}

/// How the agent's process is confined.
fn is_unprivileged() {
    let pid = sh("systemctl show -p MainPID --value prn-agent.service");
    let pid: i32 = pid.trim().parse().unwrap();
    assert_eq!(procfs::comm(pid), "prn-agent");
    let status = procfs::status(pid);
    assert!(!status["Uid"].split('\t').any(|uid| uid == "0"));
    for set in ["CapEff", "CapPrm", "CapBnd", "CapInh"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!((&*status["NoNewPrivs"], &*status["Seccomp"]), ("1", "2"));
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("PRIVATE KEY"));
}

#[test]
#[ignore = "guest: needs systemd, an installed prn and etcd"]
fn guest_an_installed_agent_runs_jobs_is_restarted_and_gets_another_key() {
    let _set_up = SetUp::new();
    sh("prn fleet invite web1");
    sh("prn fleet join web1.invite --label zone=a");
    sh("systemctl enable --now prn-agent.service");
    until("the host", "prn fleet hosts", "ready");
    is_unprivileged();
    let wait = |id: &str| {
        let output = run(Command::new("prn").args(["wait", "--fleet", id]));
        (output.status.code(), said(&output))
    };
    let id = sh("prn submit --on zone=a -- sh -c 'exit 7'");
    assert_eq!(wait(id.trim()), (Some(7), "7\n".to_owned()));

    // What runs is the server's: no restart of the agent ends it.
    let lasting = sh("prn submit -- sleep 1000");
    let lasting = lasting.trim();
    wait_within(TIME, "it runs", || state(lasting) == "running");
    let pid = || sh("systemctl show -p MainPID --value prn-agent.service");
    let before = pid();
    sh("systemctl restart prn-agent.service");
    assert_ne!(pid(), before);
    until("the host", "prn fleet hosts", "ready");

    let key = || fs::read_to_string("/etc/prn/agent.key").unwrap();
    let before = key();
    sh("prn fleet invite web1 --out again.invite");
    sh("prn fleet join again.invite");
    assert_ne!(key(), before);
    sh("systemctl restart prn-agent.service");
    let id = sh("prn submit -- true");
    assert_eq!(wait(id.trim()), (Some(0), "0\n".to_owned()));

    sh("systemctl stop prn-agent.service");
    until("it says that it is away", "prn fleet hosts", "away");
    let processes = "/sys/fs/cgroup/system.slice/prn.service/processes";
    let runs = Path::new(processes).join(lasting).exists();
    assert!(runs, "what runs goes on without an agent");
    sh("systemctl start prn-agent.service");
    until("the host", "prn fleet hosts", "ready");
    assert_eq!(state(lasting), "running");
    sh(&format!("prn stop --fleet {lasting}"));
    assert_ne!(state(lasting), "running");
}
