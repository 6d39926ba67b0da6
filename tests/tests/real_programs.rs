//! Programs that people run, doing what they are for, under the profiles that they run under.
//!
//! A program that is not installed is a failure that names its package, not a skip: `make test`
//! installs them.

use prn_tests::server::Server;

/// Where processes look for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a script that uses a program for what it is for; `package` is what has it on Debian.
fn works(profiles: &[&str], program: &str, package: &str, script: &str) {
    let installed = PATH
        .split(':')
        .any(|folder| std::path::Path::new(folder).join(program).exists());
    assert!(
        installed,
        "{program} is not installed: apt-get install {package}"
    );
    let server = Server::with_arguments(&["--allow-profile-none"]);
    for profile in profiles {
        let output = server.run(&["run", "--profile", profile, "--", "bash", "-euc", script]);
        let (out, error) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{program}, {profile}: {}\n{out}\n{error}",
            output.status
        );
        assert_eq!(
            out.lines().last(),
            Some("done"),
            "{program}, {profile}: {out}\n{error}"
        );
    }
}

const ALL: &[&str] = &["default", "strict", "none"];
/// What uses the network, another process's memory or a terminal's folder.
const NOT_STRICT: &[&str] = &["default", "none"];

#[test]
fn bash_runs_pipelines_jobs_and_substitutions() {
    let script = r#"seq 1000 | while read -r n; do echo "$n"; done | tail -1 | grep -qx 1000; (exec -a x true) & wait $!
        diff <(seq 3) <(printf '1\n2\n3\n'); cat <<< here | grep -q here; trap 'echo done' EXIT"#;
    works(ALL, "bash", "bash", script);
}

#[test]
fn python_runs_subprocesses_threads_and_foreign_functions() {
    let script = r#"/usr/bin/python3 -c '
import ctypes, multiprocessing, os, sqlite3, subprocess, tempfile
from concurrent.futures import ThreadPoolExecutor
assert subprocess.run(["echo", "x"], capture_output=True).stdout == b"x\n"
assert sum(ThreadPoolExecutor(4).map(len, ["ab"] * 50)) == 100
tempfile.TemporaryFile().write(b"x")
pid = os.fork() or os._exit(3)
assert os.waitpid(pid, 0)[1] == 3 << 8
pipe, child = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(target=child.send, args=("sent",))
process.start(); assert pipe.recv() == "sent"; process.join()
ctypes.CDLL(None).getpid()
print("done")'"#;
    works(ALL, "python3", "python3", script);
}

#[test]
fn python_serves_and_connects() {
    let script = r#"/usr/bin/python3 -c '
import asyncio, os, socket, ssl
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname()).close(); os.openpty()
async def served():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
asyncio.run(served())
print("done")'"#;
    works(NOT_STRICT, "python3", "python3", script);
}

#[test]
fn gcc_builds_a_program_with_threads() {
    let script = r#"printf '#include <stdio.h>\n#include <pthread.h>\nstatic void *f(void *p) { return p; }\nint main(void) {
        pthread_t t; pthread_create(&t, 0, f, 0); pthread_join(t, 0); return puts("built") < 0; }\n' > a.c
        gcc -O2 -pthread -o a a.c && test "$(./a)" = built; echo done"#;
    works(ALL, "gcc", "gcc", script);
}

#[test]
fn make_runs_jobs_beside_each_other() {
    works(
        ALL,
        "make",
        "make",
        r#"printf 'all: a b\na b:\n\techo $@ > $@\n' > Makefile; make -j4 -s; test -s a -a -s b; echo done"#,
    );
}

#[test]
fn git_commits_and_clones() {
    let script = r#"git init -q r; cd r; git config user.name n; git config user.email e; seq 9999 > f; git add f
        git commit -qm m; cd ..; git clone -q "file://$PWD/r" c; git clone -q r d; cmp r/f c/f; cmp r/f d/f
        git -C c gc -q; git -C c log --oneline | grep -q ' m'; echo done"#;
    works(ALL, "git", "git", script);
}

#[test]
fn tar_packs_and_unpacks() {
    let script = r#"mkdir d e; seq 99999 > d/f; ln -s f d/l; chmod 750 d/f; tar -czf a.tgz d; tar -xzpf a.tgz -C e
        cmp d/f e/d/f; test "$(stat -c %a e/d/f) $(readlink e/d/l)" = "750 f"; echo done"#;
    works(ALL, "tar", "tar", script);
}

#[test]
fn node_compiles_and_runs_workers() {
    let script = r#"node -e '
const { Worker } = require("worker_threads"), fs = require("fs"), { execFileSync } = require("child_process");
fs.writeFileSync("x", "y"); let f = n => n < 2 ? n : f(n - 1) + f(n - 2); f(27);
if (`${execFileSync("echo", ["x"])}` !== "x\n") process.exit(1);
new Worker("require(`worker_threads`).parentPort.postMessage(1)", { eval: true }).on("message", () =>
  console.log("done"));'"#;
    works(ALL, "node", "nodejs", script);
}

#[test]
fn node_serves_and_connects() {
    let script = r#"node -e '
const http = require("http");
const s = http.createServer((q, r) => r.end("ok")).listen(0, "127.0.0.1", () =>
  http.get({ port: s.address().port, host: "127.0.0.1" },
    r => r.on("data", d => { if (`${d}` !== "ok") process.exit(1); console.log("done"); s.close(); })));'"#;
    works(NOT_STRICT, "node", "nodejs", script);
}

/// A runtime without a compiler runs classes only. This one is `javac --release 8 -g:none` of:
///
/// ```java
/// public class A extends Thread {
///     static long s;
///     public void run() { for (int i = 0; i < 9999999; i++) s += i % 7; }
///     public static void main(String[] a) throws Exception {
///         A t = new A(); t.start(); t.join(); System.out.println(s > 0 ? "ran" : "no");
///     }
/// }
/// ```
const CLASS: &str = "\
yv66vgAAADQAMQoAAgADBwAEDAAFAAYBABBqYXZhL2xhbmcvVGhyZWFkAQAGPGluaXQ+AQADKClWAwCYln8JAAkACgcACwwADAANAQABQQEAAXMBAAFK
CgAJAAMKAAkAEAwAEQAGAQAFc3RhcnQKAAkAEwwAFAAGAQAEam9pbgkAFgAXBwAYDAAZABoBABBqYXZhL2xhbmcvU3lzdGVtAQADb3V0AQAVTGphdmEv
aW8vUHJpbnRTdHJlYW07CAAcAQADcmFuCAAeAQACbm8KACAAIQcAIgwAIwAkAQATamF2YS9pby9QcmludFN0cmVhbQEAB3ByaW50bG4BABUoTGphdmEv
bGFuZy9TdHJpbmc7KVYBAARDb2RlAQADcnVuAQANU3RhY2tNYXBUYWJsZQEABG1haW4BABYoW0xqYXZhL2xhbmcvU3RyaW5nOylWBwArAQATW0xqYXZh
L2xhbmcvU3RyaW5nOwcALQEAEGphdmEvbGFuZy9TdHJpbmcBAApFeGNlcHRpb25zBwAwAQATamF2YS9sYW5nL0V4Y2VwdGlvbgAhAAkAAgAAAAEACAAM
AA0AAAADAAEABQAGAAEAJQAAABEAAQABAAAABSq3AAGxAAAAAAABACYABgABACUAAAA2AAQAAgAAABsDPBsSB6IAFbIACBsQB3CFYbMACIQBAaf/67EA
AAABACcAAAAJAAL8AAIB+gAXAAkAKAApAAIAJQAAAF0ABQACAAAAJrsACVm3AA5MK7YADyu2ABKyABWyAAgJlJ4ACBIbpwAFEh22AB+xAAAAAQAnAAAA
JQAC/wAgAAIHACoHAAkAAQcAIP8AAQACBwAqBwAJAAIHACAHACwALgAAAAQAAQAvAAA=";

#[test]
fn java_compiles_to_machine_code_as_it_runs() {
    let script = format!(
        "base64 -d > A.class <<< '{CLASS}'\n{}",
        r#"test "$(java -Xmx64m A)" = ran; test "$(java -Xcomp -Xmx64m A)" = ran; echo done"#
    );
    works(ALL, "java", "default-jre-headless", &script);
}

#[test]
fn sqlite_keeps_a_write_ahead_log() {
    let script = r#"sqlite3 d 'pragma journal_mode=wal; create table t(a); insert into t values(1),(2);' > /dev/null
        test "$(sqlite3 d 'select sum(a) from t')" = 3; echo done"#;
    works(ALL, "sqlite3", "sqlite3", script);
}

#[test]
fn perl_forks_and_waits() {
    let script =
        r#"perl -e 'my $p = fork; exit 3 unless $p; waitpid $p, 0; exit($? >> 8 != 3)'; echo done"#;
    works(ALL, "perl", "perl-base", script);
}

#[test]
fn strace_follows_children() {
    works(
        NOT_STRICT,
        "strace",
        "strace",
        "strace -f -o trace sh -c 'true; /bin/true'; grep -q execve trace; echo done",
    );
}

#[test]
fn script_gets_a_pseudo_terminal() {
    works(
        NOT_STRICT,
        "script",
        "bsdutils",
        "script -qec 'tty' /dev/null | grep -q /dev/pts/; echo done",
    );
}

#[test]
fn ip_lists_addresses() {
    works(
        NOT_STRICT,
        "ip",
        "iproute2",
        "ip -o address | grep -q 127.0.0.1; echo done",
    );
}

#[test]
fn flock_locks() {
    works(
        ALL,
        "flock",
        "util-linux",
        "flock lock true; (flock 9; echo x >&9) 9> lock; grep -q x lock; echo done",
    );
}
