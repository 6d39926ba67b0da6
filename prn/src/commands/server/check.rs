//! What `prn server check` looks at beside what a start needs: what makes a server that starts stop
//! to serve some day. Runs as whoever calls it; reads files of this host and of the configuration,
//! and changes nothing.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use prn_client::credentials::{CertificateSource, KeySource, now};
use prn_launch::access::types::AccessName;
use prn_launch::access::{AccessError, check as check_access};
use prn_launch::lines::{LINES_A_SECOND, chain};
use prn_launch::options::Options;
use prn_launch::{
    Conversation, FRONTEND_MEMORY, Finding, ServerError, Verdict, output_budget, rehearse,
};
use prn_proto::defaults::ADDRESS;
use prn_proto::tls::{Certificate, Own, Peer, shown_time};
use prn_proto::units::show_size;

/// A certificate that ends earlier is to be replaced now.
const RENEW_WITHIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Before that (2026-01-01T00:00:00Z) no clock of a server is right: prn is younger.
const YOUNGEST: u64 = 1_767_225_600;

/// Where something is looked up; a test has another one.
#[derive(Debug, Clone, Copy)]
struct Root<'a>(&'a Path);

impl Root<'_> {
    fn path(self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn read(self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    fn has(self, path: &str) -> bool {
        self.path(path).exists()
    }
}

/// What is to be checked for.
#[derive(Debug)]
pub struct Case<'a> {
    /// What the server is started with.
    pub options: &'a Options,
    /// The file that this is from.
    pub config: Option<&'a Path>,
    /// Bytes of memory that there are for it.
    pub memory: u64,
}

fn finding(name: &'static str, verdict: Verdict, found: String, cost: Option<String>) -> Finding {
    Finding {
        name,
        verdict,
        found,
        cost,
        blocks: false,
    }
}

fn ok(name: &'static str, found: impl Into<String>) -> Finding {
    finding(name, Verdict::Ok, found.into(), None)
}

fn limited(name: &'static str, found: impl Into<String>, cost: impl Into<String>) -> Finding {
    finding(name, Verdict::Limited, found.into(), Some(cost.into()))
}

/// Looks at all of it, in the order of printing.
pub fn findings(case: &Case<'_>) -> Vec<Finding> {
    let root = Root(Path::new("/"));
    let mut all = vec![clock(root, now())];
    all.extend(certificates(case));
    let server = Conversation::begin(case.options.state_dir());
    let is_running = server.is_ok();
    let server = server.ok().and_then(|server| server.pid());
    let address = case.options.address.as_ref();
    let address = address.map_or(ADDRESS, |address| &address.0);
    if case.config.is_some() {
        let is_refused = all.iter().any(|finding| finding.blocks);
        all.extend(rehearsed(case.options, is_refused));
        all.extend(held(case.options.state_dir(), is_running));
        all.push(taken(root, server, address).unwrap_or_else(|| port(root, address)));
    } else {
        all.push(port(root, address));
    }
    all.push(limits(case.options));
    let of_group = server.and_then(|pid| group_memory(root, pid));
    all.push(memory(case, of_group.unwrap_or(u64::MAX)));
    all.extend(disk(case.options.state_dir()));
    all.extend(server.and_then(running));
    all.extend(journal(root, case.options));
    all
}

/// Certificates and signatures are valid for some time only, by this clock.
fn clock(root: Root<'_>, now: Duration) -> Finding {
    let name = "clock";
    let shown = shown_time(now);
    if now.as_secs() < YOUNGEST {
        let cost = "it is wrong: certificates are not valid yet, and no client is let in. Set it, and have it kept by systemd-timesyncd or chrony";
        return limited(name, shown, cost);
    }
    if root.has("/run/systemd/timesync/synchronized") {
        return ok(name, format!("{shown}, kept by systemd-timesyncd"));
    }
    let others = [
        ("chronyd", "/run/chrony/chronyd.pid"),
        ("ntpd", "/run/ntpd.pid"),
        ("openntpd", "/run/openntpd.pid"),
    ];
    if let Some((daemon, _)) = others.iter().find(|(_, file)| root.has(file)) {
        return ok(name, format!("{shown}, kept by {daemon}"));
    }
    if !root.has("/run/systemd/system") {
        return ok(name, format!("{shown}, the host's"));
    }
    limited(
        name,
        format!("{shown}, and no time daemon that has synchronised it"),
        "a clock that drifts refuses certificates and signed starts: enable systemd-timesyncd or chrony (timedatectl tells)",
    )
}

/// The server's certificate and its clients', which end some day.
fn certificates(case: &Case<'_>) -> Vec<Finding> {
    let name = "server's certificate";
    let mut all = Vec::new();
    if let Some(path) = &case.options.server_cert {
        let own = CertificateSource::File(path.clone()).load_as(Own::from_pem);
        all.push(match own {
            Ok(own) => {
                let how = "`prn rotate server` makes the next one (operate/access.md)";
                let ends = [(path.display().to_string(), own.certificate)];
                of_ends(name, &ends, now(), how)
            }
            Err(error) => unusable(name, &error),
        });
    }
    let Some(config) = case.config else {
        return all;
    };
    let name = "clients' certificates";
    // What is said of the file is found here, in this line.
    all.push(match check_access(config, &|_| {}) {
        Ok(access) => {
            let of_client = |(client, peer): &(AccessName, Peer)| {
                let each = peer.certificates.iter();
                each.map(|one| (client.to_string(), one.clone()))
                    .collect::<Vec<_>>()
            };
            let ends: Vec<_> = access.known.iter().flat_map(of_client).collect();
            let how = "`prn rotate client` makes the next one, `prn pin add` lets it in";
            of_ends(name, &ends, now(), how)
        }
        Err(ServerError::Access(AccessError(problems))) => {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            blocking(name, problems.join("; "), "`prn policy check` tells each")
        }
        Err(error) => unusable(name, &error),
    });
    all
}

fn blocking(name: &'static str, found: String, cost: &str) -> Finding {
    Finding {
        blocks: true,
        ..finding(name, Verdict::Missing, found, Some(cost.to_owned()))
    }
}

/// What a start refuses as well.
fn unusable(name: &'static str, error: &dyn std::error::Error) -> Finding {
    blocking(name, chain(error), "`prn server start` refuses it")
}

/// The first of these to end.
fn of_ends(name: &'static str, all: &[(String, Certificate)], now: Duration, how: &str) -> Finding {
    let ends = all
        .iter()
        .filter_map(|(whose, one)| Some((one.not_after()?, whose)));
    let mut ends: Vec<_> = ends.collect();
    ends.sort();
    let Some((first, whose)) = ends.first() else {
        return ok(name, format!("{}, none of which ends", all.len()));
    };
    let soon: Vec<_> = ends
        .iter()
        .filter(|(end, _)| *end < now + RENEW_WITHIN)
        .map(|(end, whose)| match end.checked_sub(now) {
            None => format!("{whose} has ended at {}", shown_time(*end)),
            Some(_) => format!("{whose} ends at {}", shown_time(*end)),
        })
        .collect();
    if soon.is_empty() {
        return ok(
            name,
            format!(
                "{}, {whose} the first to end: {}",
                all.len(),
                shown_time(*first)
            ),
        );
    }
    let cost = format!("whoever has it is refused from then on: {how}");
    limited(name, soon.join("; "), cost)
}

/// Values of the configuration, and the key, as a start takes them. `is_refused`: a certificate is
/// not taken, which is said already.
fn rehearsed(options: &Options, is_refused: bool) -> Vec<Finding> {
    let beside = options.server_cert.as_ref();
    let beside = beside.map(|path| path.with_extension("key"));
    let beside = beside.filter(|path| path.exists());
    let source = options.tls_key.clone().or_else(KeySource::from_environment);
    let is_named = source.is_some();
    let source = source.or_else(|| beside.map(KeySource::File));
    let name = match &source {
        Some(KeySource::File(_)) => "key file",
        _ => "key",
    };
    let later = |why: &str, cost: &str| limited(name, format!("not looked at: {why}"), cost);
    let passed = std::env::var_os("CREDENTIALS_DIRECTORY").is_some();
    let file = source.as_ref().and_then(KeySource::file).and_then(key_file);
    let is_open = file
        .as_ref()
        .is_some_and(|file| file.verdict != Verdict::Ok);
    let with_key = Options {
        tls_key: source.clone(),
        ..options.clone()
    };
    let without = Options {
        tls_key: None,
        ..options.clone()
    };
    let (values, key) = match &source {
        // Its program is run and its token asked by a start, which is root's.
        Some(KeySource::Command(_) | KeySource::Token(_)) if !geteuid().is_root() => {
            (rehearse(&without).0, later("root runs it", "ask as root"))
        }
        Some(KeySource::Credential(_)) if !passed => {
            let cost = "a start by hand has none either: start the unit, whose log says if it is not taken";
            let why = "the service manager gives it to the unit alone";
            (rehearse(&without).0, later(why, cost))
        }
        // The unit passes a copy of it, whose mode is another one.
        Some(KeySource::File(_)) if !is_named && is_open => {
            let open = file.unwrap_or_else(|| later("it is open to others", "chmod 600 on it"));
            (rehearse(&without).0, open)
        }
        _ if is_refused => {
            let cost = "the line above says what a start refuses before it";
            (rehearse(&without).0, later("the certificate", cost))
        }
        Some(source) => match rehearse(&with_key) {
            (values, Ok(())) => {
                let found = || ok(name, format!("{source}: the certificate's"));
                (values, file.unwrap_or_else(found))
            }
            (values, Err(error)) => (values, unusable(name, &error)),
        },
        None => {
            let cost = "name it by tls-key, --tls-key or PRN_TLS_KEY";
            (
                rehearse(&without).0,
                blocking(name, "none".to_owned(), cost),
            )
        }
    };
    let values = values.map(|error| unusable("configuration", &error));
    values.into_iter().chain([key]).collect()
}

/// Whether another server, or whoever opened it, has locked the state folder, as a start does.
fn held(state_dir: &Path, is_running: bool) -> Option<Finding> {
    let name = "state folder's lock";
    if is_running {
        let found = "the server that runs has it: a second one would be refused";
        return Some(ok(name, found));
    }
    // Shared, and for a moment: a start that comes now waits for longer.
    match fs::File::open(state_dir).ok()?.try_lock_shared() {
        Err(fs::TryLockError::WouldBlock) => Some(blocking(
            name,
            format!("another process has locked {}", state_dir.display()),
            "give this server another state-dir and instance, or end the other one (`fuser DIR` finds it)",
        )),
        _ => Some(ok(name, "free")),
    }
}

/// What keeps a start from listening. `None`: nothing, or the server that runs does, or the service
/// manager for it.
fn taken(root: Root<'_>, server: Option<i32>, address: &str) -> Option<Finding> {
    let name = "port";
    let found = |error: std::io::Error| {
        let cost = "`prn server start` cannot listen there: choose another address, or see who has it (`ss -ltnp`)";
        blocking(name, format!("{address}: {error}"), cost)
    };
    let all: Vec<_> = match address.to_socket_addrs() {
        Ok(all) => all.collect(),
        Err(error) => return Some(found(error)),
    };
    // As a start: the first that can be had.
    let tried = || all.iter().map(TcpListener::bind);
    let error = tried().find_map(Result::err)?;
    let is_ours = || {
        let mut holders = server.into_iter().chain([1]);
        holders.any(|pid| all.iter().any(|one| listens(root, pid, one.port())))
    };
    let is_low = error.kind() == ErrorKind::PermissionDenied && !geteuid().is_root();
    if tried().any(|one| one.is_ok()) || is_low || is_ours() {
        return None;
    }
    Some(found(error))
}

/// Whether this process has a socket that listens at a port (proc_net_tcp, kernel doc).
fn listens(root: Root<'_>, pid: i32, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let end = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&end) && *fields.get(3)? == LISTEN;
        let inode = fields.get(9).filter(|_| is_it)?;
        Some(PathBuf::from(format!("socket:[{inode}]")))
    };
    let tables = ["tcp", "tcp6"].map(|table| root.read(&format!("/proc/{pid}/net/{table}")));
    let tables = tables.into_iter().flatten();
    let sockets: Vec<_> = tables
        .flat_map(|table| table.lines().filter_map(inode).collect::<Vec<_>>())
        .collect();
    let open = fs::read_dir(root.path(&format!("/proc/{pid}/fd")));
    let mut open = open.into_iter().flatten().flatten();
    open.any(|fd| fs::read_link(fd.path()).is_ok_and(|to| sockets.contains(&to)))
}

/// Who can read the key's file.
fn key_file(path: &Path) -> Option<Finding> {
    let name = "key file";
    let shown = path.display();
    let file = fs::metadata(path).ok()?;
    let mode = file.mode() & 0o7777;
    let found = format!("{shown}, mode {mode:04o}, of user id {}", file.uid());
    Some(if mode & 0o077 != 0 {
        limited(
            name,
            found,
            format!(
                "others can read the server's key: chmod 600 {shown}; if they have, `prn rotate server`"
            ),
        )
    } else if file.uid() != 0 {
        limited(
            name,
            found,
            format!("that user can read the server's key and replace it: chown root {shown}"),
        )
    } else {
        ok(name, found)
    })
}

/// What one process can take where it asks for nothing.
fn limits(options: &Options) -> Finding {
    let name = "limits";
    let size = |size: Option<prn_proto::units::Size>| size.map(|size| show_size(size.0));
    let all = [
        (
            "cpu",
            options
                .max_cpu
                .or(options.default_cpu)
                .map(|cpu| format!("{}.{:03}", cpu.0 / 1000, cpu.0 % 1000)),
        ),
        (
            "memory",
            size(options.max_memory.or(options.default_memory)),
        ),
        (
            "pids",
            options
                .max_pids
                .or(options.default_pids)
                .map(|pids| pids.to_string()),
        ),
    ];
    let shown = all
        .iter()
        .map(|(name, value)| format!("{name} {}", value.as_deref().unwrap_or("none")));
    let shown = shown.collect::<Vec<_>>().join(", ");
    let missing: Vec<_> = all
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(name, _)| format!("max-{name}"))
        .collect();
    if missing.is_empty() {
        return ok(name, shown);
    }
    let cost = format!(
        "a process that asks for no limit has none but its role's, and can take all of the machine: set {}, or default-… of them",
        missing.join(", ")
    );
    limited(name, shown, cost)
}

/// A port of the range that connections get theirs from may be in use when the server starts.
fn port(root: Root<'_>, address: &str) -> Finding {
    let name = "port";
    let port = address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let Some(port) = port.filter(|port: &u16| *port != 0) else {
        return ok(name, format!("{address}: of the kernel's choice"));
    };
    let range = root.read("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|end| end.parse().ok());
    let (Some(first), Some(last)) = (ends.next(), ends.next()) else {
        return ok(name, format!("{port}"));
    };
    if !(first..=last).contains(&port) {
        let found = format!("{port}, outside of the range {first}-{last} of connections");
        return ok(name, found);
    }
    let reserved = root.read("/proc/sys/net/ipv4/ip_local_reserved_ports");
    if is_listed(&reserved.unwrap_or_default(), port) {
        return ok(
            name,
            format!("{port}, reserved in the range {first}-{last}"),
        );
    }
    limited(
        name,
        format!("{port}, in the range {first}-{last} that connections get their ports from"),
        format!(
            "a connection of another program may have it when the server starts: sysctl net.ipv4.ip_local_reserved_ports={port}, in /etc/sysctl.d"
        ),
    )
}

/// Whether a port is in a list such as "8080,50000-50100" (ip_local_reserved_ports).
fn is_listed(list: &str, port: u16) -> bool {
    let number = |text: &str| text.trim().parse::<u16>().ok();
    list.trim().split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((number(first), number(last)), (Some(first), Some(last)) if (first..=last).contains(&port))
    })
}

/// The least that the groups of the running server leave it: its own, as the unit's, and those
/// above (memory.max, cgroups(7)). `None`: they leave it all.
fn group_memory(root: Root<'_>, pid: i32) -> Option<u64> {
    const MOUNT: &str = "/sys/fs/cgroup";
    let groups = root.read(&format!("/proc/{pid}/cgroup"))?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = Path::new(MOUNT).join(own);
    let all = own.ancestors().take_while(|group| group.starts_with(MOUNT));
    let limits = all.filter_map(|group| root.read(group.join("memory.max").to_str()?));
    limits.filter_map(|limit| limit.trim().parse().ok()).min()
}

/// What the server itself may take of the memory that there is, or that its group leaves it.
fn memory(case: &Case<'_>, of_group: u64) -> Finding {
    let name = "memory budget";
    let memory = case.memory.min(of_group);
    let output = output_budget(case.options, memory);
    let frontend = case.options.frontend_memory;
    let frontend = frontend.map_or(FRONTEND_MEMORY, |size| size.0);
    let found = format!(
        "{} of output and {} of the frontend, of {}",
        show_size(output),
        show_size(frontend),
        show_size(memory)
    );
    // The supervisor, and processes, need some as well.
    if output.saturating_add(frontend) <= memory / 2 {
        return ok(name, found);
    }
    limited(
        name,
        found,
        "less than half is left for processes: lower output-budget or frontend-memory, keep output on disk (output-disk), or raise MemoryMax= of the unit where that bounds it",
    )
}

/// Where working directories, workspaces and output on disk are.
fn disk(state_dir: &Path) -> Option<Finding> {
    let folder = std::path::absolute(state_dir).ok()?;
    let folder = folder.ancestors().find(|folder| folder.exists())?;
    let disk = statvfs(folder).ok()?;
    let sum = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
    let space = Share {
        free: sum(disk.blocks_available()),
        all: sum(disk.blocks()),
    };
    let files = Share {
        free: disk.files_available(),
        all: disk.files(),
    };
    Some(of_disk(folder, space, files))
}

/// How much of something is left.
#[derive(Debug, Clone, Copy)]
struct Share {
    free: u64,
    all: u64,
}

impl Share {
    /// A tenth of it is not. What has no number of its own, as inodes of btrfs, is not scarce.
    fn is_scarce(self) -> bool {
        self.all > 0 && self.free < self.all / 10
    }
}

fn of_disk(folder: &Path, space: Share, files: Share) -> Finding {
    let name = "disk";
    let mut found = format!(
        "{}: {} of {} free",
        folder.display(),
        show_size(space.free),
        show_size(space.all)
    );
    if files.all > 0 {
        found.push_str(&format!(", {} of {} inodes", files.free, files.all));
    }
    if space.is_scarce() || files.is_scarce() {
        let cost = "when it is full, processes cannot write and output on disk is lost: bound workspaces (max-workspace-disk), `prn prune`, or choose another --state-dir";
        return limited(name, found, cost);
    }
    ok(name, found)
}

/// The server that runs, and how many descriptors it has left.
fn running(pid: i32) -> Option<Finding> {
    let name = "running server";
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let most = open_files(&limits)?;
    let open = u64::try_from(open).ok()?;
    let found = format!("process {pid}, {open} of {most} descriptors in use");
    if open < most / 10 * 8 {
        return Some(ok(name, found));
    }
    let cost = "when none is left, starts are refused: raise LimitNOFILE=, or lower --max-finished; `prn server status` tells what is in use";
    Some(limited(name, found, cost))
}

/// The soft limit in /proc/PID/limits (proc_pid_limits(5)).
fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether journald takes what the server says, where it does at all (journald.conf(5)).
fn journal(root: Root<'_>, options: &Options) -> Option<Finding> {
    let name = "journal";
    if !root.has("/run/systemd/journal/socket") {
        return None;
    }
    let rate = rate(root);
    let (interval, burst) = (rate.interval, rate.burst);
    if interval == 0 || burst == 0 {
        return Some(ok(name, "takes all lines (no rate limit)"));
    }
    let audit = options.audit.as_ref().map(ToString::to_string);
    let is_audit = audit.is_some_and(|audit| audit == "journal");
    let found = format!(
        "takes {burst} lines in {interval} s of a service{}",
        if is_audit {
            ", and the audit goes there"
        } else {
            ""
        }
    );
    // Twice the frontend's: the supervisor has something to say as well.
    let of_frontend = u64::try_from(LINES_A_SECOND).unwrap_or(u64::MAX);
    let needed = of_frontend.saturating_mul(interval).saturating_mul(2);
    if is_audit {
        let cost = "lines of the audit beyond that are lost, and `prn audit verify` finds the gap: RateLimitIntervalSec=0 in a journald.conf of the namespace, or audit = \"file:…\" (operate/audit.md)";
        return Some(limited(name, found, cost));
    }
    if burst >= needed {
        return Some(ok(name, found));
    }
    let cost = format!(
        "lines of the server's beyond that are lost: RateLimitBurst={needed} in /etc/systemd/journald.conf.d/prn.conf, then systemctl restart systemd-journald"
    );
    Some(limited(name, found, cost))
}

/// The rate limit in force: 10000 lines in 30 s, if nothing else is said.
#[derive(Debug, PartialEq, Eq)]
struct Rate {
    interval: u64,
    burst: u64,
}

fn rate(root: Root<'_>) -> Rate {
    let mut rate = Rate {
        interval: 30,
        burst: 10_000,
    };
    for file in journald_files(root) {
        let text = fs::read_to_string(file).unwrap_or_default();
        for (key, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
            match key.trim() {
                "RateLimitIntervalSec" => rate.interval = seconds(value).unwrap_or(rate.interval),
                "RateLimitBurst" => rate.burst = value.trim().parse().unwrap_or(rate.burst),
                _ => {}
            }
        }
    }
    rate
}

/// The main file, then drop-ins by their names, whatever their folder; a later setting wins.
fn journald_files(root: Root<'_>) -> Vec<PathBuf> {
    let folders = ["/usr/lib/systemd", "/run/systemd", "/etc/systemd"];
    let main = folders
        .iter()
        .rev()
        .map(|folder| root.path(&format!("{folder}/journald.conf")))
        .find(|file| file.exists());
    let mut named = std::collections::BTreeMap::new();
    for folder in folders {
        let folder = root.path(&format!("{folder}/journald.conf.d"));
        for file in fs::read_dir(folder).into_iter().flatten().flatten() {
            if file.path().extension().is_some_and(|end| end == "conf") {
                named.insert(file.file_name(), file.path());
            }
        }
    }
    main.into_iter().chain(named.into_values()).collect()
}

/// A span such as "30s", "1min" or "2" (systemd.time(7)), as far as whole seconds go.
fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit.trim() {
        "" | "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hr" | "hour" | "hours" => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files in it.
    fn with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = Root(folder.path()).path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn verdict(finding: &Finding) -> Verdict {
        let says_what_to_do = finding.cost.is_some();
        assert_eq!(
            finding.verdict != Verdict::Ok,
            says_what_to_do,
            "{finding:?}"
        );
        finding.verdict
    }

    #[test]
    fn a_clock_is_sane_and_kept() {
        let today = Duration::from_secs(YOUNGEST + 1);
        let of = |files: &[(&str, &str)], now| clock(Root(with(files).path()), now);
        let kept = [("/run/systemd/timesync/synchronized", "")];
        assert_eq!(verdict(&of(&kept, today)), Verdict::Ok);
        let early = of(&kept, Duration::from_secs(1000));
        assert_eq!(verdict(&early), Verdict::Limited);
        let chrony = of(
            &[
                ("/run/chrony/chronyd.pid", "1"),
                ("/run/systemd/system/x", ""),
            ],
            today,
        );
        assert!(verdict(&chrony) == Verdict::Ok && chrony.found.contains("chronyd"));
        assert_eq!(
            verdict(&of(&[("/run/systemd/system/x", "")], today)),
            Verdict::Limited
        );
        assert_eq!(verdict(&of(&[], today)), Verdict::Ok, "in a container");
    }

    #[test]
    fn a_port_that_connections_may_get_is_to_be_reserved() {
        let of = |reserved: &str, address: &str| {
            let files = [
                ("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
                ("/proc/sys/net/ipv4/ip_local_reserved_ports", reserved),
            ];
            port(Root(with(&files).path()), address)
        };
        let open = of("\n", "0.0.0.0:50051");
        assert_eq!(verdict(&open), Verdict::Limited);
        assert!(open.cost.unwrap().contains("ip_local_reserved_ports=50051"));
        for reserved in ["50051\n", "8080,50000-50100\n"] {
            assert_eq!(verdict(&of(reserved, "[::]:50051")), Verdict::Ok);
        }
        assert_eq!(verdict(&of("50052-50060\n", "a:50051")), Verdict::Limited);
        assert_eq!(verdict(&of("\n", "127.0.0.1:5000")), Verdict::Ok);
        assert_eq!(verdict(&of("\n", "127.0.0.1:0")), Verdict::Ok);
    }

    #[test]
    fn what_is_scarce_of_a_disk_is_said() {
        let share = |free, all| Share { free, all };
        let of = |space, files| verdict(&of_disk(Path::new("/state"), space, files));
        assert_eq!(of(share(50, 100), share(50, 100)), Verdict::Ok);
        assert_eq!(of(share(9, 100), share(50, 100)), Verdict::Limited);
        assert_eq!(of(share(50, 100), share(1, 100)), Verdict::Limited);
        assert_eq!(
            of(share(50, 100), share(0, 0)),
            Verdict::Ok,
            "it has no inodes"
        );
    }

    #[test]
    fn the_servers_own_memory_leaves_half_for_processes() {
        let of = |budget: Option<u64>| {
            let options = Options {
                output_budget: budget.map(prn_proto::units::Size),
                ..Options::default()
            };
            let case = Case {
                options: &options,
                config: None,
                memory: 4 << 30,
            };
            [u64::MAX, 1 << 30].map(|of_group| verdict(&memory(&case, of_group)))
        };
        assert_eq!(of(None), [Verdict::Ok, Verdict::Limited]);
        assert_eq!(of(Some(2 << 30)), [Verdict::Limited; 2]);
    }

    #[test]
    fn the_memory_of_a_server_is_that_of_the_least_of_its_groups() {
        let of = |files: &[(&str, &str)]| group_memory(Root(with(files).path()), 7);
        let group = (
            "/proc/7/cgroup",
            "0::/system.slice/prn.service/supervisor\n",
        );
        let above = (
            "/sys/fs/cgroup/system.slice/prn.service/memory.max",
            "4096\n",
        );
        let own = (
            "/sys/fs/cgroup/system.slice/prn.service/supervisor/memory.max",
            "max\n",
        );
        let others = ("/sys/fs/cgroup/user.slice/memory.max", "1\n");
        assert_eq!(of(&[group, above, own, others]), Some(4096));
        assert_eq!(of(&[group, own, others]), None);
        assert_eq!(of(&[above]), None);
    }

    #[test]
    fn the_journals_limit_is_that_of_the_last_file_that_says_one() {
        let of = |files: &[(&str, &str)]| rate(Root(with(files).path()));
        assert_eq!(
            of(&[]),
            Rate {
                interval: 30,
                burst: 10_000
            }
        );
        let files = [
            (
                "/etc/systemd/journald.conf",
                "[Journal]\n#RateLimitBurst=1\nRateLimitBurst=2\n",
            ),
            (
                "/usr/lib/systemd/journald.conf.d/10-a.conf",
                "RateLimitBurst=3\n",
            ),
            (
                "/etc/systemd/journald.conf.d/20-b.conf",
                "RateLimitIntervalSec=1min\nRateLimitBurst=4",
            ),
            ("/etc/systemd/journald.conf.d/10-a.conf", ""),
            (
                "/etc/systemd/journald.conf.d/30-c.txt",
                "RateLimitBurst=5\n",
            ),
        ];
        assert_eq!(
            of(&files),
            Rate {
                interval: 60,
                burst: 4
            }
        );
    }

    #[test]
    fn a_journal_that_drops_lines_is_said_with_the_number_that_it_needs() {
        let of = |conf: &str, audit: Option<&str>| {
            let files = [
                ("/run/systemd/journal/socket", ""),
                ("/etc/systemd/journald.conf", conf),
            ];
            let options = Options {
                audit: audit.map(|audit| audit.parse().unwrap()),
                ..Options::default()
            };
            journal(Root(with(&files).path()), &options).unwrap()
        };
        assert_eq!(verdict(&of("", None)), Verdict::Ok);
        let small = of("RateLimitBurst=1000\n", None);
        assert_eq!(verdict(&small), Verdict::Limited);
        assert!(small.cost.unwrap().contains("RateLimitBurst=7680"));
        assert_eq!(
            verdict(&of("RateLimitBurst=0\n", Some("journal"))),
            Verdict::Ok
        );
        assert_eq!(verdict(&of("", Some("journal"))), Verdict::Limited);
        let nothing = tempfile::tempdir().unwrap();
        assert!(journal(Root(nothing.path()), &Options::default()).is_none());
    }

    #[test]
    fn a_key_that_others_can_read_is_said() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        let of = |mode| {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            key_file(file.path()).unwrap()
        };
        let open = of(0o644);
        assert_eq!(verdict(&open), Verdict::Limited);
        assert!(open.cost.unwrap().contains("chmod 600"));
        assert_eq!(verdict(&of(0o400)) == Verdict::Ok, geteuid().is_root());
    }

    #[test]
    fn a_port_is_taken_by_another_alone() {
        let root = Root(Path::new("/"));
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(taken(root, Some(own), &address).is_none(), "the server's");
        assert!(taken(root, None, &address).unwrap().blocks);
        drop(other);
        assert!(taken(root, None, &address).is_none());
        assert!(taken(root, None, "192.0.2.1:1").unwrap().blocks);
    }

    #[test]
    fn a_state_folder_that_is_locked_is_another_servers() {
        let folder = tempfile::tempdir().unwrap();
        let of = |is_running| held(folder.path(), is_running).unwrap().blocks;
        assert!(!of(false));
        let lock = fs::File::open(folder.path()).unwrap();
        lock.try_lock().unwrap();
        assert!(of(false) && !of(true));
    }

    #[test]
    fn the_limit_of_descriptors_is_read_from_its_table() {
        let table = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 65536                files     \n";
        assert_eq!(open_files(table), Some(1024));
    }
}
