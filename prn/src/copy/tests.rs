//! Both ways of a copy, through the real scripts and the real tar(1), without a server between.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::Uid;
use prn_client::InputPiece;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::copy::archive::encode;
use crate::copy::archive::member::{Content, Kind, Member, Time};
use crate::copy::archive::read::Archive;
use crate::copy::far::FarPath;
use crate::copy::fault::CopyFault;
use crate::copy::pack::{self, Packed};
use crate::copy::plan;
use crate::copy::selection::Selection;
use crate::copy::staging::{Staging, Target};
use crate::copy::unpack::{Incoming, unpack};
use crate::copy::up::{Load, arguments, load};
use crate::output::Progress;

/// A user without privileges, as a workspace's is, where tests have any.
const NOBODY: u32 = 65534;

/// A workspace, and a directory of this side.
struct Sides {
    workspace: TempDir,
    here: TempDir,
}

impl Sides {
    fn new() -> Self {
        let sides = Self {
            workspace: TempDir::new().unwrap(),
            here: TempDir::new().unwrap(),
        };
        if Uid::effective().is_root() {
            std::os::unix::fs::chown(sides.far(""), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        sides
    }

    fn far(&self, path: &str) -> PathBuf {
        self.workspace.path().join(path)
    }

    fn here(&self, path: &str) -> PathBuf {
        self.here.path().join(path)
    }

    fn script(&self, text: &str, arguments: &[String]) -> Command {
        let mut sh = Command::new("sh");
        sh.args(["-c", text, "prn-cp"])
            .args(arguments)
            .current_dir(self.workspace.path())
            .env("LC_ALL", "C")
            .stderr(Stdio::piped());
        if Uid::effective().is_root() {
            sh.uid(NOBODY).gid(NOBODY);
        }
        sh
    }

    fn start_up(&self, arguments: &[String]) -> Child {
        self.script(include_str!("up.sh"), arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What the script says where it fails.
    fn up(&self, what: Selection, to: &str) -> Result<(), String> {
        let (arguments, bytes) = packed(what, to).map_err(|fault| fault.to_string())?;
        self.up_bytes(&arguments, &bytes)
    }

    fn up_bytes(&self, arguments: &[String], bytes: &[u8]) -> Result<(), String> {
        let mut child = self.start_up(arguments);
        let mut stdin = child.stdin.take().unwrap();
        // It may not read all.
        let _unread = stdin.write_all(bytes);
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        self.assert_no_staging();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn up_paths(&self, paths: &[&str], to: &str) -> Result<(), String> {
        let paths = paths.iter().map(|path| self.here(path)).collect();
        self.up(Selection::Paths(paths), to)
    }

    fn down(&self, from: &str, to: &str) -> Result<(), String> {
        let from = FarPath(from.into());
        let target = Target::find(&self.here(to), from.name().unwrap());
        let target = target.map_err(|fault| fault.to_string())?;
        let mut staging = Staging::new(target).unwrap();
        let mut child = self
            .script(include_str!("down.sh"), &[from.printed()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let unpacked = unpack_from(stdout, &mut staging);
        let output = child.wait_with_output().unwrap();
        let done = if output.status.success() {
            unpacked.and_then(|()| staging.install())
        } else {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(CopyFault::Far(said))
        };
        drop(staging);
        assert_none_staged(&self.here(""));
        done.map_err(|fault| fault.to_string())
    }

    fn assert_no_staging(&self) {
        assert_none_staged(self.workspace.path());
    }
}

fn assert_none_staged(folder: &Path) {
    let is_staging = |path: &Path| path.to_string_lossy().contains(".prn-cp.");
    assert!(!tree(folder).keys().any(|path| is_staging(path)));
}

/// Arguments of the script, and what it reads.
fn packed(what: Selection, to: &str) -> Result<(Vec<String>, Vec<u8>), CopyFault> {
    let progress = Progress::new(true);
    let (sender, pieces) = mpsc::channel(8);
    let reading = std::thread::spawn(move || all_of(pieces));
    let load = load(what)?;
    let shape = load.shape();
    let packed = match load {
        Load::Plan(plan) => pack::plan(&plan, sender, &progress),
        Load::Archive(archive) => pack::archive(archive, sender, &progress),
    };
    let bytes = reading.join().unwrap();
    assert!(matches!(packed?, Packed::All(_)));
    Ok((arguments(&shape, &FarPath(to.into())), bytes))
}

fn all_of(mut pieces: mpsc::Receiver<InputPiece>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.blocking_recv() {
        if let InputPiece::Data(data) = piece {
            assert!(data.len() <= prn_client::INPUT_PIECE_MAX);
            bytes.extend_from_slice(&data);
        }
    }
    bytes
}

fn unpack_from(
    mut stream: impl Read + Send + 'static,
    staging: &mut Staging,
) -> Result<(), CopyFault> {
    let (sender, pieces) = mpsc::channel(8);
    std::thread::spawn(move || {
        let mut piece = vec![0; 50_000];
        while let Ok(read @ 1..) = stream.read(&mut piece) {
            let bytes = Bytes::copy_from_slice(&piece[..read]);
            if sender.blocking_send(bytes).is_err() {
                break;
            }
        }
    });
    let archive = Archive::new(Incoming(pieces));
    unpack(archive, &mut staging.tree, &Progress::new(true))
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

/// A folder's tree, without the folder itself.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
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
    let has_holes = is_file && metadata.blocks() * 512 + 65536 < metadata.size();
    let size = if is_file { metadata.size() } else { 0 };
    Seen {
        mode: metadata.mode(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        size,
        data: if size < 1 << 20 && is_file {
            fs::read(path).unwrap()
        } else {
            Vec::new()
        },
        target: fs::read_link(path).ok(),
        links: if is_file { metadata.nlink() } else { 0 },
        has_holes,
    }
}

fn date(path: &Path, seconds: i64, nanos: i64) {
    let time = TimeSpec::new(seconds, nanos);
    let flag = UtimensatFlags::NoFollowSymlink;
    utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, flag).unwrap();
}

/// Everything that is copied as it is.
fn make_everything(folder: &Path) {
    fs::create_dir_all(folder.join("empty directory")).unwrap();
    let odd: [&[u8]; 8] = [
        b"a file",
        b"a\nline",
        b"\xff\xfe",
        b"-rf",
        b"*",
        b".hidden",
        b"..twice",
        b"tab\t'\"\\$(x)`",
    ];
    for name in odd {
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let long = OsString::from_vec(vec![b'n'; 255]);
    let deep = folder.join(&long).join("d").join(&long);
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("end"), "deep").unwrap();
    symlink("/etc/passwd", folder.join("out")).unwrap();
    symlink("../../..", folder.join("up")).unwrap();
    symlink("nowhere".repeat(30), folder.join("far")).unwrap();
    fs::hard_link(folder.join("a file"), folder.join("again")).unwrap();
    fs::hard_link(folder.join("a file"), deep.join("again")).unwrap();
    for length in [0, 1, 511, 512, 513, 65535, 65536, 65537, 300_000] {
        let data: Vec<u8> = (0..length)
            .map(|n: u32| (n % 251).to_le_bytes()[0])
            .collect();
        fs::write(folder.join(format!("of {length}")), data).unwrap();
    }
    for mode in [0o400, 0o444, 0o644, 0o755, 0o700, 0o666] {
        let path = folder.join(format!("mode {mode:o}"));
        fs::write(&path, "x").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let sparse = File::create(folder.join("sparse")).unwrap();
    sparse.write_all_at(b"begin", 1 << 20).unwrap();
    sparse.write_all_at(b"middle", 3 << 30).unwrap();
    sparse.set_len(4 << 30).unwrap();
    File::create(folder.join("hole"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    date(&folder.join("of 1"), -5, 250_000_000);
    date(&folder.join("of 0"), 1 << 33, 1);
    date(&folder.join("out"), 1_000_000_000, 999_999_999);
    let read_only = folder.join("read-only");
    fs::create_dir_all(read_only.join("in it")).unwrap();
    fs::write(read_only.join("in it/file"), "r").unwrap();
    for path in [read_only.join("in it"), read_only] {
        fs::set_permissions(&path, Permissions::from_mode(0o555)).unwrap();
        date(&path, 1_234_567_890, 123_456_789);
    }
    date(&folder.join("empty directory"), 1, 2);
}

#[test]
fn everything_arrives_as_it_was_and_comes_back_so() {
    let sides = Sides::new();
    make_everything(&sides.here("src"));
    date(&sides.here("src"), 77, 88);
    sides.up_paths(&["src"], "").unwrap();
    let (sent, there) = (tree(&sides.here("")), tree(&sides.far("")));
    assert!(sent.len() > 35 && sent[Path::new("src/sparse")].has_holes);
    assert_eq!(sent, there);
    sides.down("src", "back").unwrap();
    assert_eq!(tree(&sides.here("src")), tree(&sides.here("back")));
    // Into what is there, and as what is in it.
    fs::create_dir(sides.here("into")).unwrap();
    sides.down("src", "into").unwrap();
    sides.down("src/.", "as").unwrap();
    assert_eq!(tree(&sides.here("src")), tree(&sides.here("into/src")));
    assert_eq!(tree(&sides.here("src")), tree(&sides.here("as")));
}

#[test]
fn a_directory_goes_below_one_that_is_there_and_becomes_one_that_is_not() {
    let sides = Sides::new();
    fs::create_dir_all(sides.here("src/d")).unwrap();
    fs::write(sides.here("src/d/f"), "1").unwrap();
    fs::write(sides.here("file"), "2").unwrap();
    let names = |sides: &Sides| -> Vec<String> {
        let tree = tree(&sides.far(""));
        tree.keys().map(|path| path.display().to_string()).collect()
    };
    sides.up_paths(&["src"], "new").unwrap();
    assert_eq!(names(&sides), ["new", "new/d", "new/d/f"]);
    sides.up_paths(&["src/d"], "new/").unwrap();
    sides.up_paths(&["file"], "new/g").unwrap();
    sides.up_paths(&["src/.", "file"], "new/d").unwrap();
    assert_eq!(
        names(&sides),
        [
            "new",
            "new/d",
            "new/d/d",
            "new/d/d/f",
            "new/d/f",
            "new/d/file",
            "new/g"
        ]
    );
    for (paths, to, why) in [
        (&["src"][..], "no/where", "there is no directory"),
        (&["file"], "no/", "there is no directory"),
        (&["file"], "new/g/", "there is no directory"),
        (&["src"], "new/g", "no directory"),
        (&["src", "file"], "no", "is no directory"),
        (&["src/d/f", "file"], "new/g", "is no directory"),
        (&["file", "file"], "new", "same name"),
        (&["nothing"], "new", "cannot look at"),
    ] {
        let before = names(&sides);
        let said = sides.up_paths(paths, to).unwrap_err();
        assert!(said.contains(why), "{paths:?} {to}: {said}");
        assert_eq!(names(&sides), before);
    }
    fs::create_dir(sides.far("new/g2")).unwrap();
    fs::create_dir_all(sides.here("x/g2")).unwrap();
    fs::write(sides.here("g2"), "").unwrap();
    assert!(
        sides
            .up_paths(&["g2"], "new")
            .unwrap_err()
            .contains("is a directory")
    );
    assert!(
        sides
            .up(Selection::Paths(vec!["/dev/null".into()]), "")
            .unwrap_err()
            .contains("device")
    );
}

#[test]
fn what_is_there_is_merged_with_and_its_links_are_not_followed() {
    for way in ["up", "down"] {
        let sides = Sides::new();
        let (from, to) = if way == "up" {
            ("src", "dst")
        } else {
            ("dst", "src")
        };
        let source = if way == "up" {
            sides.here(from)
        } else {
            sides.far(from)
        };
        let target = if way == "up" {
            sides.far(to)
        } else {
            sides.here(to)
        };
        fs::create_dir_all(source.join("both/deep/er")).unwrap();
        fs::create_dir_all(source.join("only")).unwrap();
        for (path, text) in [
            ("f", "new"),
            ("both/f", "new"),
            ("both/deep/er/f", "new"),
            ("only/f", "new"),
        ] {
            fs::write(source.join(path), text).unwrap();
        }
        fs::create_dir_all(target.join("both/deep")).unwrap();
        for (path, text) in [
            ("f", "old"),
            ("both/f", "old"),
            ("both/g", "old"),
            ("g", "old"),
        ] {
            fs::write(target.join(path), text).unwrap();
        }
        own(&sides);
        let outside = TempDir::new().unwrap();
        fs::write(outside.path().join("f"), "outside").unwrap();
        let copy = || match way {
            "up" => sides.up_paths(&["src/."], "dst"),
            _ => sides.down("dst/.", "src"),
        };
        copy().unwrap();
        let read = |path: &str| fs::read_to_string(target.join(path)).unwrap();
        for path in ["f", "both/f", "both/deep/er/f", "only/f"] {
            assert_eq!(read(path), "new", "{way} {path}");
        }
        for path in ["both/g", "g"] {
            assert_eq!(read(path), "old", "{way} {path}");
        }
        // A link where a file is to be is replaced, one where a directory is to be is in the way.
        fs::remove_file(target.join("both/f")).unwrap();
        symlink(outside.path().join("f"), target.join("both/f")).unwrap();
        copy().unwrap();
        assert_eq!(read("both/f"), "new");
        for inner in ["only", "both/deep"] {
            fs::remove_dir_all(target.join(inner)).unwrap();
            symlink(outside.path(), target.join(inner)).unwrap();
            copy().unwrap_err();
            fs::remove_file(target.join(inner)).unwrap();
        }
        let left = tree(outside.path());
        assert_eq!(left.len(), 1);
        assert_eq!(left[Path::new("f")].data, b"outside");
    }
}

/// What the tests have put in the workspace is its user's.
fn own(sides: &Sides) {
    if Uid::effective().is_root() {
        let nobody = format!("{NOBODY}:{NOBODY}");
        let done = Command::new("chown")
            .args(["-hR", &nobody])
            .arg(sides.far(""))
            .status();
        assert!(done.unwrap().success());
    }
}

#[test]
fn what_is_no_file_is_refused_by_name_before_anything_is_there() {
    let sides = Sides::new();
    fs::create_dir_all(sides.here("src/d")).unwrap();
    let fifo = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for n in 0..12 {
        fifo(&sides.here(&format!("src/d/{n}")));
    }
    let _socket = std::os::unix::net::UnixListener::bind(sides.here("src/s")).unwrap();
    let said = sides.up_paths(&["src"], "").unwrap_err();
    assert!(
        said.contains("is a FIFO") && said.contains("and 3 more"),
        "{said}"
    );
    assert!(tree(&sides.far("")).is_empty());
    fs::create_dir(sides.far("w")).unwrap();
    fifo(&sides.far("w/pipe"));
    own(&sides);
    let said = sides.down("w", "back").unwrap_err();
    assert!(said.contains("./pipe"), "{said}");
    assert!(!sides.here("back").exists());
}

#[test]
fn the_bits_that_change_who_a_program_runs_as_are_left_out() {
    let sides = Sides::new();
    fs::create_dir(sides.here("d")).unwrap();
    fs::write(sides.here("d/f"), "").unwrap();
    fs::set_permissions(sides.here("d/f"), Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(sides.here("d"), Permissions::from_mode(0o3755)).unwrap();
    sides.up_paths(&["d"], "").unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode(sides.far("d")), mode(sides.far("d/f"))),
        (0o755, 0o755)
    );
    fs::set_permissions(sides.far("d/f"), Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(sides.far("d"), Permissions::from_mode(0o3755)).unwrap();
    sides.down("d", "e").unwrap();
    assert_eq!(
        (mode(sides.here("e")), mode(sides.here("e/f"))),
        (0o755, 0o755)
    );
}

#[test]
fn a_stream_that_ends_early_leaves_nothing() {
    let sides = Sides::new();
    fs::create_dir(sides.here("src")).unwrap();
    fs::write(sides.here("src/a"), vec![1; 3000]).unwrap();
    fs::write(sides.here("src/b"), vec![2; 1000]).unwrap();
    let (arguments, bytes) = packed(Selection::Paths(vec![sides.here("src")]), "").unwrap();
    // At the ends of members, within one, and before the end's own blocks.
    for length in [700, 2000]
        .into_iter()
        .chain((0..bytes.len() - 1023).step_by(512))
    {
        let whole = length == bytes.len() - 1024;
        let done = sides.up_bytes(&arguments, &bytes[..length]);
        assert_eq!(done.is_ok(), whole, "{length}: {done:?}");
        assert_eq!(tree(&sides.far("")).is_empty(), !whole);
    }
}

#[test]
fn a_copy_that_is_stopped_leaves_nothing() {
    use nix::sys::signal::{Signal, killpg};
    use nix::unistd::Pid;
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let sides = Sides::new();
        fs::create_dir(sides.here("src")).unwrap();
        fs::write(sides.here("src/a"), vec![1; 300_000]).unwrap();
        let (arguments, bytes) = packed(Selection::Paths(vec![sides.here("src")]), "").unwrap();
        let mut child = sides
            .script(include_str!("up.sh"), &arguments)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&bytes[..200_000]).unwrap();
        let is_staged = || {
            tree(&sides.far(""))
                .keys()
                .any(|path| path.ends_with("t/a"))
        };
        for _ in 0..1000 {
            if is_staged() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(is_staged());
        // As a stop does it: every process of the tree.
        let group = Pid::from_raw(child.id().try_into().unwrap());
        killpg(group, signal).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(tree(&sides.far("")).is_empty(), "{signal}");
    }
}

#[test]
fn what_is_being_moved_is_moved_whatever_stops_it() {
    let sides = Sides::new();
    fs::create_dir_all(sides.here("src/new")).unwrap();
    for path in ["src/old", "src/new/f"] {
        fs::write(sides.here(path), "new").unwrap();
    }
    sides.up_paths(&["src"], "").unwrap();
    // It stops the group that it is in, as a stop of the process would, before it moves anything.
    let programs = TempDir::new().unwrap();
    for name in ["mv", "cp"] {
        let path = programs.path().join(name);
        let text = format!(
            "#!/bin/sh\nkill -TERM 0\nkill -HUP 0\nkill -INT 0\nPATH=${{PATH#*:}}\nexec {name} \"$@\"\n"
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(programs.path(), Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(sides.far("src/new")).unwrap();
    let (arguments, bytes) = packed(Selection::Paths(vec![sides.here("src")]), "").unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut child = sides
        .script(include_str!("up.sh"), &arguments)
        .env("PATH", format!("{}:{path}", programs.path().display()))
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(tree(&sides.far("src")), tree(&sides.here("src")));
    sides.assert_no_staging();
}

#[test]
fn a_stream_that_brings_nothing_more_is_given_up() {
    let sides = Sides::new();
    fs::create_dir(sides.here("src")).unwrap();
    fs::write(sides.here("src/a"), vec![1; 300_000]).unwrap();
    let (mut arguments, bytes) = packed(Selection::Paths(vec![sides.here("src")]), "").unwrap();
    *arguments.last_mut().unwrap() = "0.02".to_owned();
    let mut child = sides.start_up(&arguments);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&bytes[..200_000]).unwrap();
    // Standard input stays open all the while.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert!(!output.status.success());
    assert!(tree(&sides.far("")).is_empty());
}

#[test]
fn files_that_are_named_one_by_one_come_with_their_directories() {
    let sides = Sides::new();
    fs::create_dir_all(sides.here("a/b/c")).unwrap();
    for path in ["a/f", "a/b/f", "a/b/c/f", "g"] {
        fs::write(sides.here(path), path).unwrap();
    }
    let listed = |names: &[&str]| Selection::Listed {
        base: sides.here(""),
        names: names.iter().map(PathBuf::from).collect(),
    };
    sides.up(listed(&["a/b/f", "a/b/c", "g"]), "").unwrap();
    let there: Vec<_> = tree(&sides.far("")).into_keys().collect();
    assert_eq!(
        there,
        ["a", "a/b", "a/b/c", "a/b/f", "g"].map(PathBuf::from)
    );
    for bad in ["../x", "/etc/passwd", "a/../g"] {
        assert!(sides.up(listed(&[bad]), "").is_err(), "{bad}");
    }
    symlink("a", sides.here("l")).unwrap();
    sides.up(listed(&["l/f"]), "").unwrap_err();
}

#[test]
fn an_archive_of_any_tar_is_copied_as_its_content() {
    let sides = Sides::new();
    make_everything(&sides.here("src"));
    for format in ["gnu", "posix", "ustar"] {
        let file = sides.here("archive");
        let exclude: &[&str] = match format {
            // It has no room for these.
            "ustar" => &[
                "--exclude=n*",
                "--exclude=far",
                "--exclude=of 0",
                "--exclude=sparse",
                "--exclude=hole",
                "--exclude=of 1",
            ],
            _ => &[],
        };
        let tar = Command::new("tar")
            .args(["-c", "--format", format, "-C"])
            .arg(sides.here("src"))
            .args(exclude)
            .args(["--exclude=sparse", "--exclude=hole", "-f"])
            .arg(&file)
            .arg(".")
            .status();
        assert!(tar.unwrap().success());
        let stream = Selection::Stream(File::open(file).unwrap());
        sides.up(stream, format).unwrap();
        let there = tree(&sides.far(format));
        assert!(there.len() > 25);
        let mut sent = tree(&sides.here("src"));
        sent.retain(|path, _| there.contains_key(path));
        let but_times = |tree: BTreeMap<PathBuf, Seen>| -> Vec<_> {
            tree.into_iter()
                .map(|(path, seen)| (path, seen.mode, seen.data, seen.target))
                .collect()
        };
        if format == "posix" {
            sent.retain(|path, _| path != Path::new("a file") && path != Path::new("again"));
        }
        let there = there
            .into_iter()
            .filter(|(path, _)| sent.contains_key(path))
            .collect();
        assert_eq!(but_times(sent), but_times(there), "{format}");
    }
    let cut = sides.here("cut");
    let whole = fs::read(sides.here("archive")).unwrap();
    fs::write(&cut, &whole[..5120]).unwrap();
    let stream = Selection::Stream(File::open(cut).unwrap());
    let said = sides.up(stream, "cut").unwrap_err();
    assert!(said.contains("before its end"), "{said}");
}

fn member(name: &[u8], kind: Kind) -> Member {
    Member {
        name: name.to_vec(),
        mode: 0o644,
        modified: Time::default(),
        kind,
    }
}

/// An archive by hand, in which every file's data is "evil".
fn made(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        let size = encode::head(member, &mut bytes);
        if size == 4 {
            bytes.extend_from_slice(b"evil");
        }
        encode::pad(&mut bytes, size);
    }
    bytes.extend_from_slice(&encode::END);
    bytes
}

#[test]
fn no_archive_writes_outside() {
    let evil = || Kind::File(Content::whole(4));
    let root = member(b"./", Kind::Directory);
    let link = |name: &[u8], to: &[u8]| member(name, Kind::Symlink(to.to_vec()));
    let hard = |name: &[u8], to: &[u8]| member(name, Kind::HardLink(to.to_vec()));
    let sides = Sides::new();
    fs::create_dir(sides.here("outside")).unwrap();
    fs::write(sides.here("outside/victim"), "good").unwrap();
    let outside = sides.here("outside").into_os_string().into_vec();
    let victim = sides.here("outside/victim").into_os_string().into_vec();
    let absolute = [&outside[..], b"/new"].concat();
    let long = vec![b'x'; 256];
    let deep = b"d/".repeat(100_000);
    let archives: Vec<(&str, Vec<Member>)> = vec![
        (
            "through a link",
            vec![
                root.clone(),
                link(b"l", &outside),
                member(b"l/victim", evil()),
            ],
        ),
        (
            "through a relative link",
            vec![
                root.clone(),
                link(b"l", b"../../outside"),
                member(b"l/new", evil()),
            ],
        ),
        (
            "a directory through a link",
            vec![
                root.clone(),
                link(b"l", &outside),
                member(b"l/d", Kind::Directory),
            ],
        ),
        (
            "a link as a directory",
            vec![
                root.clone(),
                link(b"l", &outside),
                member(b"l", Kind::Directory),
                member(b"l/new", evil()),
            ],
        ),
        (
            "over a link",
            vec![root.clone(), link(b"l", &victim), member(b"l", evil())],
        ),
        (
            "over a directory",
            vec![
                root.clone(),
                member(b"d", Kind::Directory),
                link(b"d", &outside),
                member(b"d/new", evil()),
            ],
        ),
        (
            "dots",
            vec![root.clone(), member(b"../outside/new", evil())],
        ),
        (
            "dots within",
            vec![root.clone(), member(b"a/../../outside/new", evil())],
        ),
        ("absolute", vec![root.clone(), member(&absolute, evil())]),
        ("hard link out", vec![root.clone(), hard(b"h", &victim)]),
        (
            "hard link up",
            vec![
                root.clone(),
                hard(b"h", b"../outside/victim"),
                member(b"h", evil()),
            ],
        ),
        (
            "hard link through a link",
            vec![root.clone(), link(b"l", &outside), hard(b"h", b"l/victim")],
        ),
        (
            "hard link to a link, over it",
            vec![
                root.clone(),
                link(b"l", &victim),
                hard(b"h", b"l"),
                member(b"h", evil()),
            ],
        ),
        (
            "hard link to nothing",
            vec![root.clone(), hard(b"h", b"nothing")],
        ),
        (
            "device",
            vec![root.clone(), member(b"dev", Kind::Other("x"))],
        ),
        ("long", vec![root.clone(), member(&long, evil())]),
        ("deep", vec![root.clone(), member(&deep, evil())]),
        (
            "twice",
            vec![root.clone(), member(b"f", evil()), member(b"f", evil())],
        ),
        ("two roots", vec![root.clone(), root.clone()]),
        (
            "two files",
            vec![member(b"f", evil()), member(b"../outside/new", evil())],
        ),
        (
            "a file's child",
            vec![link(b"l", &outside), member(b"l/new", evil())],
        ),
        ("no root", vec![member(b"a/b", evil())]),
        ("nothing", vec![]),
    ];
    let before = tree(&sides.here("outside"));
    for (what, members) in archives {
        let target = Target::find(&sides.here("target"), None).unwrap();
        let mut staging = Staging::new(target).unwrap();
        let archive = std::io::Cursor::new(made(&members));
        let unpacked = unpack_from(archive, &mut staging);
        assert!(unpacked.is_err(), "{what}");
        drop(staging);
        assert_eq!(tree(&sides.here("outside")), before, "{what}");
        assert_eq!(tree(&sides.here("")).len(), 2, "{what}");
    }
}

#[test]
fn bytes_that_are_no_archive_are_an_error() {
    let good = made(&[
        member(b".", Kind::Directory),
        member(b"f", Kind::File(Content::whole(4))),
    ]);
    let read = |bytes: &[u8]| -> Result<usize, CopyFault> {
        let (sender, pieces) = mpsc::channel(1 << 10);
        for piece in bytes.chunks(100) {
            sender.try_send(Bytes::copy_from_slice(piece)).unwrap();
        }
        drop(sender);
        let mut archive = Archive::new(Incoming(pieces));
        let mut count = 0;
        while archive.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    };
    assert_eq!(read(&good).unwrap(), 2);
    for length in 0..good.len() - 1024 {
        assert!(
            matches!(read(&good[..length]), Err(CopyFault::Cut)),
            "{length}"
        );
    }
    for at in 0..512 {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        assert!(read(&bad).is_err(), "{at}");
    }
}

/// A small disk, until this is dropped.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(at: &'a Path, pages: u32) -> Self {
        let options = format!("mode=0777,size={}k", pages * 4);
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        assert!(mount.status().unwrap().success());
        Self(at)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let umount = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(umount.unwrap().success());
    }
}

#[test]
fn a_full_disk_is_told_wherever_it_fills() {
    if !Uid::effective().is_root() {
        return;
    }
    let sides = Sides::new();
    for path in ["src/both", "src/only", "old/both"] {
        fs::create_dir_all(sides.here(path)).unwrap();
    }
    for path in ["f", "g", "both/f", "both/g", "only/f"] {
        fs::write(sides.here("src").join(path), "new").unwrap();
    }
    let (arguments, bytes) = packed(Selection::Paths(vec![sides.here("src/.")]), "dst").unwrap();
    let sent = tree(&sides.here("src"));
    let (mut good, mut bad) = (0, 0);
    for pages in 2..16 {
        let _disk = Disk::mount(sides.workspace.path(), pages);
        fs::create_dir_all(sides.far("dst/both")).unwrap();
        fs::write(sides.far("dst/f"), "old").unwrap();
        fs::write(sides.far("dst/both/f"), "old").unwrap();
        for path in ["dst", "dst/both", "dst/f", "dst/both/f"] {
            std::os::unix::fs::chown(sides.far(path), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        match sides.up_bytes(&arguments, &bytes) {
            Ok(()) => {
                let there = tree(&sides.far("dst"));
                let files = sent.iter().filter(|(_, seen)| seen.links > 0);
                for (path, seen) in files {
                    let data = there.get(path).map(|seen| &seen.data);
                    assert_eq!(data, Some(&seen.data), "{pages} pages: {path:?}");
                }
                good += 1;
            }
            Err(_) => bad += 1,
        }
    }
    assert!(good > 1 && bad > 1, "{good} {bad}");
}

#[test]
fn a_client_may_pause_but_one_that_is_gone_is_not_waited_for() {
    let sides = Sides::new();
    fs::write(sides.here("f"), "x").unwrap();
    let (arguments, bytes) = packed(Selection::Paths(vec![sides.here("f")]), "").unwrap();
    // A minute is nothing here, but it is counted.
    let (tools, minutes) = (sides.far("tools"), sides.far("minutes"));
    fs::create_dir(&tools).unwrap();
    let sleep = format!("#!/bin/sh\necho >>'{}'\n", minutes.display());
    fs::write(tools.join("sleep"), sleep).unwrap();
    fs::set_permissions(tools.join("sleep"), Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut sh = sides.script(include_str!("up.sh"), &arguments);
    let mut child = sh.env("PATH", path).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&bytes[..512]).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.ends_with("nothing has come for an hour\n"), "{said}");
    assert!(fs::read(&minutes).unwrap().len() >= 60);
    sides.assert_no_staging();
}

#[test]
fn a_plan_knows_the_bytes_that_will_be_read() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a"), vec![1; 5000]).unwrap();
    File::create(folder.path().join("hole"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let plan = plan::of_paths(&[folder.path().to_owned()]).unwrap();
    assert_eq!(plan.bytes, 5000);
}

#[test]
fn the_clean_up_removes_what_was_staged_and_not_what_is_in_its_place() {
    let sides = Sides::new();
    let target = Target::find(&sides.here("new"), None).unwrap();
    let mut staging = Staging::new(target).unwrap();
    let members = [
        member(b".", Kind::Directory),
        member(b"d", Kind::Directory),
        member(b"d/e", Kind::Directory),
        member(b"d/e/f", Kind::File(Content::whole(4))),
    ];
    unpack_from(std::io::Cursor::new(made(&members)), &mut staging).unwrap();
    let staged = fs::read_dir(sides.here("")).unwrap().next().unwrap();
    let staged = staged.unwrap().path();
    fs::rename(&staged, sides.here("moved")).unwrap();
    fs::create_dir(&staged).unwrap();
    fs::write(staged.join("somebody's"), "").unwrap();
    drop(staging);
    assert!(staged.join("somebody's").exists());
    assert!(tree(&sides.here("moved")).is_empty());
}

#[test]
fn what_was_swapped_since_it_was_looked_at_is_not_sent() {
    let sides = Sides::new();
    for folder in ["outside", "src/d"] {
        fs::create_dir_all(sides.here(folder)).unwrap();
        fs::write(sides.here(folder).join("f"), "text").unwrap();
    }
    let sent = |plan: &plan::Plan| {
        let (sender, pieces) = mpsc::channel(8);
        let sent = pack::plan(plan, sender, &Progress::new(true));
        all_of(pieces);
        sent
    };
    let plan = plan::of_paths(&[sides.here("src")]).unwrap();
    assert!(matches!(sent(&plan), Ok(Packed::All(_))));
    fs::rename(sides.here("src/d"), sides.here("d")).unwrap();
    symlink(sides.here("outside"), sides.here("src/d")).unwrap();
    assert!(matches!(sent(&plan), Err(CopyFault::Changed(_))));
    fs::remove_file(sides.here("src/d")).unwrap();
    fs::rename(sides.here("d"), sides.here("src/d")).unwrap();
    assert!(matches!(sent(&plan), Ok(Packed::All(_))));
    fs::rename(sides.here("outside/f"), sides.here("src/d/f")).unwrap();
    assert!(matches!(sent(&plan), Err(CopyFault::Changed(_))));
}
