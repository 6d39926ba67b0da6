//! What people run, doing what they run it for, under profile default and under strict, as
//! ordinarily as on a machine of their own: with /tmp, shared memory, queues and an account.
//!
//! docs/programs.md has the table of it, which is made from [`PROGRAMS`]. What does not work is in
//! it too: how it fails, word for word.
//!
//! Not in it: Go, whose Debian package takes 460 MB.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use prn_tests::server::Server;
use tempfile::TempDir;

/// One row: a program, or a way to use it.
struct Program {
    /// What the document calls it.
    name: &'static str,
    /// The commands (or patterns of paths) that must be there, and the Debian package of each.
    needs: &'static [(&'static str, &'static str)],
    /// What bash does with it. Its first argument is a folder that [`prepare`](Self::prepare) has
    /// made.
    script: &'static str,
    default: Outcome,
    strict: Outcome,
    /// What the reader should know of it.
    note: &'static str,
    /// Makes what the script needs and cannot make by itself.
    prepare: fn(&Path),
}

/// What becomes of a script.
enum Outcome {
    Works,
    /// With this in what it writes.
    Fails(&'static str),
}
use Outcome::{Fails, Works};

/// One that works everywhere, to write down only what is different.
const PROGRAM: Program = Program {
    name: "",
    needs: &[],
    script: "",
    default: Works,
    strict: Works,
    note: "",
    prepare: |_| {},
};

/// A script of the folder beside this file, behind what all begin with.
macro_rules! script {
    ($($file:literal),+) => {
        concat!(
            include_str!("everyday_programs/begin.sh"),
            $(include_str!(concat!("everyday_programs/", $file, ".sh"))),+
        )
    };
}

/// A test for each program, and [`PROGRAMS`], so that none is in the table that is not tested.
macro_rules! tests {
    ($($test:ident: $program:expr,)+) => {
        const PROGRAMS: &[Program] = &[$($program),+];

        $(
            #[test]
            fn $test() {
                $program.is_as_the_table_says();
            }
        )+
    };
}

/// No kind of socket is to be had but AF_UNIX.
const NO_NETWORK: &str = "no network";

tests!(
    python_shares_memory_locks_and_pools: Program {
        name: "Python's multiprocessing: pools, locks, shared memory",
        needs: &[("/usr/bin/python3", "python3")],
        script: script!("python_multiprocessing"),
        ..PROGRAM
    },
    pytest_makes_folders_and_takes_output: Program {
        name: "pytest",
        needs: &[("pytest-3", "python3-pytest")],
        script: script!("pytest"),
        ..PROGRAM
    },
    pip_installs_from_a_folder: Program {
        name: "pip install from a folder",
        needs: &[("/usr/bin/pip3", "python3-pip")],
        script: script!("wheel", "pip_folder"),
        ..PROGRAM
    },
    pip_installs_from_an_index: Program {
        name: "pip install from an index",
        needs: &[("/usr/bin/pip3", "python3-pip")],
        script: script!("wheel", "pip_index"),
        strict: Fails("[Errno 97] Address family not supported by protocol"),
        note: NO_NETWORK,
        ..PROGRAM
    },
    npm_installs_from_its_lock_file: Program {
        name: "npm ci, offline",
        needs: &[("node", "nodejs"), ("npm", "npm")],
        script: script!("npm"),
        ..PROGRAM
    },
    cargo_builds_with_a_dependency_and_a_build_script: Program {
        name: "cargo build, offline",
        needs: &[("gcc", "gcc")],
        script: script!("cargo"),
        prepare: toolchain,
        note: "with a toolchain that others may read: not one below `/root` or `/home`",
        ..PROGRAM
    },
    cmake_and_ninja_build_and_test: Program {
        name: "CMake and Ninja",
        needs: &[("cmake", "cmake"), ("ninja", "ninja-build"), ("gcc", "gcc")],
        script: script!("cmake"),
        ..PROGRAM
    },
    postgresql_is_made_asked_in_parallel_and_stopped: Program {
        name: "PostgreSQL: initdb, parallel queries, stop",
        needs: &[("/usr/lib/postgresql/*/bin/initdb", "postgresql")],
        script: script!("postgres"),
        note: "through a socket in a folder of its own (`-k`): `/run/postgresql` is its user's",
        ..PROGRAM
    },
    redis_serves_on_a_unix_socket: Program {
        name: "Redis on a Unix socket",
        needs: &[("redis-server", "redis-server")],
        script: script!("redis_unix"),
        ..PROGRAM
    },
    redis_serves_on_a_port: Program {
        name: "Redis on a port",
        needs: &[("redis-server", "redis-server")],
        script: script!("redis_tcp"),
        strict: Fails("Could not create server TCP listening socket"),
        note: NO_NETWORK,
        ..PROGRAM
    },
    nginx_serves_on_a_unix_socket: Program {
        name: "nginx on a Unix socket",
        needs: &[("nginx", "nginx")],
        script: script!("nginx_unix", "nginx"),
        ..PROGRAM
    },
    nginx_serves_on_a_port: Program {
        name: "nginx on a port",
        needs: &[("nginx", "nginx")],
        script: script!("nginx_tcp", "nginx"),
        strict: Fails("failed (97: Address family not supported by protocol)"),
        note: NO_NETWORK,
        ..PROGRAM
    },
    java_has_counters_in_tmp_and_its_heap_in_a_file: Program {
        name: "Java: heap dump, heap in a file, counters in `/tmp`",
        needs: &[("java", "default-jre-headless")],
        script: script!("java"),
        ..PROGRAM
    },
    git_clones_through_ssh: Program {
        name: "sshd and ssh, git clone through it",
        needs: &[
            ("/usr/sbin/sshd", "openssh-server"),
            ("ssh", "openssh-client"),
            ("git", "git"),
        ],
        script: script!("git_ssh"),
        strict: Fails("socket: Address family not supported by protocol"),
        note: NO_NETWORK,
        ..PROGRAM
    },
    rsync_copies_links_and_times: Program {
        name: "rsync",
        needs: &[("rsync", "rsync")],
        script: script!("rsync"),
        ..PROGRAM
    },
    gdb_stops_at_a_breakpoint: Program {
        name: "gdb: a breakpoint",
        needs: &[("gdb", "gdb"), ("gcc", "gcc")],
        script: script!("gdb"),
        strict: Fails("ptrace: Operation not permitted"),
        note: "no ptrace",
        ..PROGRAM
    },
    gdb_attaches_to_a_process_of_its_own_tree: Program {
        name: "gdb: attach",
        needs: &[("gdb", "gdb")],
        script: script!("gdb_attach"),
        strict: Fails("ptrace: Operation not permitted."),
        note: "no ptrace",
        ..PROGRAM
    },
    strace_follows_children: Program {
        name: "strace -f",
        needs: &[("strace", "strace")],
        script: script!("strace"),
        strict: Fails("strace: ptrace(PTRACE_TRACEME, ...): Operation not permitted"),
        note: "no ptrace",
        ..PROGRAM
    },
    tmux_takes_keys_and_shows_its_screen: Program {
        name: "tmux",
        needs: &[("tmux", "tmux")],
        script: script!("tmux"),
        ..PROGRAM
    },
    man_shows_a_page_and_indexes_it: Program {
        name: "man, mandb, whatis",
        needs: &[("man", "man-db")],
        script: script!("man"),
        ..PROGRAM
    },
    apt_downloads_from_a_local_repository: Program {
        name: "apt-get update and download, from a `file:` repository",
        script: script!("apt"),
        ..PROGRAM
    },
    chromium_takes_a_screenshot: Program {
        name: "Chromium, headless: a screenshot",
        needs: &[("chromium-headless-shell", "chromium-headless-shell")],
        script: script!("chromium_plain", "chromium"),
        note: "with `--no-sandbox`",
        ..PROGRAM
    },
    chromium_makes_no_sandbox_of_its_own: Program {
        name: "Chromium's own sandbox",
        needs: &[("chromium-headless-shell", "chromium-headless-shell")],
        script: script!("chromium_sandbox", "chromium"),
        default: Fails("No usable sandbox!"),
        strict: Fails("No usable sandbox!"),
        note: "no process makes namespaces",
        ..PROGRAM
    },
    imagemagick_converts_within_memory_and_beyond: Program {
        name: "ImageMagick: convert",
        needs: &[("/usr/bin/convert", "imagemagick")],
        script: script!("convert"),
        ..PROGRAM
    },
    an_account_is_what_the_c_library_finds: Program {
        name: "whoami, id, getent, stat: names of the account",
        script: script!("account_libc"),
        ..PROGRAM
    },
    an_account_is_what_python_node_and_perl_find: Program {
        name: "Python's getpass and expanduser, Node's userInfo, Perl's getpwuid",
        needs: &[
            ("/usr/bin/python3", "python3"),
            ("node", "nodejs"),
            ("perl", "perl-base"),
        ],
        script: script!("account_languages"),
        ..PROGRAM
    },
    sqlite_writes_twice_at_once_and_sorts_in_files: Program {
        name: "SQLite: write-ahead log, temporary files",
        needs: &[("sqlite3", "sqlite3")],
        script: script!("sqlite"),
        ..PROGRAM
    },
    files_are_made_linked_and_moved_between_all_places: Program {
        name: "mktemp, mkstemp, rename, link, mv: `/tmp`, `$TMPDIR`, `$HOME`",
        needs: &[("/usr/bin/python3", "python3")],
        script: script!("places"),
        ..PROGRAM
    },
    flock_and_posix_locks_hold_in_tmp: Program {
        name: "flock, lockf in `/tmp`",
        needs: &[("flock", "util-linux"), ("/usr/bin/python3", "python3")],
        script: script!("flock"),
        ..PROGRAM
    },
    system_v_memory_semaphores_and_queues_work: Program {
        name: "System V shared memory, semaphores, queues: ipcmk, ipcs, ipcrm",
        needs: &[("ipcmk", "util-linux"), ("perl", "perl-base")],
        script: script!("system_v"),
        ..PROGRAM
    },
    fakeroot_keeps_owners: Program {
        name: "fakeroot",
        needs: &[("fakeroot", "fakeroot")],
        script: script!("fakeroot"),
        ..PROGRAM
    },
    posix_queues_memory_and_semaphores_work: Program {
        name: "POSIX queues, shared memory, semaphores",
        needs: &[("/usr/bin/python3", "python3")],
        script: script!("posix"),
        ..PROGRAM
    },
);

impl Program {
    /// Runs its script under each profile.
    fn is_as_the_table_says(&self) {
        for (command, package) in self.needs {
            let installed = Command::new("bash")
                .args(["-c", "type -P \"$1\" || compgen -G \"$1\"", "bash", command])
                .output()
                .unwrap();
            assert!(
                installed.status.success(),
                "{command} is not installed: apt-get install {package}"
            );
        }
        let folder = open_folder();
        (self.prepare)(folder.path());
        let server = Server::start();
        let wrong: Vec<String> = [("default", &self.default), ("strict", &self.strict)]
            .into_iter()
            .filter_map(|(profile, outcome)| self.runs(&server, profile, folder.path(), outcome))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// What is wrong with how it went.
    fn runs(
        &self,
        server: &Server,
        profile: &str,
        folder: &Path,
        expected: &Outcome,
    ) -> Option<String> {
        // A script that hangs fails.
        let limits = ["run", "--profile", profile, "--", "timeout", "120"];
        let bash = ["bash", "-euo", "pipefail", "-c", self.script, "script"];
        let output = server.run(&[&limits[..], &bash, &[folder.to_str().unwrap()]].concat());
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let wrong = match expected {
            Works if output.status.success() => return None,
            Works => "fails".to_owned(),
            Fails(_) if output.status.success() => "works".to_owned(),
            Fails(how) if said.contains(how) => return None,
            Fails(how) => format!("does not fail with {how:?}"),
        };
        let (name, status) = (self.name, output.status);
        Some(format!("{name}, {profile}: {wrong}: {status}\n{said}"))
    }

    fn row(&self) -> String {
        let cell = |outcome: &Outcome| match outcome {
            Works => "works".to_owned(),
            Fails(how) => format!("`{how}`"),
        };
        format!(
            "| {} | {} | {} | {} |\n",
            self.name,
            cell(&self.default),
            cell(&self.strict),
            self.note
        )
    }
}

/// A folder that processes can pass and read, where no profile covers it.
fn open_folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("prn-test-")
        .tempdir_in("/var/lib")
        .unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// The toolchain that this was built with, where everybody may read it. One in somebody's home is
/// given hard links, or copied where that is on another file system.
fn toolchain(folder: &Path) {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .expect("rustc");
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    if !["/root", "/home"]
        .iter()
        .any(|home| sysroot.starts_with(home))
    {
        return symlink(sysroot.join("bin"), folder.join("bin")).unwrap();
    }
    for part in ["bin", "lib"] {
        let copies = |how| {
            let status = Command::new("cp")
                .args([how, "--recursive", "--no-dereference"])
                .args([&sysroot.join(part), folder])
                .stderr(Stdio::null())
                .status();
            status.unwrap().success()
        };
        assert!(copies("--link") || copies("--force"), "no copy of {part}");
    }
}

fn text(path: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

#[test]
fn what_the_programs_need_is_what_is_installed() {
    let (_, script) = text("needs.sh");
    for (_, package) in PROGRAMS.iter().flat_map(|program| program.needs) {
        // It asks for a compiler by compiling.
        let listed = *package == "gcc" || script.contains(&format!(":{package}\n"));
        assert!(
            listed || script.contains(&format!(":{package}'\n")),
            "{package}"
        );
    }
}

/// With PRN_WRITE_TABLES set, the document becomes what the table is.
#[test]
fn the_document_says_what_is_tested() {
    let (path, document) = text("../docs/programs.md");
    let (begin, end) = ("<!-- programs: begin -->\n", "<!-- programs: end -->");
    let (before, rest) = document.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    let rows: String = PROGRAMS.iter().map(Program::row).collect();
    let made = format!("| program | default | strict | why, or how |\n|---|---|---|---|\n{rows}");
    if made != found && std::env::var_os("PRN_WRITE_TABLES").is_some() {
        fs::write(&path, format!("{before}{begin}{made}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(found, made, "PRN_WRITE_TABLES=1 cargo test writes it");
}
