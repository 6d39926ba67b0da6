//! The packages as users get them: what is in them, on any machine that has Debian's tools; what
//! becomes of a machine that installs, upgrades, removes and purges them, in the guest, where prn
//! is installed from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use prn_tests::pki::Identity;
use prn_tests::{binary, procfs, wait_for};
use tempfile::TempDir;

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Each package with the scripts that are to be in its .deb.
const PACKAGES: [(&str, &[&str]); 2] = [
    ("prn", &[]),
    ("prn-server", &["postinst", "postrm", "prerm"]),
];

/// Its standard output.
fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn sh(script: &str) -> String {
    ok(Command::new("sh").args(["-c", script]))
}

/// The packages of the binaries that are tested, made once for all tests of this program, by what
/// makes those that users get. Not compressed: that takes a minute.
struct Made {
    folder: TempDir,
    debs: Vec<PathBuf>,
    rpms: Vec<PathBuf>,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let make = |script: &str| -> Vec<PathBuf> {
        let said = ok(Command::new(format!("{TOP}/packaging/{script}"))
            .arg(folder.path())
            .env("BIN_DIR", binary("prn").parent().unwrap())
            .env("PRN_COMPRESSION", "0"));
        said.lines().map(PathBuf::from).collect()
    };
    let (debs, rpms) = (make("deb.sh"), make("rpm.sh"));
    assert_eq!((debs.len(), rpms.len()), (PACKAGES.len(), PACKAGES.len()));
    Made { folder, debs, rpms }
});

/// Mode and path of each file, as `make install` has them; of folders, those that are the
/// packages' own. Pages are compressed in packages, which have some papers besides.
fn as_installed(found: impl Iterator<Item = (u32, String)>) -> BTreeSet<(u32, String)> {
    found
        .filter(|(_, path)| {
            !path.starts_with("/usr/share/doc/")
                && !path.starts_with("/usr/share/licenses/")
                && !path.starts_with("/usr/share/lintian/")
        })
        .map(|(mode, path)| {
            let path = match path.strip_suffix(".gz") {
                Some(page) if path.starts_with("/usr/share/man/") => page.to_owned(),
                _ => path.replace("zsh/site-functions", "zsh/vendor-completions"),
            };
            (mode, path)
        })
        .collect()
}

/// What `find` says below a folder.
fn found_below(root: &Path) -> impl Iterator<Item = (u32, String)> {
    let list = "find . ! -type d -printf '%m %P\\n' -o -path ./etc/prn -printf '%m %P\\n'";
    ok(Command::new("sh").args(["-c", list]).current_dir(root))
        .lines()
        .map(|line| {
            let (mode, path) = line.split_once(' ').unwrap();
            (u32::from_str_radix(mode, 8).unwrap(), format!("/{path}"))
        })
        .collect::<Vec<_>>()
        .into_iter()
}

#[test]
fn make_install_the_debs_and_the_rpms_install_the_same_files() {
    let folder = TempDir::new().unwrap();
    let installed = folder.path().join("make");
    ok(Command::new("make")
        .args(["--no-print-directory", "-s", "-C", TOP, "install"])
        .arg(format!("DESTDIR={}", installed.display()))
        .arg(format!(
            "BIN_DIR={}",
            binary("prn").parent().unwrap().display()
        )));
    let unpacked = folder.path().join("deb");
    for deb in &MADE.debs {
        ok(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&unpacked));
    }
    let expected = as_installed(found_below(&installed));
    assert!(expected.contains(&(0o711, "/usr/libexec/prn/prn-tools".to_owned())));
    assert!(expected.contains(&(0o700, "/etc/prn".to_owned())));
    assert_eq!(as_installed(found_below(&unpacked)), expected, "the debs");

    let list = "[%{FILEMODES:octal} %{FILENAMES}\\n]";
    let listed = ok(Command::new("rpm")
        .args(["-qp", "--queryformat", list])
        .args(&MADE.rpms));
    let listed = listed.lines().filter_map(|line| {
        let (mode, path) = line.split_once(' ').unwrap();
        let mode = u32::from_str_radix(mode, 8).unwrap();
        let folder = mode & 0o170_000 == 0o040_000;
        (!folder || path == "/etc/prn").then(|| (mode & 0o7777, path.to_owned()))
    });
    assert_eq!(as_installed(listed), expected, "the rpms");
}

#[test]
fn each_deb_has_its_scripts_and_none_starts_or_restarts_a_unit() {
    for ((package, scripts), deb) in PACKAGES.into_iter().zip(&MADE.debs) {
        let folder = TempDir::new().unwrap();
        ok(Command::new("dpkg-deb")
            .arg("-e")
            .arg(deb)
            .arg(folder.path()));
        let mut found: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["control", "md5sums", "conffiles"].contains(&name.as_str()))
            .collect();
        found.sort();
        assert_eq!(found, scripts, "{package}");
        for script in scripts {
            let text = fs::read_to_string(folder.path().join(script)).unwrap();
            let source = format!("{TOP}/packaging/debian/{package}.{script}");
            assert_eq!(text, fs::read_to_string(source).unwrap());
            for line in text.lines().filter(|line| !line.trim().starts_with('#')) {
                let words: Vec<_> = line.split_whitespace().collect();
                let forbidden = ["start", "restart", "try-restart", "enable", "--now"];
                let bad = words.iter().any(|word| forbidden.contains(word));
                assert!(!bad, "{package}.{script}: {line}");
            }
        }
        let conffiles = fs::read_to_string(folder.path().join("conffiles")).unwrap_or_default();
        let expected = match package {
            "prn-server" => "/etc/prn/prn.toml\n/etc/needrestart/conf.d/prn.conf\n",
            _ => "",
        };
        assert_eq!(conffiles, expected, "{package}");
        let depends = ok(Command::new("dpkg-deb").arg("-f").arg(deb).arg("Depends"));
        assert!(depends.contains("libc6 (>= "), "{package}: {depends}");
    }
}

#[test]
fn needrestart_leaves_the_unit_to_the_administrator() {
    // As that program reads its folder and asks for a service.
    let script = "our %nrconf = (override_rc => {}); eval do { local (@ARGV, $/) = $ARGV[0]; <> }; die $@ if $@; \
                  for my $rc ('prn.service', 'prn-other.service', 'aprn.service') { \
                  for my $re (keys %{$nrconf{override_rc}}) { \
                  print \"$rc $nrconf{override_rc}->{$re}\\n\" if $rc =~ /$re/; } }";
    let file = format!("{TOP}/packaging/prn.needrestart");
    assert_eq!(
        ok(Command::new("perl").args(["-e", script, &file])),
        "prn.service 0\n"
    );
}

#[test]
fn lintian_and_rpmlint_find_nothing_that_is_not_meant() {
    let said = ok(Command::new("lintian")
        .args(["--fail-on", "error,warning", "--allow-root"])
        .args(&MADE.debs)
        .env("TMPDIR", MADE.folder.path()));
    assert_eq!(said, "");
    let config = format!("{TOP}/packaging/rpm/rpmlint.toml");
    let said = ok(Command::new("rpmlint")
        .args(["-c", &config])
        .args(&MADE.rpms));
    assert!(
        said.contains("2 packages and 0 specfiles checked; 0 errors, 0 warnings"),
        "{said}"
    );
}

#[test]
fn q4_every_program_is_hardened_by_the_linker() {
    let folder = binary("prn").parent().unwrap().to_owned();
    let listed = ok(Command::new(format!("{TOP}/packaging/stage.sh"))
        .arg("--list")
        .env("BIN_DIR", &folder));
    let programs: Vec<_> = listed
        .lines()
        .filter(|path| path.starts_with("/usr/bin/") || path.starts_with("/usr/libexec/"))
        .filter_map(|path| Path::new(path).file_name())
        .collect();
    assert!(programs.len() >= 4, "{programs:?}");
    for program in programs {
        let said = ok(Command::new("readelf")
            .args(["-W", "--file-header", "--program-headers", "--dynamic"])
            .arg(folder.join(program)));
        let line = |part: &str| {
            said.lines()
                .find(|line| line.contains(part))
                .unwrap_or_else(|| panic!("{program:?} has no {part}"))
        };
        // At an address that nobody knows.
        assert!(
            line("Type:").contains("DYN (Position-Independent"),
            "{program:?}"
        );
        assert!(line("(FLAGS_1)").contains("PIE"), "{program:?}");
        // Nothing that the loader wrote is writable once it is loaded, since it binds all at once.
        line("GNU_RELRO");
        assert!(line("(FLAGS_1)").contains("NOW"), "{program:?}");
        assert!(line("(FLAGS) ").contains("BIND_NOW"), "{program:?}");
        // No stack is executable, nor is anything writable and executable.
        let flags = line("GNU_STACK").split_whitespace().nth_back(1);
        assert_eq!(flags, Some("RW"), "{program:?}");
        assert!(!said.contains(" RWE "), "{program:?}");
        // Libraries come from the system alone.
        assert!(
            !said.contains("RPATH") && !said.contains("RUNPATH"),
            "{program:?}"
        );
    }
}

/// Of the guest: `now` is what it has installed, `next` the same with a higher version.
fn packages(which: &str) -> String {
    format!("/opt/prn-guest/packages/{which}/*.deb")
}

/// The guest without prn, which it gets back when this is dropped.
struct Bare;

impl Bare {
    fn make() -> Self {
        let bare = Self;
        sh(
            "systemctl stop prn.service prn-reload.path; dpkg --purge prn-server prn; \
            umount /var/lib/prn && rmdir /var/lib/prn",
        );
        bare
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let back = format!(
            "systemctl stop prn.service; dpkg --purge prn-server prn; \
             mkdir -p /var/lib/prn && mount -o noatime /dev/vda /var/lib/prn && \
             dpkg --install {} && systemctl daemon-reload",
            packages("now")
        );
        let done = Command::new("sh").args(["-c", &back]).output();
        if std::thread::panicking() {
            let _ = Command::new("journalctl")
                .args(["-u", "prn.service", "--no-pager", "-n", "50"])
                .status();
        } else {
            let done = done.unwrap();
            assert!(done.status.success(), "{done:?}");
        }
    }
}

/// All paths by that name or of an owner that prn brought, but for what the tests themselves are
/// made of and what systemd keeps of units until the next boot.
fn left() -> String {
    let owned: String = brought().map(|user| format!("-user {user} -o ")).collect();
    sh(&format!(
        "find / /run -xdev \\( -path /opt/prn-guest -o -path /run/systemd \\) -prune -o \
        \\( -iname '*prn*' -o {owned} -uid +1999999999 \\) \
        ! -name '*prn-guest*' ! -name '*cprng*' -print",
    ))
}

/// The users that prn brings.
fn brought() -> impl Iterator<Item = &'static str> {
    include_str!("../../packaging/prn.sysusers")
        .lines()
        .filter_map(|line| line.strip_prefix("u ")?.split(' ').next())
}

/// Who has which password, shell and home, of the users that prn brought.
fn users() -> BTreeMap<String, String> {
    brought()
        .map(|user| {
            let fields = sh(&format!(
                "getent passwd {user} | cut -d: -f6,7; getent shadow {user} | cut -d: -f2"
            ));
            (user.to_owned(), fields.trim().replace('\n', " "))
        })
        .collect()
}

/// As packaging/release.sh makes the archive for any Linux, from a folder that has nothing else.
#[test]
fn the_command_alone_is_staged_without_the_other_programs() {
    let folder = TempDir::new().unwrap();
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    fs::copy(binary("prn"), programs.join("prn")).unwrap();
    let root = folder.path().join("root");
    ok(Command::new(format!("{TOP}/packaging/stage.sh"))
        .arg(&root)
        .arg("prn")
        .env("BIN_DIR", &programs)
        .env("PREFIX", "")
        .env("LEAVE_OUT", "/usr/libexec/"));
    let mut found: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, ["bin", "share"]);
}

/// Papers that say what a purge leaves name all of the users.
#[test]
fn who_stays_after_a_purge_is_said_of_each_user() {
    let users: Vec<_> = brought().collect();
    assert!(users.len() >= 3, "{users:?}");
    for paper in [
        "packaging/debian/prn-server.README",
        "packaging/debian/prn-server.postrm",
        "docs/install.md",
    ] {
        let text = fs::read_to_string(format!("{TOP}/{paper}")).unwrap();
        let words = text.replace('`', "").replace('#', " ");
        let words: Vec<_> = words.split_whitespace().collect();
        let words = words.join(" ");
        let (last, others) = users.split_last().unwrap();
        let sentence = format!("users {} and {last} stay", others.join(", "));
        assert!(
            words.to_lowercase().contains(&sentence),
            "{paper}: {sentence}"
        );
    }
}

#[test]
#[ignore = "guest: needs systemd, and a machine that packages may come to and go from"]
fn guest_p7_packages_install_serve_reload_upgrade_and_go_without_leaving_anything() {
    let _bare = Bare::make();
    assert_eq!(left(), "", "before");
    let paths = || {
        sh(
            "find / -xdev \\( -path /opt/prn-guest -o -path /tmp -o -path /var/tmp -o -path /var/log/journal \
                       -o -path /root \\) -prune -o -print | sort",
        )
    };
    let before = paths();
    let systemd = |words: &str| {
        let output = Command::new("systemctl").args(words.split(' ')).output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned()
    };

    // Installed: there, and quiet.
    let install = |which: &str| {
        sh(&format!(
            "dpkg --path-include='/usr/share/*' --install {} 2>&1",
            packages(which)
        ))
    };
    let said = install("now");
    assert!(said.contains("it needs a key and clients first"), "{said}");
    assert_eq!(systemd("is-enabled prn.service"), "disabled");
    assert_eq!(systemd("is-active prn.service"), "inactive");
    assert_eq!(
        systemd("show -p NeedDaemonReload --value prn.service"),
        "no"
    );
    assert_eq!(
        sh("cat /proc/sys/net/ipv4/ip_local_reserved_ports").trim(),
        "50051"
    );
    assert_eq!(
        sh("stat -c '%a %U' /run/prn /var/lib/prn /var/log/prn"),
        "700 root\n711 root\n750 prn-audit\n"
    );
    for (user, fields) in users() {
        assert_eq!(fields, "/:/usr/sbin/nologin !*", "{user}");
    }
    assert_eq!(
        sh("man=/usr/share/man; ls $man/man1/prn-run.1.gz $man/man8/prn-server.8.gz | wc -l")
            .trim(),
        "2"
    );

    // A key, a client, and it serves.
    let home = TempDir::new().unwrap();
    let etc = Path::new("/etc/prn");
    Identity::keygen(etc, "server", &[]);
    let first = Identity::keygen(home.path(), "first", &[]);
    let second = Identity::keygen(home.path(), "second", &[]);
    let prn = |client: &Identity, words: &str| -> Output {
        Command::new("/usr/bin/prn")
            .args(words.split(' '))
            .env("PRN_CLIENT_CERT", &client.certificate)
            .env("PRN_SERVER_CERT", etc.join("server.pem"))
            .env("PRN_TLS_KEY", client.key_pem())
            .output()
            .unwrap()
    };
    let said = |client: &Identity, words: &str| {
        let output = prn(client, words);
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    fs::copy(&first.certificate, etc.join("client.pem")).unwrap();
    sh("systemctl enable prn.service 2>&1; systemctl start prn.service");
    let id = said(
        &first,
        "start --memory 64M --cpu 0.5 --pids 20 -- sleep 1000",
    );
    let group = Path::new("/sys/fs/cgroup/system.slice/prn.service/processes").join(&id);
    let value = |name: &str| {
        fs::read_to_string(group.join(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(value("memory.max"), (64 << 20).to_string());
    assert_eq!(value("cpu.max"), "50000 100000");
    assert_eq!(value("pids.max"), "20");
    let process: i32 = value("cgroup.procs").parse().unwrap();
    let main = systemd("show -p MainPID --value prn.service");

    // Another client is let in, and the first no more.
    fs::copy(&second.certificate, etc.join("client.pem")).unwrap();
    sh("systemctl reload prn.service");
    wait_for("the second client", || {
        prn(&second, "list").status.success()
    });
    assert!(!prn(&first, "list").status.success());

    // An upgrade, with a configuration that was changed: nothing that runs notices.
    sh("printf '# mine\\n' >> /etc/prn/prn.toml");
    let version = || sh("dpkg-query -W -f '${Version} ' prn prn-server");
    let old = version();
    install("next");
    assert_ne!(version(), old);
    assert_eq!(
        systemd("show -p NeedDaemonReload --value prn.service"),
        "no"
    );
    assert_eq!(systemd("show -p MainPID --value prn.service"), main);
    assert_eq!(value("cgroup.procs"), process.to_string());
    assert!(said(&second, &format!("status {id}")).contains("Running"));
    assert!(sh("tail -1 /etc/prn/prn.toml").contains("# mine"));
    sh("systemctl reload prn.service");
    assert_eq!(said(&second, "run -- echo served"), "served");
    assert_eq!(systemd("is-enabled prn.service"), "enabled");

    // Removed: it ends, in order, and what the administrator made stays.
    let removed = sh("dpkg --remove prn-server 2>&1");
    assert!(!procfs::alive(process) && !group.exists(), "{removed}");
    assert_eq!(systemd("is-active prn.service"), "inactive");
    assert_eq!(
        sh("ls /etc/prn"),
        "client.pem\nprn.toml\nserver.key\nserver.pem\n"
    );
    // The client's program stays with the client.
    assert_eq!(sh("ls /usr/libexec/prn"), "prn-signer\n");
    assert!(Path::new("/var/log/prn/audit.jsonl").exists());

    // And comes back as it was.
    install("next");
    sh("systemctl start prn.service");
    assert_eq!(said(&second, "run -- echo again"), "again");

    // Purged: nothing is left but the users, who own nothing.
    let purged = sh("dpkg --purge prn-server prn 2>&1");
    assert!(!purged.contains("cannot"), "{purged}");
    assert_eq!(left(), "", "{purged}");
    let after = paths();
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (before.lines().collect(), after.lines().collect());
    assert_eq!(
        after.difference(&before).collect::<Vec<_>>(),
        Vec::<&&str>::new()
    );
    assert_eq!(users().len(), brought().count());
    assert!(!Path::new("/sys/fs/cgroup/system.slice/prn.service").exists());
    let units = systemd("list-unit-files --no-legend prn*");
    assert!(
        units.lines().all(|unit| unit.starts_with("prn-guest")),
        "{units}"
    );
}
