//! `make demo` and `make test` on a machine that lacks something: they say so before they build.
//!
//! The machine is a folder of programs that is the whole of PATH. The project is a copy of what
//! these targets read first, which a user who is not root can read as well.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const NOBODY: u32 = 65534;

/// What every Debian has, as far as the targets call it before they build.
const ESSENTIAL: &[&str] = &[
    "awk", "bash", "cat", "cut", "dirname", "env", "head", "make", "mkdir", "sed", "sh", "sort",
    "uname",
];

/// A program that writes down its name and arguments.
const NOTES: &str = "#!/bin/sh\necho \"${0##*/} $*\" >>\"$CALLS\"\n";

struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder };
        machine.open(machine.folder.path());
        for below in ["bin", "project", "project/tests"] {
            fs::create_dir(machine.path(below)).unwrap();
            machine.open(&machine.path(below));
        }
        for file in ["Makefile", "Cargo.toml", "tests/needs.sh", "tests/demo.sh"] {
            fs::copy(format!("{TOP}/{file}"), machine.path("project").join(file)).unwrap();
        }
        fs::write(machine.path("calls"), "").unwrap();
        fs::set_permissions(machine.path("calls"), fs::Permissions::from_mode(0o666)).unwrap();
        for name in ESSENTIAL {
            machine.link(name);
        }
        machine
    }

    fn open(&self, folder: &Path) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has this machine's program of that name.
    fn link(&self, name: &str) {
        let found = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
            .iter()
            .map(|folder| Path::new(folder).join(name))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("no {name} here"));
        symlink(found, self.path("bin").join(name)).unwrap();
    }

    /// Has a program of that name.
    fn add(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, script).unwrap();
        self.open(&path);
    }

    /// Has a new enough Rust, which builds nothing and notes what it was asked for.
    fn add_rust(&self) {
        let script = "[ \"$1\" != --version ] || echo 'cargo 9.99.0'\ncase $* in *--version) exit ;; *) exit 7 ;; esac\n";
        self.add("cargo", &format!("{NOTES}{script}"));
    }

    /// Makes a target there.
    fn make(&self, target: &str, uid: u32) -> Output {
        Command::new("/usr/bin/make")
            .arg(target)
            .current_dir(self.path("project"))
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("CALLS", self.path("calls"))
            .uid(uid)
            .gid(uid)
            .output()
            .unwrap()
    }

    /// What was called, one a line, without questions for a version.
    fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.path("calls"))
            .unwrap()
            .lines()
            .filter(|line| !line.ends_with("--version"))
            .map(str::to_owned)
            .collect()
    }
}

/// The one line that a target says of what is missing.
fn complaint(output: &Output) -> String {
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    // make(1) adds that a recipe failed.
    let lines: Vec<_> = error
        .lines()
        .filter(|line| !line.starts_with("make: "))
        .collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    lines.concat()
}

#[test]
fn a_user_reads_all_that_the_demo_lacks_in_one_line_to_paste_before_anything_is_built() {
    let machine = Machine::new();
    machine.add_rust();
    for name in ["apt-get", "sudo"] {
        machine.add(name, NOTES);
    }
    let line = complaint(&machine.make("demo", NOBODY));
    let paste = "sudo apt-get update && sudo apt-get install -y --no-install-recommends \
                 gcc libc6-dev iproute2 iputils-ping procps util-linux";
    assert!(
        line.starts_with("demo: missing: cc, ip, ping, ps, unshare: "),
        "{line}"
    );
    assert!(line.ends_with(paste), "{line}");
    assert_eq!(machine.calls(), [""; 0], "built or installed");
}

#[test]
fn root_has_installed_what_the_demo_lacks_before_anything_is_built() {
    let machine = Machine::new();
    machine.add_rust();
    machine.add("apt-get", NOTES);
    let output = machine.make("demo", 0);
    assert!(!output.status.success());
    let calls = machine.calls();
    assert_eq!(calls[0], "apt-get update -qq");
    assert!(calls[1].starts_with("apt-get install -y "), "{calls:?}");
    for package in ["gcc", "libc6-dev", "iproute2", "iputils-ping", "procps"] {
        assert!(calls[1].split(' ').any(|word| word == package), "{calls:?}");
    }
    for package in ["default-jre-headless", "qemu-system-x86", "nodejs"] {
        assert!(!calls[1].contains(package), "for a demo: {calls:?}");
    }
    assert!(calls[2].starts_with("cargo build "), "{calls:?}");
}

#[test]
fn nothing_is_installed_for_somebody_whose_rust_is_missing_or_too_old() {
    for cargo in [None, Some("cargo 1.63.0")] {
        let machine = Machine::new();
        machine.add("apt-get", NOTES);
        if let Some(version) = cargo {
            machine.add("cargo", &format!("{NOTES}echo {version}\n"));
        }
        let line = complaint(&machine.make("demo", 0));
        assert!(
            line.contains("cargo of Rust 1.") && line.contains("rustup"),
            "{line}"
        );
        assert!(
            line.contains("apt-get install") && line.contains(" gcc "),
            "{line}"
        );
        assert_eq!(machine.calls(), [""; 0]);
        // The same, by the rustup that is there.
        machine.add("rustup", NOTES);
        let line = complaint(&machine.make("demo", 0));
        assert!(
            line.ends_with("rustup toolchain install stable && rustup default stable"),
            "{line}"
        );
    }
}

#[test]
fn the_tests_say_that_they_need_root_and_what_lints_need() {
    let machine = Machine::new();
    machine.add("apt-get", NOTES);
    machine.add_rust();
    let line = complaint(&machine.make("test", NOBODY));
    assert!(
        line.contains("sudo env \"PATH=$PATH\"") && line.ends_with("make test"),
        "{line}"
    );
    machine.add("rustup", NOTES);
    let without = "case $1 in --version) echo cargo 9.99.0 ;; *) exit 1 ;; esac\n";
    machine.add("cargo", &format!("{NOTES}{without}"));
    let line = complaint(&machine.make("test", 0));
    assert!(line.contains("cargo fmt, cargo clippy: "), "{line}");
    assert!(
        line.contains("rustup component add rustfmt && rustup component add clippy"),
        "{line}"
    );
    assert_eq!(machine.calls(), [""; 0]);
}

#[test]
fn where_there_is_no_apt_the_packages_are_named() {
    let machine = Machine::new();
    machine.add_rust();
    let line = complaint(&machine.make("demo", 0));
    assert!(
        line.contains("missing: cc, ip, ping") && line.contains("on Debian: gcc "),
        "{line}"
    );
    assert_eq!(machine.calls(), [""; 0]);
}
