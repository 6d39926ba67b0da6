//! `prn-clean` and `prn-watch`, as the supervisor starts them: as an ordinary user, with open
//! descriptors. A shell stands for the supervisor.
#![expect(
    clippy::unwrap_used,
    reason = "what tests use outside of their functions too"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

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
        self.command(script, arguments).output().unwrap()
    }

    fn command(&self, script: &str, arguments: &[&str]) -> Command {
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
        command
    }

    /// `prn-watch` of both directories, once it has looked.
    fn watch(&self, most: u64) -> Watcher {
        let mut watcher = self.begin_watch(&[&most.to_string()]);
        watcher.looks(0);
        watcher
    }

    /// As well, of what may be too full from the beginning.
    fn watch_over(&self, most: u64) -> Watcher {
        let mut watcher = self.begin_watch(&[&most.to_string(), "over"]);
        watcher.looks(0);
        watcher
    }

    fn begin_watch(&self, arguments: &[&str]) -> Watcher {
        let script = r#"cd /; exec 3< "$HOME" 4< "$TMPDIR"; exec -a prn-watch "$F/prn-tools" "$@""#;
        Watcher(self.command(script, arguments).spawn().unwrap())
    }
}

/// It ends with the test.
struct Watcher(Child);

impl Watcher {
    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.0.id())).unwrap_or_default()
    }

    fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap())
    }

    /// How often it was given a processor (proc_pid_schedstat(5)).
    fn turns(&self) -> u64 {
        let stat = self.file("schedstat");
        stat.split_whitespace()
            .nth(2)
            .map_or(0, |turns| turns.parse().unwrap())
    }

    /// Waits until it pauses after more than so many turns.
    fn looks(&mut self, turns: u64) {
        let pauses = format!("{} ", nix::libc::SYS_clock_nanosleep);
        let name = "prn-watch\0";
        let deadline = Instant::now() + Duration::from_secs(60);
        while !(self.file("cmdline").starts_with(name)
            && self.turns() > turns
            && self.file("syscall").starts_with(&pauses))
        {
            assert_eq!(self.0.try_wait().unwrap(), None, "it has ended");
            assert!(Instant::now() < deadline, "it does not pause");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// It looks once more, and goes on.
    fn goes_on(&mut self) {
        self.looks(0);
        let turns = self.turns();
        self.looks(turns);
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _unused = self.0.kill();
        let _unused = self.0.wait();
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

/// Above its bound (`prn_ipc_protocol::fds::tools::ABOVE`).
const ABOVE: Option<i32> = Some(3);

#[test]
fn what_grows_beyond_its_bound_ends_the_watch_wherever_it_is() {
    let folder = Folder::new(std::env::temp_dir(), "grows");
    let deep = r#"for n in {1..300}; do mkdir d; cd d; done; head -c 600000 /dev/zero > deep"#;
    assert!(folder.shell(deep, &[]).status.success());
    let mut watcher = folder.watch(3 << 20);
    // Nothing of this is more: one file by many names, links out, what is elsewhere.
    let links = r#"cd "$TMPDIR"
        head -c 600000 /dev/zero > file; for n in {1..50}; do ln file "$n"; done
        head -c 9000000 /dev/zero > "$F/others/large"; ln -s "$F/others" folder-link; ln -s "$F/others/large" link"#;
    let output = folder.shell(links, &[]);
    assert!(output.status.success(), "{output:?}");
    watcher.goes_on();
    let more = r#"cd d/d/d/d/d/d/d/d; head -c 3000000 /dev/zero > more"#;
    assert!(folder.shell(more, &[]).status.success());
    assert_eq!(watcher.end().code(), ABOVE);
}

#[test]
fn who_deletes_in_what_is_too_full_is_left_alone_until_it_grows() {
    let folder = Folder::new(std::env::temp_dir(), "full");
    let fill = r#"for n in {1..4}; do head -c 1000000 /dev/zero > "$n"; done"#;
    assert!(folder.shell(fill, &[]).status.success());
    assert_eq!(folder.begin_watch(&["1000000"]).end().code(), ABOVE);
    let mut watcher = folder.watch_over(1 << 20);
    assert!(folder.shell("rm 1", &[]).status.success());
    watcher.goes_on();
    let more = folder.shell(r#"head -c 500000 /dev/zero > "$TMPDIR/more""#, &[]);
    assert!(more.status.success());
    assert_eq!(watcher.end().code(), ABOVE);
}

#[test]
fn what_is_closed_is_not_seen_and_nothing_is_opened_for_it() {
    if !root() {
        println!("skipped: its user is nobody else here");
        return;
    }
    let folder = Folder::new(std::env::temp_dir(), "closed");
    let mut watcher = folder.watch(1 << 20);
    let close = r#"mkdir closed; head -c 3000000 /dev/zero > closed/file; chmod 0 closed"#;
    // All at once: it is not to be seen before it is closed.
    nix::sys::signal::kill(watcher.pid(), nix::sys::signal::SIGSTOP).unwrap();
    assert!(folder.shell(close, &[]).status.success());
    nix::sys::signal::kill(watcher.pid(), nix::sys::signal::SIGCONT).unwrap();
    watcher.goes_on();
    assert_eq!(
        fs::metadata(folder.path("own/closed"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0
    );
    assert!(folder.shell("chmod 700 closed", &[]).status.success());
    assert_eq!(watcher.end().code(), ABOVE);
}

#[test]
fn what_moves_about_all_the_time_neither_holds_the_watch_up_nor_ends_it() {
    let folder = Folder::new(std::env::temp_dir(), "moves");
    let fill = r#"mkdir -p a/1/2/3/4/5 "$TMPDIR/b/1/2"; for n in {1..200}; do mkdir -p "a/1/$n/x"; done
        head -c 400000 /dev/zero > a/1/2/file; head -c 9000000 /dev/zero > "$F/others/large""#;
    assert!(folder.shell(fill, &[]).status.success());
    let mut watcher = folder.watch(8 << 20);
    let paths = ["own/a/1/2", "temporary/b/1/2", "others/moved"].map(|below| folder.path(below));
    let storm = std::thread::spawn(move || {
        let [own, temporary, others] = &paths;
        for turn in 0..100_000 {
            let (from, to) = match turn % 4 {
                0 => (own, others),
                1 => (others, own),
                2 => (own, temporary),
                _ => (temporary, own),
            };
            let _unused = fs::rename(from, to);
        }
    });
    while !storm.is_finished() {
        watcher.goes_on();
    }
    storm.join().unwrap();
    watcher.goes_on();
    let more = r#"head -c 9000000 /dev/zero > more"#;
    assert!(folder.shell(more, &[]).status.success());
    assert_eq!(watcher.end().code(), ABOVE);
}

#[test]
fn a_watch_of_nothing_or_without_a_bound_fails_at_once() {
    let folder = Folder::new(std::env::temp_dir(), "nothing");
    for (opens, most) in [
        ("", "1000000"),
        (r#"3< "$HOME""#, "much"),
        (r#"3< "$HOME""#, "-1"),
    ] {
        let script = format!(r#"exec {opens}; exec -a prn-watch "$F/prn-tools" "$1""#);
        let output = folder.shell(&script, &[most]);
        assert_eq!(output.status.code(), Some(1), "{opens} {most}: {output:?}");
    }
}
