//! `prn-clean`, as the supervisor starts it: as an ordinary user, with open descriptors. A shell
//! stands for the supervisor.
#![expect(
    clippy::unwrap_used,
    reason = "what tests use outside of their functions too"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};

/// An id without a name, as processes have.
const USER: u32 = 2_000_000_123;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Folder(PathBuf);

impl Folder {
    /// With a process's two directories, and one that others left open to everybody.
    fn new(base: PathBuf, name: &str) -> Self {
        let folder = Self(base.join(format!("prn-tools-{}-{name}", std::process::id())));
        for below in ["own", "temporary", "others"] {
            fs::create_dir_all(folder.0.join(below)).unwrap();
            if root() && below != "others" {
                chown(folder.0.join(below), Some(USER), Some(USER)).unwrap();
            }
        }
        fs::set_permissions(folder.0.join("others"), PermissionsExt::from_mode(0o777)).unwrap();
        let (built, tools) = (env!("CARGO_BIN_EXE_prn-tools"), folder.path("prn-tools"));
        fs::hard_link(built, &tools)
            .or_else(|_| fs::copy(built, &tools).map(drop))
            .unwrap();
        folder
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    /// A shell script, as the process's user, in its directory.
    fn shell(&self, script: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("bash");
        command
            .args(["-euc", script, "bash"])
            .args(arguments)
            .env_clear()
            .envs([("PATH", PATH), ("LANG", "C.UTF-8")])
            .env("HOME", self.path("own"))
            .env("TMPDIR", self.path("temporary"))
            .env("F", &self.0)
            .current_dir(self.path("own"));
        if root() {
            command.uid(USER).gid(USER);
        }
        command.output().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _unused = fs::remove_dir_all(&self.0);
    }
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn s9_deep_trees_with_closed_folders_and_links_are_emptied_and_nothing_else() {
    let folder = Folder::new(std::env::temp_dir(), "clean");
    fs::write(folder.path("others/outside"), "stays").unwrap();
    fs::set_permissions(
        folder.path("others/outside"),
        PermissionsExt::from_mode(0o666),
    )
    .unwrap();
    let fill = folder.shell(
        r#"ln -s ../others/outside link; ln -s "$F/others" folder-link; mkfifo pipe; ln "$F/others/outside" hard || true
           for n in {1..300}; do echo x > "file-$n"; mkdir -p "a$((n % 7))/b"; done; echo x > a1/b/c
           chmod 0 a1/b a1; echo x > "$TMPDIR/t"; chmod 0 . "#,
        &[],
    );
    assert!(fill.status.success(), "{fill:?}");
    // Deeper than a path can say.
    let top = folder.path("temporary");
    let mut deep = Dir::open(&top, OFlag::O_RDONLY, Mode::empty()).unwrap();
    for _ in 0..4096 {
        mkdirat(&deep, "d", Mode::S_IRWXU).unwrap();
        let next = Dir::openat(&deep, "d", OFlag::O_RDONLY, Mode::empty()).unwrap();
        if root() {
            nix::unistd::fchown(&next, Some(USER.into()), Some(USER.into())).unwrap();
        }
        deep = next;
    }
    let clean = r#"cd /; exec 3< "$1" 4< "$2"; exec -a prn-clean "$F/prn-tools""#;
    // The shell opens them for reading, which the closed one refuses; the supervisor's handles are
    // O_PATH.
    fs::set_permissions(folder.path("own"), PermissionsExt::from_mode(0o700)).unwrap();
    let [own, temporary] =
        ["own", "temporary"].map(|below| folder.path(below).display().to_string());
    let output = folder.shell(clean, &[&own, &temporary]);
    assert!(output.status.success(), "{output:?}");
    for below in ["own", "temporary"] {
        assert_eq!(
            fs::read_dir(folder.path(below)).unwrap().count(),
            0,
            "{below}"
        );
    }
    assert_eq!(
        fs::read_to_string(folder.path("others/outside")).unwrap(),
        "stays"
    );
}

#[test]
fn a_directory_that_cannot_be_emptied_fails_the_cleaner_and_not_the_others() {
    if !root() {
        println!("skipped: only root can make what another user cannot delete");
        return;
    }
    let folder = Folder::new(std::env::temp_dir(), "refused");
    // Root's, and not empty: its owner may not delete it.
    fs::create_dir_all(folder.path("own/theirs/below")).unwrap();
    fs::write(folder.path("temporary/file"), "").unwrap();
    let clean = r#"exec 3< "$F/own" 4< "$F/temporary"; exec -a prn-clean "$F/prn-tools""#;
    let output = folder.shell(clean, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(fs::read_dir(folder.path("temporary")).unwrap().count(), 0);
}
