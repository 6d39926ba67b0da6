//! `prn-clean` and `prn-strict`, as the supervisor starts them: as
//! an ordinary user, with open descriptors. A shell stands for the supervisor.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what tests use outside of their functions too"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
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
        // As `prn server start` compiles it on this host.
        let plan = prn_launch::confinement::strict().unwrap();
        let plan = prn_ipc_protocol::codec::encode(&plan).unwrap();
        fs::write(folder.path("confinement"), plan).unwrap();
        folder
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    /// A shell script, as the process's user, in its directory.
    fn shell(&self, script: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("bash");
        command
            .args(["-euc", &format!("{STRICT}{script}"), "bash"])
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

    /// Runs a program under profile strict; returns how it ended and what was reported.
    fn strict(&self, words: &[&str]) -> (Output, Vec<u8>) {
        fs::write(self.path("report"), "").unwrap();
        fs::set_permissions(self.path("report"), PermissionsExt::from_mode(0o666)).unwrap();
        let script = r#"exec 3> "$F/report" 4< "$F/temporary" 5< "$F/own"; strict "$@""#;
        let output = self.shell(script, words);
        (output, fs::read(self.path("report")).unwrap())
    }

    /// Runs a shell script under profile strict, which must work; returns its output.
    fn strict_shell(&self, script: &str) -> String {
        let (output, report) = self.strict(&["bash", "-euc", script]);
        let (out, error) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{script}\n{:?} {report:?}\n{out}\n{error}",
            output.status
        );
        assert_eq!(report, [], "the program runs, so nothing is reported");
        out.into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _unused = fs::remove_dir_all(&self.0);
    }
}

/// `strict ARGV…`: executes the tool as the supervisor does, for a client who asked for this
/// shell's environment: with none of its own, and with where the program may be, the environment
/// and the argument vector in a file.
const STRICT: &str = r#"
strict() {
    local variables paths=() folder
    mapfile -d '' -t variables < <(env -0)
    case ${1-} in
        '') ;;
        */*) paths=("$1") ;;
        *) for folder in ${PATH//:/ }; do paths+=("$folder/$1"); done ;;
    esac
    local launch; launch=$(mktemp)
    {
        printf '%s\0' ${#paths[@]}; ((${#paths[@]} == 0)) || printf '%s\0' "${paths[@]}"
        printf '%s\0' ${#variables[@]} "${variables[@]}"; (($# == 0)) || printf '%s\0' "$@"
    } > "$launch"
    exec 6< "$launch"; rm "$launch"
    exec 7< "$F/confinement"
    exec -c -a prn-strict "$F/prn-tools"
}
"#;

/// Places of steps in the order of `ChildStep`.
const WORKING_DIRECTORY: u8 = 5;
const CONFINEMENT: u8 = 7;
const EXEC: u8 = 8;
const INTERPRETER: u8 = 9;

/// As the supervisor's child reports: the step, then errno.
fn report(step: u8, errno: i32) -> Vec<u8> {
    prn_ipc_protocol::codec::encode(&(step, errno)).unwrap()
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether strict can work here at all.
fn strict_is_possible() -> bool {
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-current-user",
        "--net",
        "--mount",
        "--ipc",
        "--uts",
        "true",
    ]);
    if root() {
        command.uid(USER).gid(USER);
    }
    let namespaces = command.current_dir("/").output().unwrap();
    if !namespaces.status.success() {
        println!("skipped: this host forbids user namespaces");
    }
    namespaces.status.success()
}

/// On the root file system, which strict does not cover.
fn strict_folder(name: &str) -> Folder {
    Folder::new(
        PathBuf::from(if root() {
            "/var"
        } else {
            env!("CARGO_TARGET_TMPDIR")
        }),
        name,
    )
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

#[test]
fn strict_has_no_network_no_privilege_and_its_own_namespaces() {
    if !strict_is_possible() {
        return;
    }
    let folder = strict_folder("network");
    let status = folder.strict_shell("cat /proc/self/status");
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (field("NoNewPrivs:"), field("Seccomp:")),
        ("1".into(), "2".into())
    );
    // Rust's runtime ignores SIGPIPE: the program must not (J2).
    assert_eq!(
        u64::from_str_radix(&field("SigIgn:"), 16).unwrap() & 1 << 12,
        0
    );
    assert_eq!(field("SigBlk:"), "0000000000000000");
    if root() {
        let all_four = [USER; 4].map(|id| id.to_string()).join("\t");
        assert_eq!((field("Uid:"), field("Gid:")), (all_four.clone(), all_four));
    }
    for kind in ["user", "net", "mnt", "ipc", "uts"] {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(
            folder
                .strict_shell(&format!("readlink /proc/self/ns/{kind}"))
                .trim(),
            own.to_str().unwrap()
        );
    }
    // Of what was handed to it nothing is left: a descriptor of the host's folders would lead out.
    let open = folder.strict_shell("ls -l /proc/self/fd");
    assert!(
        open.contains("pipe:") && !open.contains(folder.0.to_str().unwrap()),
        "{open}"
    );
    assert_eq!(
        folder.strict_shell("tail -n +3 /proc/self/net/dev | cut -d: -f1 | tr -d ' '"),
        "lo\n"
    );
    assert_eq!(
        folder
            .strict_shell("if (exec 3<> /dev/tcp/127.0.0.1/1) 2> /dev/null; then echo reached; fi"),
        ""
    );
    assert_eq!(folder.strict_shell("ls -A /run | wc -l"), "0\n");
}

#[test]
fn l2_the_signal_at_the_supervisors_death_survives_new_namespaces() {
    let prctl = "/usr/bin/python3";
    if !strict_is_possible() || !std::path::Path::new(prctl).exists() {
        println!("skipped: it is asked for with python3");
        return;
    }
    let folder = strict_folder("death");
    // PR_GET_PDEATHSIG. A change of identity clears it (prctl(2)), and a user namespace is one in
    // part.
    let ask = "import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print(n.value)";
    let script = r#"exec 3> "$F/own/report" 4< "$F/temporary" 5< "$F/own"
        export -f strict
        exec setpriv --pdeathsig KILL bash -c 'strict "$@"' bash "$@""#;
    let output = folder.shell(script, &[prctl, "-c", ask]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "9\n", "{output:?}");
}

#[test]
fn strict_sees_and_changes_no_files_but_its_own() {
    if !strict_is_possible() {
        return;
    }
    let folder = strict_folder("files");
    let marks: Vec<_> = ["/tmp", "/var/tmp"]
        .iter()
        .map(|place| PathBuf::from(place).join(folder.0.file_name().unwrap()))
        .collect();
    marks
        .iter()
        .for_each(|mark| fs::write(mark, "the host's").unwrap());
    let out = folder.strict_shell(
        r#"
        cd "$HOME"; echo x > a; mkdir d; mv a d/b; mv d/b "$TMPDIR/c"
        test "$(ls -A /tmp)" = c; test "$(ls -A /var/tmp)" = c; test -z "$(ls -A /dev/shm)"
        echo x > /tmp/e; mv /tmp/e "$HOME/e"; mktemp > /dev/null; echo x > /dev/shm/s; echo x > /dev/null
        test "$( (echo x > /dev/stderr) 2>&1)" = x; ls / /usr > /dev/null
        refused() { if "$@" 2> /dev/null; then echo "allowed: $*"; fi; }
        for place in "$F/others" /run /var /dev; do refused touch "$place/prn-x"; refused mkdir "$place/prn-d"; done
        refused mount -t tmpfs none "$HOME/d"; refused umount /tmp; refused unshare --user true; refused chroot / true
        refused strace -o /dev/null true; refused hostname x
        echo done"#,
    );
    assert_eq!(out, "done\n");
    for mark in marks {
        assert_eq!(fs::read_to_string(&mark).unwrap(), "the host's");
        fs::remove_file(mark).unwrap();
    }
    // The host has seen nothing of it but what is in its directories.
    assert!(folder.path("own/e").exists() && folder.path("temporary/c").exists());
    assert_eq!(fs::read_dir(folder.path("others")).unwrap().count(), 0);
    let python = r#"/usr/bin/python3 -c '
import multiprocessing, socket, threading
multiprocessing.Lock(); a, b = socket.socketpair(); a.send(b"x")
server = socket.socket(socket.AF_UNIX); server.bind("/tmp/s"); server.listen()
socket.socket(socket.AF_UNIX).connect("/tmp/s")
t = threading.Thread(target=print, args=("ran",)); t.start(); t.join()
try: socket.socket(socket.AF_INET)
except OSError as error: assert error.errno == 97, error
else: assert False'"#;
    if std::path::Path::new("/usr/bin/python3").exists() {
        assert_eq!(folder.strict_shell(python), "ran\n");
    } else {
        println!("skipped: no python3");
    }
}

#[test]
fn what_was_there_when_the_server_started_and_is_gone_keeps_nothing_from_running() {
    if !strict_is_possible() {
        return;
    }
    let folder = strict_folder("gone");
    let mut plan = prn_launch::confinement::strict().unwrap();
    let gone = folder.path("a-device-that-was-unplugged");
    plan.files.push((gone.to_str().unwrap().to_owned(), 2));
    let plan = prn_ipc_protocol::codec::encode(&plan).unwrap();
    fs::write(folder.path("confinement"), plan).unwrap();
    assert_eq!(folder.strict_shell("echo x > /dev/null; echo ran"), "ran\n");
}

#[test]
fn directories_below_a_covered_folder_keep_their_paths() {
    if !strict_is_possible() {
        return;
    }
    let folder = Folder::new(PathBuf::from("/tmp"), "below");
    let out = folder
        .strict_shell(r#"test "$PWD" = "$HOME"; echo x > here; echo y > "$TMPDIR/there"; cat /tmp/there; ls "$F""#);
    assert_eq!(out, "y\nown\ntemporary\n");
    assert_eq!(fs::read_to_string(folder.path("own/here")).unwrap(), "x\n");
    assert_eq!(
        fs::metadata(folder.path("temporary/there")).unwrap().uid(),
        fs::metadata(folder.path("own")).unwrap().uid()
    );
}

#[test]
fn j8_what_keeps_a_program_from_running_is_reported_as_for_profile_default() {
    if !strict_is_possible() {
        return;
    }
    let folder = strict_folder("exec");
    fs::write(folder.path("own/plain"), "no program").unwrap();
    fs::write(folder.path("own/script"), "#!/does/not/exist\n").unwrap();
    fs::write(folder.path("own/text"), "echo ran by no shell\n").unwrap();
    for name in ["script", "text"] {
        fs::set_permissions(
            folder.path("own").join(name),
            PermissionsExt::from_mode(0o755),
        )
        .unwrap();
    }
    symlink("loop", folder.path("own/loop")).unwrap();
    let cases = [
        ("does-not-exist", EXEC, 2),
        ("./plain", EXEC, 13),
        ("./script", INTERPRETER, 2),
        ("./text", EXEC, 8),
        ("./loop", EXEC, 40),
        ("/usr", EXEC, 13),
        ("/etc/passwd/x", EXEC, 2),
    ];
    for (program, step, errno) in cases {
        let (output, reported) = folder.strict(&[program, "x"]);
        assert_eq!(
            (output.status.code(), reported),
            (Some(127), report(step, errno)),
            "{program}"
        );
    }
    assert_eq!(folder.strict(&[]).1, report(EXEC, 2));
    let (output, reported) = folder.strict(&["sh", "-c", "echo \"$0 $1\"; exit 7", "a", "b c"]);
    assert_eq!(
        (output.status.code(), output.stdout, reported),
        (Some(7), b"a b c\n".to_vec(), vec![])
    );
    // In a folder of the host's that is covered there is nothing.
    let gone = std::env::temp_dir().join(format!("prn-tools-gone-{}", std::process::id()));
    fs::create_dir(&gone).unwrap();
    let script = r#"exec 3> "$F/report" 4< "$F/temporary" 5< "$F/own"; cd "$1"; strict true"#;
    folder.shell(script, &[gone.to_str().unwrap()]);
    assert_eq!(
        fs::read(folder.path("report")).unwrap(),
        report(WORKING_DIRECTORY, 2)
    );
    fs::remove_dir(gone).unwrap();
}

#[test]
fn a_host_without_user_namespaces_is_an_error_and_never_less_confinement() {
    if !strict_is_possible() {
        return;
    }
    let folder = strict_folder("forbidden");
    fs::write(folder.path("report"), "").unwrap();
    fs::set_permissions(folder.path("report"), PermissionsExt::from_mode(0o666)).unwrap();
    // In a namespace of its own, where one may say how many there can be below it
    // (user_namespaces(7), ENOSPC).
    let script = r#"export -f strict; unshare --user --map-root-user bash -euc 'echo 0 > /proc/sys/user/max_user_namespaces
        exec 3> "$F/report" 4< "$F/temporary" 5< "$F/own"; strict touch "$F/own/ran"'"#;
    let output = folder.shell(script, &[]);
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    assert_eq!(
        fs::read(folder.path("report")).unwrap(),
        report(CONFINEMENT, 28)
    );
    assert!(!folder.path("own/ran").exists());
}
