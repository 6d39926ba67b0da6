//! prn as a package installs it: the unit under real systemd, in the guest, which has installed the
//! packages; and the files that they install, as far as any machine can tell.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use prn_tests::pki::Identity;
use prn_tests::server::{Server, has_controllers};
use prn_tests::{procfs, wait_for};
use serde_json::json;

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging");

/// What the packaged configuration gives a process that asks for no limit.
const MEMORY: u64 = 2 << 30;
const CPU_MILLIS: u64 = 2000;
const PIDS: u64 = 2048;

#[test]
fn x15_with_the_packaged_configuration_a_process_that_asks_for_no_limit_has_some() {
    // Flags of the harness win over what the file says of places, and of nothing else.
    let server = Server::with_arguments(&[
        "--config",
        &format!("{PACKAGING}/prn.toml"),
        // That of the package is the machine's.
        "--audit",
        "none",
    ]);
    let id = server.start_process(&[], &["sleep", "1000"]);
    let status = server.status(&id);
    if has_controllers() {
        let limits = &status["limits"];
        assert_eq!(limits["memory_bytes"], MEMORY, "{status}");
        assert_eq!(limits["cpu_millis"], CPU_MILLIS, "{status}");
        assert_eq!(limits["pids"], PIDS, "{status}");
    } else {
        let wanted = json!(["cpu_millis", "memory_bytes", "pids"]);
        assert_eq!(status["limits_not_enforced"], wanted, "{status}");
    }
    // Who asks gets more, up to the ceilings.
    let more = ["--memory", "3G", "--cpu", "3", "--pids", "4096"];
    server.start_process(&more, &["true"]);
    let beyond = server.run(&["start", "--pids", "16385", "--", "true"]);
    let error = String::from_utf8(beyond.stderr).unwrap();
    assert!(
        !beyond.status.success() && error.contains("pids") && error.contains("ceiling"),
        "{error}"
    );
}

#[test]
fn x15_the_packaged_port_is_kept_from_outgoing_connections() {
    let value = |file: &str, name: &str| -> String {
        let text = fs::read_to_string(format!("{PACKAGING}/{file}")).unwrap();
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(found, _)| found.trim() == name)
            .map(|(_, value)| value.trim().trim_matches('"').to_owned())
            .unwrap_or_else(|| panic!("{file} has no {name}"))
    };
    let address = value("prn.toml", "address");
    let (_, port) = address.rsplit_once(':').unwrap();
    let reserved = value("prn.sysctl", "net.ipv4.ip_local_reserved_ports");
    assert!(reserved.split(',').any(|each| each == port), "{reserved}");
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

struct Installed {
    client: Identity,
}

impl Installed {
    /// With fresh keys, started.
    fn start() -> Self {
        let etc = Path::new("/etc/prn");
        Identity::keygen(etc, "server", &["--force"]);
        let client = Identity::keygen(etc, "client", &["--force"]);
        sh(
            "systemctl daemon-reload; systemctl start prn.service || { journalctl -u prn.service --no-pager; exit 1; }",
        );
        Self { client }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/prn");
        command
            .args(arguments)
            .env("PRN_CLIENT_CERT", "/etc/prn/client.pem")
            .env("PRN_SERVER_CERT", "/etc/prn/server.pem")
            .env("PRN_TLS_KEY", self.client.key_pem());
        command
    }

    fn prn(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.prn(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = Command::new("systemctl")
            .args(["stop", "prn.service"])
            .status();
        if std::thread::panicking() {
            let _ = Command::new("journalctl")
                .args(["-u", "prn.service", "--no-pager", "-n", "50"])
                .status();
        }
    }
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_p3_the_unit_starts_serves_and_stops_without_leaving_anything() {
    let prn = Installed::start();
    let supervisor: i32 = sh("systemctl show -p MainPID --value prn.service")
        .trim()
        .parse()
        .unwrap();
    assert_eq!(procfs::comm(supervisor), "prn-supervisor");
    let (frontend, writer): (Vec<_>, Vec<_>) = procfs::children(supervisor)
        .into_iter()
        .partition(|pid| procfs::comm(*pid) == "prn-frontend");
    assert_eq!((frontend.len(), writer.len()), (1, 1));
    assert_eq!(procfs::status(supervisor)["Uid"], "0\t0\t0\t0");
    for (pid, user) in [(frontend[0], "prn"), (writer[0], "prn-audit")] {
        let user = sh(&format!("id -u {user}"));
        assert_eq!(procfs::status(pid)["Uid"], [user.trim(); 4].join("\t"));
    }

    // C2: the unit's own group is empty, and its three sub-groups hold all there is.
    let unit = Path::new("/sys/fs/cgroup/system.slice/prn.service");
    assert_eq!(fs::read_to_string(unit.join("cgroup.procs")).unwrap(), "");
    let own = fs::read_to_string(unit.join("supervisor/cgroup.procs")).unwrap();
    let own: BTreeSet<i32> = own.lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(own, BTreeSet::from([supervisor, writer[0]]));
    assert_eq!(
        fs::read_to_string(unit.join("frontend/run/cgroup.procs"))
            .unwrap()
            .trim(),
        frontend[0].to_string()
    );

    assert_eq!(
        prn.ok(&[
            "run", "--memory", "64M", "--pids", "20", "--cpu", "0.5", "--", "echo", "hello"
        ]),
        "hello\n"
    );
    let ids: Vec<String> = (0..3)
        .map(|_| {
            prn.ok(&["start", "sh -c 'sleep 1000 & sleep 1000'"])
                .trim()
                .to_owned()
        })
        .collect();
    let pids: Vec<i32> = ids
        .iter()
        .flat_map(|id| fs::read_to_string(unit.join("processes").join(id).join("cgroup.procs")))
        .flat_map(|text| {
            text.lines()
                .map(|line| line.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(pids.len() >= 3);
    sh("systemctl stop prn.service");
    assert_eq!(
        sh("systemctl show -p Result --value prn.service").trim(),
        "success"
    );
    assert!(!unit.exists(), "a group is left");
    for pid in pids
        .into_iter()
        .chain(frontend)
        .chain(writer)
        .chain([supervisor])
    {
        assert!(!procfs::alive(pid), "process {pid} is left");
    }
    let left: Vec<_> = fs::read_dir("/var/lib/prn")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| ids.contains(name))
        .collect();
    assert!(left.is_empty(), "directories are left: {left:?}");
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_t16_the_key_is_in_no_environment_and_not_visible_over_dbus() {
    let prn = Installed::start();
    let id = prn.ok(&["start", "sleep 1000"]);
    let key = fs::read_to_string("/etc/prn/server.key").unwrap();
    let secret = key.lines().nth(1).unwrap().to_owned();
    let supervisor: i32 = sh("systemctl show -p MainPID --value prn.service")
        .trim()
        .parse()
        .unwrap();
    let group = format!(
        "/sys/fs/cgroup/system.slice/prn.service/processes/{}/cgroup.procs",
        id.trim()
    );
    let process: i32 = fs::read_to_string(group).unwrap().trim().parse().unwrap();
    let mut texts = vec![
        sh("systemctl show prn.service"),
        sh("journalctl -u prn.service --no-pager"),
    ];
    for pid in procfs::children(supervisor)
        .into_iter()
        .chain([supervisor, process])
    {
        for file in ["environ", "cmdline"] {
            texts.push(
                String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{file}")).unwrap())
                    .into_owned(),
            );
        }
    }
    for text in texts {
        assert!(!text.contains(&secret) && !text.contains("PRIVATE KEY"));
    }
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_l2_a_killed_supervisor_takes_everything_with_it_and_the_unit_restarts() {
    let prn = Installed::start();
    prn.ok(&["start", "sh -c 'setsid sleep 12345 & sleep 12345'"]);
    wait_for("both processes", || {
        sh("pgrep -cx sleep || true").trim().parse::<u32>().unwrap() >= 2
    });
    sh("systemctl kill --kill-whom=main -s KILL prn.service");
    wait_for("everything to die", || {
        sh("pgrep -fx 'sleep 12345' || true").is_empty()
    });
    wait_for("the restart", || {
        prn.prn(&["list", "-o", "json"]).status.success()
    });
    assert_eq!(
        prn.ok(&["list"]).lines().count(),
        4,
        "the table is not empty"
    );
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_a_reload_of_the_unit_takes_another_key_and_what_changes_is_reloaded() {
    let prn = Installed::start();
    let id = prn.ok(&["start", "sleep 1000"]);
    let main = sh("systemctl show -p MainPID --value prn.service");
    let log = |cursor: &str, part: &str| {
        wait_for(part, || log_since(cursor).contains(part));
    };
    // Its credential is as old as the start.
    let before = cursor();
    Identity::keygen(Path::new("/etc/prn"), "server", &["--force"]);
    sh("systemctl reload prn.service");
    log(&before, "another certificate and key of the server");
    assert!(prn.ok(&["status", id.trim()]).contains("Running"));

    // What is wrong changes nothing.
    let config = fs::read_to_string("/etc/prn/prn.toml").unwrap();
    fs::write("/etc/prn/prn.toml", format!("adress = 'x'\n{config}")).unwrap();
    let refused = sh("systemctl reload prn.service 2>&1 || echo refused");
    assert!(refused.contains("refused"), "{refused}");
    log(&before, "unknown field");
    assert!(prn.ok(&["status", id.trim()]).contains("Running"));

    let before = cursor();
    sh("systemctl start prn-reload.path");
    fs::write("/etc/prn/prn.toml", format!("max-finished = 777\n{config}")).unwrap();
    log(&before, "is in force: other limits");
    fs::write("/etc/prn/prn.toml", &config).unwrap();
    assert!(prn.ok(&["status", id.trim()]).contains("Running"));
    assert_eq!(
        sh("systemctl show -p MainPID --value prn.service"),
        main,
        "the same supervisor"
    );
    sh("systemctl stop prn-reload.path");
}

/// A drop-in of the unit, until it is dropped.
struct DropIn(&'static str);

impl DropIn {
    fn new(name: &'static str, text: &str) -> Self {
        let folder = "/run/systemd/system/prn.service.d";
        fs::create_dir_all(folder).unwrap();
        fs::write(format!("{folder}/{name}"), text).unwrap();
        sh("systemctl daemon-reload");
        Self(name)
    }

    /// In which the key is somewhere else: `more` lines, and what the start and the reload say of
    /// it.
    fn with_key(more: &str, start: &str, reload: &str) -> Self {
        let prn = |verb: &str, key: &str| {
            let flags = "--config /etc/prn/prn.toml --delegated-cgroup";
            // A % is the service manager's.
            format!(
                "/usr/bin/prn server {verb} {flags} {}",
                key.replace('%', "%%")
            )
        };
        let (start, reload) = (prn("start", start), prn("reload", reload));
        let text = format!(
            "[Service]\nLoadCredential=\n{more}ExecStart=\nExecStart={start}\nExecReload=\nExecReload={reload}\n"
        );
        Self::new("key.conf", &text)
    }
}

impl Drop for DropIn {
    fn drop(&mut self) {
        let path = format!("/run/systemd/system/prn.service.d/{}", self.0);
        let _gone_or_not = fs::remove_file(path);
        let _ = Command::new("systemctl").arg("daemon-reload").status();
    }
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_t16_a_key_that_is_encrypted_on_the_disk_is_the_units_credential() {
    let encrypted = "/etc/credstore.encrypted/tls-key";
    let _unit = DropIn::with_key(
        &format!("LoadCredentialEncrypted=tls-key:{encrypted}\n"),
        "--tls-key credential:tls-key",
        // The service manager lets the reload read no credential, and the certificate stays.
        "",
    );
    Identity::keygen(Path::new("/etc/prn"), "server", &["--force"]);
    let client = Identity::keygen(Path::new("/etc/prn"), "client", &["--force"]);
    let key = fs::read_to_string("/etc/prn/server.key").unwrap();
    sh(&format!(
        "mkdir -p -m 0700 /etc/credstore.encrypted && \
         systemd-creds encrypt --name=tls-key --with-key=host /etc/prn/server.key {encrypted} && rm /etc/prn/server.key"
    ));
    let prn = Installed { client };
    sh(
        "systemctl daemon-reload; systemctl start prn.service || { journalctl -u prn.service --no-pager; exit 1; }",
    );
    assert_eq!(prn.ok(&["run", "--", "echo", "hello"]), "hello\n");
    sh("systemctl reload prn.service");
    assert_eq!(prn.ok(&["run", "--", "echo", "again"]), "again\n");
    let secret = key.lines().nth(1).unwrap();
    let on_disk = sh(&format!(
        "grep -rlF '{secret}' /etc/prn /etc/credstore.encrypted /var/lib/prn || true"
    ));
    assert_eq!(on_disk, "");
    let supervisor: i32 = sh("systemctl show -p MainPID --value prn.service")
        .trim()
        .parse()
        .unwrap();
    let shown = [
        sh("systemctl show prn.service"),
        sh("journalctl -u prn.service --no-pager"),
        sh(&format!(
            "tr '\\0' ' ' </proc/{supervisor}/environ; tr '\\0' ' ' </proc/{supervisor}/cmdline"
        )),
    ];
    for text in shown {
        assert!(!text.contains(secret));
    }
    drop(prn);
    sh(&format!("rm {encrypted}"));
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_a_key_in_a_token_signs_under_the_unit_and_after_its_reload() {
    let uri = "pkcs11:token=prn;object=server?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/prn/pin";
    let flag = format!("--tls-key \"{uri}\"");
    let _unit = DropIn::with_key("", &flag, &flag);
    Identity::keygen(Path::new("/etc/prn"), "server", &["--force"]);
    let client = Identity::keygen(Path::new("/etc/prn"), "client", &["--force"]);
    sh("umask 077; echo 471147114711 >/etc/prn/pin; rm -rf /var/lib/softhsm/tokens/*");
    sh("softhsm2-util --init-token --free --label prn --pin 471147114711 --so-pin 12345678");
    sh(
        "softhsm2-util --import /etc/prn/server.key --token prn --label server --id 01 --pin 471147114711 && rm /etc/prn/server.key",
    );
    sh(
        "usermod -a -G softhsm prn-signer && chgrp -R softhsm /var/lib/softhsm && chmod -R g+rwX /var/lib/softhsm",
    );
    let prn = Installed { client };
    sh(
        "systemctl daemon-reload; systemctl start prn.service || { journalctl -u prn.service --no-pager; exit 1; }",
    );
    assert_eq!(prn.ok(&["run", "--", "echo", "hello"]), "hello\n");
    let signer = || sh("pgrep -x prn-signer").trim().parse::<i32>().unwrap();
    let first = signer();
    let user = sh("id -u prn-signer");
    assert_eq!(procfs::status(first)["Uid"], [user.trim(); 4].join("\t"));
    let group = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = "0::/system.slice/prn.service/supervisor\n";
    assert_eq!(group(first), own);
    let id = prn.ok(&["start", "sleep 1000"]);
    sh("systemctl reload prn.service");
    wait_for("the end of the first", || !procfs::alive(first));
    let second = signer();
    assert_eq!(group(second), own);
    assert!(prn.ok(&["status", id.trim()]).contains("Running"));
    drop(prn);
    wait_for("the end of the second", || !procfs::alive(second));
    sh("rm -rf /var/lib/softhsm/tokens/* /etc/prn/pin");
}

/// The installed configuration as it was, when dropped.
struct Configuration(String);

impl Configuration {
    const FILE: &str = "/etc/prn/prn.toml";

    /// With this instead of that.
    fn with(that: &str, this: &str) -> Self {
        let before = fs::read_to_string(Self::FILE).unwrap();
        assert!(before.contains(that), "{before}");
        fs::write(Self::FILE, before.replace(that, this)).unwrap();
        Self(before)
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        let _ = fs::write(Self::FILE, &self.0);
    }
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_the_audit_goes_to_the_journal_whole_and_is_checked_from_there() {
    let file = "audit = \"file:/var/log/prn/audit.jsonl\"";
    let _before = Configuration::with(file, "audit = \"journal\"");
    let prn = Installed::start();
    // The longest line that there is.
    let long = "x".repeat(3000);
    for _ in 0..30 {
        prn.ok(&["run", "--", "echo", &long]);
    }
    // Its connections are kept by systemd meanwhile.
    sh("systemctl restart systemd-journald.service");
    for _ in 0..30 {
        prn.ok(&["run", "--", "true"]);
    }
    sh("systemctl stop prn.service; journalctl --sync");
    let entries = "journalctl -o cat -t prn-audit --no-pager";
    let verified = sh(&format!("{entries} | prn audit verify -"));
    assert!(
        verified.contains("as they were written") && verified.contains("lost: 0"),
        "{verified}"
    );
    let starts = sh(&format!("{entries} | grep -c '\"event\":\"start\"'"));
    assert_eq!(starts.trim(), "60");
    let shown = sh(&format!("{entries} | prn audit show --who client -"));
    let argv = "argv=[\"echo\",\"xxx";
    assert!(shown.contains(argv), "nothing of {} bytes", shown.len());
    // Whose entries they are is the journal's own knowledge, and an altered one is found.
    let of_unit = sh(&format!("{entries} -u prn.service | wc -l"));
    assert_eq!(of_unit, sh(&format!("{entries} | wc -l")));
    let altered = sh(&format!(
        "{entries} | sed '5s/client/cl1ent/' | prn audit verify - 2>&1 || echo found"
    ));
    assert!(altered.contains("found"), "{altered}");
}

/// What confines a process under the unit.
fn layers(prn: &Installed, profile: &str) -> Vec<String> {
    let id = prn.ok(&["start", "--profile", profile, "sleep 1000"]);
    let status = prn.ok(&["status", id.trim(), "-o", "json"]);
    prn.ok(&["stop", id.trim(), "--grace", "0s"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    serde_json::from_value(status["layers"].clone()).unwrap()
}

/// The unit's log since this moment.
fn log_since(cursor: &str) -> String {
    sh(&format!(
        "journalctl -u prn.service --no-pager -o cat --after-cursor='{cursor}'"
    ))
}

fn cursor() -> String {
    let shown = sh("journalctl --no-pager -n 1 --show-cursor | tail -1");
    shown.trim().trim_start_matches("-- cursor: ").to_owned()
}

const ALL_LAYERS: [&str; 3] = ["namespaces", "landlock", "system-call-filter"];

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_p1_the_installed_unit_is_in_full_force() {
    let before = cursor();
    let prn = Installed::start();
    for profile in ["default", "strict"] {
        assert_eq!(layers(&prn, profile), ALL_LAYERS, "{profile}");
        let seen = prn.ok(&[
            "run",
            "--profile",
            profile,
            "--",
            "sh",
            "-c",
            "whoami; set -- /proc/[0-9]*; echo $#; touch /tmp/x /var/tmp/y /dev/shm/z; ls $TMPDIR",
        ]);
        let seen: Vec<_> = seen.lines().collect();
        assert!(seen[0].starts_with("prn-"), "{profile}: {seen:?}");
        // The shell, which looks before it starts anything.
        assert_eq!(seen[1..], ["1", "x", "y"], "{profile}");
    }
    let supervisor = sh("systemctl show -p MainPID --value prn.service");
    let supervisor: i32 = supervisor.trim().parse().unwrap();
    assert_eq!(procfs::status(supervisor)["CapEff"], "00000000002000e1");
    let frontend = procfs::children(supervisor)[0];
    for kind in ["net", "mnt", "ipc", "uts", "user"] {
        let of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_ne!(of(frontend), of(supervisor), "{kind}");
    }
    let log = log_since(&before);
    assert!(
        log.contains("profile strict is available") && !log.contains("WARNING"),
        "{log}"
    );
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_a_unit_without_sys_admin_falls_back_and_names_the_option() {
    let folder = "/run/systemd/system/prn.service.d";
    sh(&format!(
        "mkdir -p {folder} && printf '[Service]\\nCapabilityBoundingSet=\\n\
         CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_SETPCAP CAP_NET_RAW\\n' > {folder}/least.conf \
         && systemctl daemon-reload"
    ));
    let before = cursor();
    let prn = Installed::start();
    let found = layers(&prn, "default");
    let refused = prn.prn(&["run", "--profile", "strict", "--", "true"]);
    let objects = prn.prn(&["run", "--", "sh", "-c", "ipcmk -M 4096"]);
    drop(prn);
    sh(&format!("rm -r {folder} && systemctl daemon-reload"));
    assert_eq!(found, ALL_LAYERS[1..]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && error.contains("cannot enforce profile strict"),
        "{error}"
    );
    assert!(!objects.status.success(), "{objects:?}");
    let log = log_since(&before);
    assert!(
        log.contains("WARNING") && log.contains("CapabilityBoundingSet="),
        "{log}"
    );
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_without_user_namespaces_processes_are_as_confined_and_the_frontends_root_is_said() {
    let before = cursor();
    let most = sh("sysctl -n user.max_user_namespaces");
    sh("sysctl -w user.max_user_namespaces=0");
    let prn = Installed::start();
    let found = ["default", "strict"].map(|profile| layers(&prn, profile));
    drop(prn);
    sh(&format!(
        "sysctl -w user.max_user_namespaces={}",
        most.trim()
    ));
    assert_eq!(found, [ALL_LAYERS, ALL_LAYERS]);
    let log = log_since(&before);
    assert!(log.contains("the frontend's root is not empty"), "{log}");
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_p1_systemd_knows_the_units_and_rates_them() {
    // The guest has no manual pages of any package; that they are in prn's is a test of packages.
    sh(
        "systemd-analyze verify --man=no /usr/lib/systemd/system/prn.service /usr/lib/systemd/system/prn.socket /usr/lib/systemd/system/prn-agent.service 2>&1",
    );
    // Its own exit code says whether it is above the threshold, in tenths.
    let rate = |unit: &str, most: u32| {
        let rated = sh(&format!(
            "systemd-analyze security --no-pager --offline=true --threshold={most} {unit}"
        ));
        println!("{}", rated.lines().last().unwrap());
    };
    let unit = "/usr/lib/systemd/system/prn.service";
    rate(unit, 48);
    rate("/usr/lib/systemd/system/prn-agent.service", 12);
    let strict = "/tmp/prn-strict/prn.service";
    sh(&format!(
        "mkdir -p /tmp/prn-strict && cat {unit} /usr/share/prn/strict-jobs.conf > {strict}"
    ));
    rate(strict, 30);
    // What namespaces cost in that figure (docs/install.md).
    let least = "CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_SETPCAP CAP_NET_RAW";
    sh(&format!(
        "{{ cat {unit}; printf '[Service]\\nCapabilityBoundingSet=\\nCapabilityBoundingSet={least}\\n'; }} > {strict}"
    ));
    rate(strict, 45);
    sh("rm -r /tmp/prn-strict");
}

/// The port, systemd's until this is dropped.
struct Socket;

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = Command::new("systemctl")
            .args(["stop", "prn.socket"])
            .status();
    }
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_with_prn_socket_systemd_has_the_port_and_a_client_starts_the_service() {
    let prn = Installed::start();
    sh("systemctl stop prn.service; systemctl start prn.socket");
    let _port = Socket;
    let state = || sh("systemctl is-active prn.service || :").trim().to_owned();
    assert_eq!(state(), "inactive");
    assert_eq!(prn.ok(&["run", "--", "echo", "here"]), "here\n");
    assert_eq!(state(), "active");
    // The port stays while the service is away: nobody is refused, and the next one starts it
    // again.
    sh("systemctl stop prn.service");
    assert_eq!(prn.ok(&["run", "--", "echo", "again"]), "again\n");
    // And a frontend that dies is replaced behind the same port.
    let supervisor = sh("systemctl show -p MainPID --value prn.service");
    let frontend = procfs::children(supervisor.trim().parse().unwrap())[0];
    sh(&format!("kill -KILL {frontend}"));
    wait_for("the next frontend", || {
        prn.prn(&["run", "--", "true"]).status.success()
    });
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_with_strict_jobs_processes_have_no_network_and_all_of_prn_works() {
    let prn = Installed::start();
    let attempts = "\
import os, socket
def attempt(name, act):
    try:
        act()
        print(name, 'done')
    except OSError as error:
        print(name, error.strerror)
attempt('tcp', lambda: socket.socket(socket.AF_INET))
attempt('unix', lambda: socket.socketpair())
print(sorted(os.listdir('/sys/class/net')))
";
    let said = |prn: &Installed| {
        let run = ["run", "--", "/usr/bin/python3", "-c", attempts];
        prn.ok(&run).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(said(&prn)[..2], ["tcp done", "unix done"]);
    sh("systemctl stop prn.service");
    let strict = fs::read_to_string("/usr/share/prn/strict-jobs.conf").unwrap();
    let _strict = DropIn::new("strict-jobs.conf", &strict);
    let _port = Socket;
    sh("systemctl start prn.socket");
    let expected = [
        "tcp Address family not supported by protocol",
        "unix done",
        "['lo']",
    ];
    assert_eq!(said(&prn), expected);
    let shown = sh("systemctl show -p MemoryDenyWriteExecute,PrivateDevices --value prn.service");
    assert_eq!(shown, "yes\nyes\n");
    for profile in ["default", "strict"] {
        assert_eq!(layers(&prn, profile), ALL_LAYERS, "{profile}");
    }
    // What prn itself has to be able to do under it: a terminal, a workspace, a reload, a stop.
    prn.ok(&["workspace", "create", "w"]);
    prn.ok(&["run", "--workspace", "w", "--", "sh", "-c", "echo x >f"]);
    prn.ok(&["workspace", "remove", "w"]);
    sh("systemctl reload prn.service");
    drop(prn);
    assert_eq!(
        sh("systemctl show -p Result --value prn.service").trim(),
        "success"
    );
}

/// Commands of docs/operate/logs.md in blocks of the shell, those for text first.
fn log_commands() -> [Vec<&'static str>; 2] {
    const TEXT: &str = include_str!("../../docs/operate/logs.md");
    let mut blocks = TEXT.split("```sh\n").skip(1).map(|rest| {
        let block = rest.split("```").next().unwrap();
        block.lines().collect::<Vec<_>>()
    });
    [blocks.next().unwrap(), blocks.next().unwrap()]
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_the_journal_has_priorities_and_each_command_of_the_manual_finds_something() {
    let [of_text, of_json] = log_commands();
    let replace_frontend = |prn: &Installed| {
        let supervisor = sh("systemctl show -p MainPID --value prn.service");
        let frontend = procfs::children(supervisor.trim().parse().unwrap())[0];
        sh(&format!("kill -KILL {frontend}"));
        wait_for("the next frontend", || prn.prn(&["list"]).status.success());
        // Somebody who is refused.
        sh("openssl s_client -connect 127.0.0.1:50051 </dev/null >/dev/null 2>&1 || :");
    };
    let run = |commands: &[&str]| {
        for command in commands {
            wait_for(command, || {
                sh("journalctl --sync");
                !sh(command).is_empty()
            });
        }
    };
    let before = cursor();
    let prn = Installed::start();
    replace_frontend(&prn);
    run(&of_text);
    let of = |priorities: &str| {
        sh(&format!(
            "journalctl -u prn.service -o cat --no-pager -p {priorities} --after-cursor='{before}'"
        ))
    };
    let (warnings, others) = (of("warning..warning"), of("info..info"));
    for line in [
        "prn-supervisor: audit: the frontend was killed by SIGKILL\n",
        "prn-frontend: connection refused: ",
    ] {
        assert!(warnings.contains(line), "{line}: {warnings}");
        assert!(!others.contains(line), "{line}: {others}");
    }
    assert!(others.contains("prn-frontend: serving: "), "{others}");
    assert!(!warnings.contains("serving: "), "{warnings}");
    drop(prn);

    let _json = DropIn::new(
        "log.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/prn server start --config /etc/prn/prn.toml \
         --delegated-cgroup --tls-key %d/tls-key --log-format json\n",
    );
    let prn = Installed::start();
    replace_frontend(&prn);
    run(&of_json);
    let found = sh(
        "journalctl -u prn.service -o cat --no-pager -p warning..warning \
         | jq -Rr 'fromjson? | select(.peer) | .level'",
    );
    assert!(found.lines().all(|level| level == "warning") && !found.is_empty());
}

#[test]
#[ignore = "guest: needs an installed prn"]
fn guest_p5_nothing_installed_is_setuid_or_writable_by_others() {
    let found = sh(
        "find /usr/bin/prn /usr/libexec/prn /usr/lib/systemd/system/prn.service /etc/prn -perm /6022 ! -type l",
    );
    assert_eq!(found, "");
    assert_eq!(
        sh("stat -c %a /etc/prn/prn.toml /etc/prn").trim(),
        "600\n700"
    );
}

#[test]
#[ignore = "guest: needs unprivileged ping to be allowed by the package"]
fn guest_the_packages_sysctl_lets_a_process_ping() {
    let prn = Installed::start();
    let text = prn.ok(&["run", "--", "ping", "-c", "1", "127.0.0.1"]);
    assert!(text.contains("1 received"), "{text}");
}

#[test]
#[ignore = "guest: needs an installed prn and the controllers"]
fn guest_x15_the_installed_configuration_limits_processes_and_its_port_is_reserved() {
    let prn = Installed::start();
    let id = prn.ok(&["start", "sleep 1000"]);
    let status: serde_json::Value =
        serde_json::from_str(&prn.ok(&["status", id.trim(), "-o", "json"])).unwrap();
    let limits = &status["limits"];
    assert_eq!(limits["memory_bytes"], MEMORY, "{status}");
    assert_eq!(limits["cpu_millis"], CPU_MILLIS, "{status}");
    assert_eq!(limits["pids"], PIDS, "{status}");
    let reserved = sh("sysctl -n net.ipv4.ip_local_reserved_ports");
    assert_eq!(reserved.trim(), "50051");
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_n1_n3_input_and_terminals_are_there_under_the_unit() {
    let prn = Installed::start();
    for profile in ["default", "strict"] {
        let script = "t=$(tty); stty size; stat -c '%u %a' $t; id -u; echo x >/dev/tty";
        let argv = [
            "start",
            "-t",
            "--profile",
            profile,
            "--",
            "sh",
            "-c",
            script,
        ];
        let id = prn.ok(&argv).trim().to_owned();
        let shown = prn.ok(&["logs", &id]);
        let lines: Vec<_> = shown.lines().collect();
        let [size, owner, uid, last] = lines[..] else {
            panic!("{shown:?}")
        };
        assert_eq!((size, last), ("24 80", "x"));
        assert_eq!(owner, format!("{uid} 600"));
    }
    let mut run = prn
        .command(&["run", "--", "wc", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    run.stdin.take().unwrap().write_all(b"data\n").unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "5\n");
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_j3_j5_j7_s9_a_process_under_the_unit_has_what_is_its_own_and_nothing_of_the_units() {
    let prn = Installed::start();
    for profile in ["default", "strict"] {
        let run = |script: &str| prn.ok(&["run", "--profile", profile, "--", "sh", "-c", script]);
        let mut names: Vec<String> = run("env")
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
            .collect();
        names.sort();
        // PWD is the shell's.
        assert_eq!(
            names,
            ["HOME", "LANG", "PATH", "PWD", "TMPDIR"],
            "{profile}"
        );
        assert_eq!(
            run("cat /proc/self/oom_score_adj; umask").trim(),
            "500\n0022",
            "{profile}"
        );
        // Each of these asks process 1 for something that only root may have: by its sockets, then
        // by cgroups.
        let ways = "for way in 'systemctl start rescue.service' 'systemctl stop prn.service' 'systemd-run true' \
                    'systemctl set-property prn.service CPUWeight=1' 'loginctl terminate-user root' \
                    'mkdir /sys/fs/cgroup/x' 'touch /run/systemd/x'; do \
                    if timeout 60 $way > /dev/null 2>&1 < /dev/null; then echo \"done: $way\"; fi; done; echo end";
        assert_eq!(run(ways), "end\n", "{profile}");
        // Its own directories are writable, and gone after it, whatever the unit's filters refuse
        // to the supervisor.
        assert_eq!(
            run("mkdir -p d/e $TMPDIR/d && touch d/e/f $TMPDIR/d/f && echo made"),
            "made\n",
            "{profile}"
        );
    }
    wait_for("directories to go", || {
        let names = fs::read_dir("/var/lib/prn")
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        !names
            .into_iter()
            .any(|name| name.to_string_lossy().trim_end_matches(".tmp").len() == 32)
    });
    assert_eq!(sh("systemctl is-active prn.service").trim(), "active");
}

#[test]
#[ignore = "guest: needs systemd and an installed prn"]
fn guest_new_files_change_nothing_before_a_restart_and_the_manual_says_how_to_see_it() {
    let manual = include_str!("../../docs/operate/upgrade.md");
    let block = manual.split("```sh\n").nth(1).unwrap();
    let commands: Vec<_> = block.split("```").next().unwrap().lines().collect();
    let [executed, files, unit] = commands.try_into().unwrap();
    let differ = || {
        let said = sh(files);
        let (running, installed) = said.trim().split_once('\n').unwrap();
        running != installed
    };
    let prn = Installed::start();
    let id = prn.ok(&["start", "--", "sleep", "1000"]);
    let id = id.trim();
    assert_eq!(sh(executed).trim(), "/usr/libexec/prn/prn-supervisor");
    assert_eq!((differ(), sh(unit).trim()), (false, "no"));
    // As a package puts them there.
    sh(
        "cd /usr/libexec/prn; for file in *; do cp -p $file $file.new && mv $file.new $file; done; \
         touch /usr/lib/systemd/system/prn.service",
    );
    assert!(sh(executed).ends_with(" (deleted)\n"));
    assert_eq!((differ(), sh(unit).trim()), (true, "yes"));
    let supervisor = sh("systemctl show -p MainPID --value prn.service");
    let frontend = procfs::children(supervisor.trim().parse().unwrap())[0];
    sh(&format!("kill -KILL {frontend}"));
    wait_for("the next frontend, of the same build", || {
        let status = prn.prn(&["status", id, "-o", "json"]);
        String::from_utf8_lossy(&status.stdout).contains("\"running\"")
    });
    sh("systemctl daemon-reload; systemctl restart prn.service");
    assert_eq!((differ(), sh(unit).trim()), (false, "no"));
    assert!(
        !prn.prn(&["status", id]).status.success(),
        "it is forgotten"
    );
}
