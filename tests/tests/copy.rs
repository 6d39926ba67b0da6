//! `prn cp`: what arrives, what does not, and what is left when it is interrupted.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::server::Server;
use prn_tests::{procfs, wait_for};
use tempfile::TempDir;

/// A server with a workspace "w", and a directory of this side.
struct Sides {
    server: Server,
    here: TempDir,
}

impl Sides {
    fn new() -> Self {
        let server = Server::start();
        server.ok(&["workspace", "create", "w"]);
        let here = TempDir::new().unwrap();
        Self { server, here }
    }

    fn here(&self, path: &str) -> PathBuf {
        self.here.path().join(path)
    }

    fn far(&self, path: &str) -> PathBuf {
        self.server.state_dir().join("workspace-w").join(path)
    }

    fn cp(&self, words: &[&str]) -> Command {
        let mut cp = self.server.prn(&[&["cp"], words].concat());
        cp.current_dir(self.here.path());
        cp
    }

    fn copy(&self, words: &[&str]) {
        let Output { status, stderr, .. } = self.cp(words).output().unwrap();
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success() && said.is_empty(), "{words:?}: {said}");
    }

    fn refused(&self, words: &[&str], code: i32) -> String {
        let Output { status, stderr, .. } = self.cp(words).output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(code), "{words:?}: {said}");
        said
    }

    /// Nothing is left of a copy on either side.
    fn assert_nothing_staged(&self) {
        for folder in [self.here(""), self.far("")] {
            assert_eq!(staged(&folder), Vec::<PathBuf>::new());
        }
    }
}

fn staged(folder: &Path) -> Vec<PathBuf> {
    let is_staging = |path: &PathBuf| path.to_string_lossy().contains(".prn-cp.");
    tree(folder).into_keys().filter(is_staging).collect()
}

/// All that is to be the same on both sides.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    modified: (i64, i64),
    size: u64,
    data: Vec<u8>,
    target: Option<PathBuf>,
    links: u64,
    has_holes: bool,
}

/// A folder's tree, without the folder itself. What goes away meanwhile is not in it.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        for entry in fs::read_dir(path).into_iter().flatten() {
            let path = entry.unwrap().path();
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            let name = path.strip_prefix(folder).unwrap().to_owned();
            found.insert(name, seen(&path, &metadata));
        }
    }
    found
}

fn seen(path: &Path, metadata: &fs::Metadata) -> Seen {
    let is_file = metadata.is_file();
    let size = if is_file { metadata.size() } else { 0 };
    Seen {
        mode: metadata.mode(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        size,
        data: if is_file && size < 8 << 20 {
            fs::read(path).unwrap_or_default()
        } else {
            Vec::new()
        },
        target: fs::read_link(path).ok(),
        links: if is_file { metadata.nlink() } else { 0 },
        has_holes: is_file && metadata.blocks() * 512 + 65536 < size,
    }
}

/// Everything that is copied as it is.
fn make_everything(folder: &Path) {
    fs::create_dir_all(folder.join("empty directory")).unwrap();
    for name in [
        &b"a file"[..],
        b"a\nline",
        b"\xff\xfe",
        b"-rf",
        b".hidden",
        b"'\"\\$(x)`",
    ] {
        let path = folder.join(std::ffi::OsStr::from_bytes(name));
        fs::write(path, name).unwrap();
    }
    let deep = folder.join("n".repeat(200)).join("d".repeat(255));
    fs::create_dir_all(&deep).unwrap();
    symlink("/etc/passwd", folder.join("out")).unwrap();
    symlink("../../..", folder.join("up")).unwrap();
    fs::hard_link(folder.join("a file"), deep.join("again")).unwrap();
    for length in [0_usize, 1, 512, 65536, 5 << 20] {
        let data: Vec<u8> = (0..length).map(|n| (n % 251).to_le_bytes()[0]).collect();
        fs::write(folder.join(format!("of {length}")), data).unwrap();
    }
    let sparse = File::create(folder.join("sparse")).unwrap();
    sparse.write_all_at(b"middle", 3 << 30).unwrap();
    sparse.set_len(4 << 30).unwrap();
    let read_only = folder.join("read-only");
    fs::create_dir_all(read_only.join("in it")).unwrap();
    fs::write(read_only.join("in it/file"), "r").unwrap();
    for path in [
        read_only.join("in it/file"),
        read_only.join("in it"),
        read_only,
    ] {
        fs::set_permissions(path, Permissions::from_mode(0o555)).unwrap();
    }
}

#[test]
fn everything_arrives_as_it_was_and_comes_back_so() {
    let sides = Sides::new();
    make_everything(&sides.here("src"));
    sides.copy(&["src", "w:"]);
    let sent = tree(&sides.here("src"));
    assert!(sent.len() > 18 && sent[Path::new("sparse")].has_holes);
    assert_eq!(sent, tree(&sides.far("src")));
    sides.copy(&["w:src", "back"]);
    sides.copy(&["w:src/.", "contents"]);
    sides.copy(&["src/of 1", "src/a file", "w:src/empty directory"]);
    for back in ["back", "contents"] {
        assert_eq!(sent, tree(&sides.here(back)), "{back}");
    }
    assert!(sides.far("src/empty directory/of 1").exists());
    // Whose it is: the workspace's there, and ours here.
    let uid = fs::metadata(sides.far("")).unwrap().uid();
    assert_eq!(fs::metadata(sides.far("src/a file")).unwrap().uid(), uid);
    assert_eq!(fs::metadata(sides.here("back/a file")).unwrap().uid(), 0);
    sides
        .server
        .ok(&["run", "-w", "w", "--", "test", "-r", "src/a file"]);
    sides.assert_nothing_staged();
}

#[test]
fn an_archive_comes_by_standard_input_and_goes_by_standard_output() {
    let sides = Sides::new();
    make_everything(&sides.here("src"));
    fs::remove_file(sides.here("src/sparse")).unwrap();
    let tar = |words: &[&str]| {
        let mut tar = Command::new("tar");
        tar.current_dir(sides.here.path()).args(words);
        tar
    };
    let mut packing = tar(&["-c", "--format=posix", "-C", "src", "."])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let done = sides
        .cp(&["-", "w:new"])
        .stdin(packing.stdout.take().unwrap())
        .status();
    assert!(done.unwrap().success() && packing.wait().unwrap().success());
    assert_eq!(tree(&sides.here("src")), tree(&sides.far("new")));
    let archive = File::create(sides.here("archive")).unwrap();
    let done = sides.cp(&["w:new", "-"]).stdout(archive).status();
    assert!(done.unwrap().success());
    fs::create_dir(sides.here("back")).unwrap();
    let done = tar(&["-xpf", "archive", "-C", "back"]).status();
    assert!(done.unwrap().success());
    assert_eq!(tree(&sides.here("src")), tree(&sides.here("back")));
}

#[test]
fn what_cannot_be_copied_is_said() {
    let sides = Sides::new();
    fs::create_dir(sides.here("d")).unwrap();
    nix::unistd::mkfifo(&sides.here("d/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (words, code, why) in [
        (&["a", "b"][..], 2, "none of these"),
        (&["w:a", "w:b"], 2, "both are"),
        (&["A:a", "b"], 2, "./A:a"),
        (&["/dev/null", "w:"], 1, "/dev/null is a device"),
        (&["d", "w:"], 1, "d/pipe is a FIFO"),
        (&["missing", "w:"], 1, "missing"),
        (&["w:missing", "x"], 1, "there is no ./missing"),
        (&["w:..", "x"], 1, "no name"),
        (&["d", "w:no/where"], 1, "FIFO"),
        (&["w:", "no/where"], 1, "there is no such directory"),
    ] {
        let said = sides.refused(words, code);
        assert!(said.contains(why), "{words:?}: {said}");
    }
    let said = sides.cp(&["w:", "x"]).output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    fs::write(sides.here("f"), "").unwrap();
    let said = sides.cp(&["f", "no-such:"]).output().unwrap();
    assert!(!said.status.success());
    assert!(String::from_utf8_lossy(&said.stderr).contains("workspace"));
    sides.assert_nothing_staged();
}

/// A copy from a pipe, of which a part has arrived.
fn half_way(sides: &Sides) -> (Child, std::process::ChildStdin) {
    let mut cp = sides
        .cp(&["-", "w:new"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    fs::create_dir(sides.here("src")).unwrap();
    fs::write(sides.here("src/f"), vec![7; 1 << 20]).unwrap();
    let archive = Command::new("tar")
        .args(["-c", "-C"])
        .arg(sides.here("src"))
        .arg(".")
        .output()
        .unwrap();
    let mut stdin = cp.stdin.take().unwrap();
    stdin.write_all(&archive.stdout[..900_000]).unwrap();
    wait_for("half of it", || {
        staged(&sides.far(""))
            .iter()
            .any(|path| path.ends_with("t/f"))
    });
    (cp, stdin)
}

#[test]
fn an_interrupted_copy_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let sides = Sides::new();
        let (cp, stdin) = half_way(&sides);
        kill(Pid::from_raw(cp.id().try_into().unwrap()), signal).unwrap();
        let Output { status, stderr, .. } = cp.wait_with_output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(said.contains("interrupted"), "{said}");
        assert_eq!(status.code(), Some(1));
        assert!(tree(&sides.far("")).is_empty());
        drop(stdin);
    }
}

#[test]
fn a_signal_does_not_wait_for_a_look_at_what_is_to_be_sent() {
    let sides = Sides::new();
    fs::create_dir(sides.here("src")).unwrap();
    fs::write(sides.here("src/f"), "").unwrap();
    let src = sides.here("src").canonicalize().unwrap();
    let cp = sides.cp(&["src", "w:"]);
    // A disk that takes half a minute to say what is in a directory.
    let mut slow = Command::new("strace");
    slow.args(["-D", "-f", "-o", "/dev/null", "-e", "trace=getdents64"])
        .args(["-e", "inject=getdents64:delay_enter=30000000", "-P"])
        .arg(&src)
        .arg(cp.get_program())
        .args(cp.get_args())
        .envs(
            cp.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(sides.here(""));
    let mut cp = slow.stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the look", || {
        let open = fs::read_dir(format!("/proc/{}/fd", cp.id()));
        let mut open = open.into_iter().flatten().flatten();
        open.any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == src))
    });
    let pid = cp.id().try_into().unwrap();
    let tracer = procfs::status(pid)["TracerPid"].parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(cp.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("interrupted"), "{said}");
    // Which would keep what it traces until the delay is over.
    kill(Pid::from_raw(tracer), Signal::SIGKILL).unwrap();
    assert_eq!(cp.wait().unwrap().code(), Some(1));
    // Nothing was asked of the server.
    let list = sides.server.ok(&["list", "--all", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["processes"], serde_json::json!([]));
}

#[test]
fn an_archive_that_ends_early_leaves_nothing() {
    let sides = Sides::new();
    let (cp, stdin) = half_way(&sides);
    drop(stdin);
    let Output { status, stderr, .. } = cp.wait_with_output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(said.contains("ends before its end"), "{said}");
    assert_eq!(status.code(), Some(1));
    assert!(tree(&sides.far("")).is_empty());
}

#[test]
fn of_a_client_that_is_killed_nothing_is_there_under_its_name() {
    let sides = Sides::new();
    let (mut cp, stdin) = half_way(&sides);
    cp.kill().unwrap();
    cp.wait().unwrap();
    drop(stdin);
    assert!(!sides.far("new").exists());
    // Its process waits for more for a while; it leaves nothing however it ends.
    let list = sides
        .server
        .ok(&["list", "--all", "--running", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let id = list["processes"][0]["id"].as_str().unwrap();
    sides.server.ok(&["stop", id]);
    assert!(tree(&sides.far("")).is_empty());
}

#[test]
fn a_workspace_that_swaps_directories_and_links_reaches_nothing_outside() {
    let sides = Sides::new();
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    for (path, mode) in [("secret", 0o600), ("", 0o755)] {
        let path = outside.path().join(path);
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let before = tree(outside.path());
    let swaps = "
        mkdir -p d/e; echo inside > d/secret; ln -s \"$0\" l
        exec perl -e 'for (1 .. 100000) {
            rename \"d\", \"x\"; rename \"l\", \"d\"; rename \"d\", \"l\"; rename \"x\", \"d\"
        }'";
    let place = outside.path().to_str().unwrap();
    let swapping = sides
        .server
        .start_process(&["-w", "w"], &["sh", "-c", swaps, place]);
    fs::create_dir_all(sides.here("src/d/e")).unwrap();
    fs::write(sides.here("src/d/secret"), "sent").unwrap();
    let is_over = || sides.server.status(&swapping)["state"] == "stopped";
    // Each may fail for what it finds, and may succeed.
    for n in 0..1000 {
        if is_over() {
            break;
        }
        let back = format!("back-{}", n % 5);
        for words in [
            &["src/.", "w:"][..],
            &["src/d", "w:d"],
            &["w:.", &back],
            &["w:d/.", &back],
        ] {
            sides.cp(words).output().unwrap();
        }
    }
    assert!(is_over());
    assert_eq!(tree(outside.path()), before);
    let texts = tree(sides.here.path());
    assert!(texts.values().all(|seen| seen.data != b"secret"));
    assert!(texts.keys().any(|path| path.ends_with("secret")));
    // What is staged in a directory that the workspace has renamed stays in it, and comes along.
    let staged_here: Vec<_> = fs::read_dir(sides.here(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with(".prn-cp."))
        .collect();
    assert_eq!(staged_here, Vec::<std::ffi::OsString>::new());
}

#[test]
fn many_small_files_arrive() {
    let sides = Sides::new();
    for folder in 0..50 {
        let folder = sides.here("many").join(folder.to_string());
        fs::create_dir_all(&folder).unwrap();
        for n in 0..100 {
            fs::write(folder.join(n.to_string()), format!("{n}")).unwrap();
        }
    }
    sides.copy(&["many", "w:"]);
    // Once more, over what is there.
    sides.copy(&["many", "w:"]);
    sides.copy(&["w:many", "back"]);
    let sent = tree(&sides.here("many"));
    assert_eq!(sent.len(), 5_050);
    assert_eq!(sent, tree(&sides.far("many")));
    assert_eq!(sent, tree(&sides.here("back")));
}
