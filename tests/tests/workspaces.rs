//! Workspaces: what processes share in one, who else sees it, and what is left when it is removed.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::server::{Options, Server};
use prn_tests::{wait_for, wait_within};
use serde_json::Value;

/// No such process or workspace.
const NOT_FOUND: Option<i32> = Some(3);
/// Any other error.
const ERROR: Option<i32> = Some(1);

/// How long a million files may take to be deleted.
const DELETED_WITHIN: Duration = Duration::from_secs(600);

/// Runs a line of a shell in a workspace, which must succeed; what it prints.
fn sh(server: &Server, workspace: &str, line: &str) -> String {
    server.ok(&["run", "-w", workspace, "--", "sh", "-c", line])
}

/// What a command says that must fail, with this exit code.
fn refused(server: &Server, words: &[&str], code: Option<i32>) -> String {
    let Output { status, stderr, .. } = server.run(words);
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), code, "{words:?}: {said}");
    said
}

/// What is known of all workspaces.
fn listed(server: &Server) -> Vec<Value> {
    let list: Value = serde_json::from_str(&server.ok(&["workspace", "ls", "-o", "json"])).unwrap();
    list["workspaces"].as_array().unwrap().clone()
}

fn names(server: &Server) -> Vec<String> {
    let list = server.ok(&["workspace", "list", "-q"]);
    list.lines().map(str::to_owned).collect()
}

/// Both directories of a workspace, on the host.
fn directories(server: &Server, name: &str) -> [PathBuf; 2] {
    let state = server.state_dir();
    [
        state.join(format!("workspace-{name}")),
        state.join(format!("workspace-{name}.tmp")),
    ]
}

/// Starts a process that stays in a workspace, once it runs.
fn stays(server: &Server, workspace: &str) -> String {
    server.start_process(&["-w", workspace], &["sleep", "1000"])
}

#[test]
fn processes_of_a_workspace_share_its_directories_and_its_user() {
    let server = Server::start();
    assert_eq!(server.ok(&["workspace", "create", "w"]), "w\n");
    sh(
        &server,
        "w",
        "echo kept > file; echo temporary > \"$TMPDIR\"/file; umask 077; echo mine > private",
    );
    let seen = sh(
        &server,
        "w",
        "cat file private /tmp/file /var/tmp/file; pwd; echo \"$HOME\"; whoami; id -u",
    );
    let [own, temporary] = directories(&server, "w");
    let known = &listed(&server)[0];
    let (directory, uid) = (own.to_str().unwrap(), &known["uid"]);
    assert_eq!(
        seen,
        format!("kept\nmine\ntemporary\ntemporary\n{directory}\n{directory}\nprn-{uid}\n{uid}\n")
    );
    assert_eq!(known["directory"], directory);
    for made in [&own, &temporary] {
        let made = fs::metadata(made).unwrap();
        assert_eq!(
            (made.mode() & 0o7777, u64::from(made.uid())),
            (0o700, uid.as_u64().unwrap())
        );
    }
    let id = stays(&server, "w");
    assert_eq!(server.status(&id)["workspace"], "w");
    assert!(
        server
            .ok(&["status", "-o", "wide", &id])
            .contains("workspace          w\n")
    );
    assert!(server.ok(&["list", "-o", "wide"]).contains("| w "));
    assert_eq!(listed(&server)[0]["processes"], 1);
    // What is there, a process of its own has none of.
    let alone = server.ok(&["run", "--", "sh", "-c", "ls; ls /tmp; pwd"]);
    assert!(
        !alone.contains("file") && !alone.contains("workspace-"),
        "{alone}"
    );
}

/// Prints the files of a workspace, and fails where one can be changed or made.
fn opened(server: &Server, workspace: &str) -> String {
    let tries = directories(server, workspace).map(|directory| {
        let directory = directory.display();
        format!(
            "cat {directory}/file; echo x > {directory}/file && exit 1; echo x > {directory}/new && exit 1; \
             rm -f {directory}/file && exit 1; "
        )
    });
    format!("{}{}true", tries[0], tries[1])
}

#[test]
fn j7_no_other_process_reads_or_changes_a_workspace() {
    let server = Server::start();
    server.ok(&["workspace", "create", "mine"]);
    server.ok(&["workspace", "create", "other"]);
    let line = "echo secret > file; echo secret > /tmp/file; chmod 0666 file /tmp/file";
    sh(&server, "mine", line);
    let tries = directories(&server, "mine").map(|directory| {
        let file = directory.join("file");
        let (directory, file) = (directory.display(), file.display());
        format!(
            "cat {file} && exit 1; ls {directory} && exit 1; echo x > {file} && exit 1; \
             echo x > {directory}/new && exit 1; cd {directory} && exit 1"
        )
    });
    let line = format!("{}; {}; exit 7", tries[0], tries[1]);
    for flags in [&["-w", "other"][..], &[]] {
        let words = [&["run"], flags, &["--", "sh", "-c", &line]].concat();
        let output = server.run(&words);
        assert_eq!(output.status.code(), Some(7), "{flags:?}");
        assert!(output.stdout.is_empty(), "{flags:?}");
    }
    let [own, _] = directories(&server, "mine");
    let cwd = own.to_str().unwrap();
    let output = server.run(&["run", "--cwd", cwd, "-w", "other", "--", "true"]);
    assert!(!output.status.success());
    // Its own processes may open it: to be read, and no more than that.
    sh(&server, "mine", "chmod 0777 . /tmp");
    let seen = sh(&server, "other", &opened(&server, "mine"));
    assert_eq!(seen, "secret\nsecret\n");
    assert_eq!(
        sh(&server, "mine", "cat file /tmp/file"),
        "secret\nsecret\n"
    );
}

#[test]
fn twenty_processes_work_in_one_workspace_at_once() {
    let server = Server::start();
    server.ok(&["workspace", "create", "w"]);
    let line =
        "echo $1 > .$1; mv .$1 $1; until [ $(ls | wc -l) -ge 20 ]; do sleep 0.01; done; cat *";
    let running: Vec<_> = (0..20)
        .map(|number| {
            let number = number.to_string();
            let words = ["run", "-w", "w", "--", "sh", "-c", line, "sh", &number];
            let mut command = server.prn(&words);
            command.stdout(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let seen = String::from_utf8(output.stdout).unwrap();
        assert_eq!(seen.lines().count(), 20, "each sees what all have made");
    }
    wait_for("them to have left", || listed(&server)[0]["processes"] == 0);
    server.ok(&["workspace", "remove", "w"]);
}

#[test]
fn what_lives_in_a_workspace_is_in_the_way_of_its_removal_unless_it_is_to_be_stopped() {
    let server = Server::start();
    for name in ["a", "b", "c"] {
        server.ok(&["workspace", "create", name]);
    }
    let ids = ["a", "a", "b", "c"].map(|name| stays(&server, name));
    let said = refused(&server, &["workspace", "remove", "a"], ERROR);
    assert!(
        said.contains("2 processes live in it") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(listed(&server)[0]["leaving"], false);
    assert_eq!(server.status(&ids[0])["state"], "running");

    server.ok(&["workspace", "remove", "--force", "a"]);
    server.ok(&["workspace", "rm", "--kill", "b"]);
    for id in &ids[..3] {
        let status = server.status(id);
        assert_eq!(status["exit"]["cause"], "stopped-on-request", "{status}");
    }
    assert_eq!(server.status(&ids[2])["exit"]["signal"], 9);
    assert_eq!(server.status(&ids[3])["state"], "running", "another one's");
    assert_eq!(names(&server), ["c"]);
    for name in ["a", "b"] {
        assert!(directories(&server, name).iter().all(|gone| !gone.exists()));
    }
    // Of several, each is tried.
    server.ok(&["workspace", "create", "d"]);
    let said = refused(
        &server,
        &["workspace", "rm", "no-such", "c", "d"],
        NOT_FOUND,
    );
    assert!(
        said.contains("no-such") && said.contains("1 process lives in it"),
        "{said}"
    );
    assert_eq!(names(&server), ["c"]);
    server.ok(&["workspace", "remove", "--grace", "1ms", "c"]);
}

#[test]
fn what_cannot_be_is_said_with_what_to_do() {
    let server = Server::start();
    for (words, code, said) in [
        (
            &["start", "-w", "no-such", "--", "true"][..],
            NOT_FOUND,
            "prn workspace create no-such",
        ),
        (
            &["run", "-w", "no-such", "--", "true"],
            Some(125),
            "prn workspace create no-such",
        ),
        (
            &["workspace", "remove", "no-such"],
            NOT_FOUND,
            "prn workspace list",
        ),
        (
            &["workspace", "create", "--disk", "1K", "small"],
            Some(2),
            "--disk: must be at least",
        ),
        (
            &["workspace", "create", "../up"],
            Some(2),
            "not a name of a workspace",
        ),
        (
            &["start", "-w", "Up", "--", "true"],
            Some(2),
            "not a name of a workspace",
        ),
    ] {
        let error = refused(&server, words, code);
        assert!(error.contains(said), "{words:?}: {error}");
    }
    server.ok(&["workspace", "create", "w"]);
    let error = refused(&server, &["workspace", "create", "w"], ERROR);
    assert!(
        error.contains("has the name w") && error.contains("--exist-ok"),
        "{error}"
    );
    assert_eq!(
        server.ok(&["workspace", "create", "w", "--exist-ok"]),
        "w\n"
    );
    let other = ["workspace", "create", "w", "--exist-ok", "--disk", "3M"];
    let error = refused(&server, &other, ERROR);
    assert!(
        error.contains("workspace w is there, and has no bound"),
        "{error}"
    );
    let made = server.ok(&["workspace", "create", "v", "--disk", "3M", "-o", "json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(
        (&made["name"], &made["disk_max_bytes"]),
        (&"v".into(), &(3 << 20).into())
    );
    let table = server.ok(&["workspace", "list"]);
    assert!(
        table.contains("NAME") && table.contains("3 MiB, "),
        "{table}"
    );
    let wide = server.ok(&["workspace", "list", "-o", "wide"]);
    assert!(wide.contains("workspace-v"), "{wide}");
}

#[test]
fn j6_a_name_comes_back_to_a_fresh_directory_and_a_user_id_to_nothing_that_was_its_own() {
    let server = Server::with(Options {
        uids: Some(2),
        ..Options::default()
    });
    server.ok(&["workspace", "create", "w"]);
    let line = "echo secret > file; echo secret > /tmp/file; echo secret > /dev/shm/file; chmod 777 . file; id -u";
    let first = sh(&server, "w", line);
    server.ok(&["workspace", "remove", "w"]);
    // Of two user ids, one of these has the first one again.
    let seen: Vec<_> = (0..2)
        .map(|_| {
            server.ok(&["workspace", "create", "w"]);
            let look = "id -u; ls -A . /tmp /dev/shm; find / -xdev -user $(id -u) -type f 2> /dev/null | grep -v ^/proc";
            let id = server.ok(&["start", "-w", "w", "--", "sh", "-c", look]);
            let seen = server.ok(&["logs", id.trim()]);
            server.ok(&["workspace", "remove", "w", "--force"]);
            seen
        })
        .collect();
    assert!(seen.iter().any(|seen| seen.starts_with(&first)), "{seen:?}");
    for seen in &seen {
        let (_, rest) = seen.split_once('\n').unwrap();
        assert_eq!(rest, ".:\n\n/dev/shm:\n\n/tmp:\n");
    }
}

/// Fills a workspace with many small files, and removes it.
fn fill_and_remove(count: u32) {
    let server = Server::start();
    server.ok(&["workspace", "create", "w"]);
    // Made here, which is faster, and in directories of its user.
    let uid = u32::try_from(listed(&server)[0]["uid"].as_u64().unwrap()).unwrap();
    let [own, _] = directories(&server, "w");
    for folder in 0..count / 1000 {
        let folder = own.join(folder.to_string());
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(uid), Some(uid)).unwrap();
        for file in 0..1000 {
            fs::File::create(folder.join(file.to_string())).unwrap();
        }
    }
    let seen = sh(&server, "w", "ls | wc -l; ls 0 | wc -l");
    assert_eq!(seen, format!("{}\n1000\n", count / 1000));
    let removing = server.prn(&["workspace", "remove", "w"]).spawn().unwrap();
    // Meanwhile everything else goes on.
    server.ok(&["run", "--", "true"]);
    let removed = removing.wait_with_output().unwrap().status.code();
    assert!([Some(0), ERROR].contains(&removed), "{removed:?}");
    wait_within(DELETED_WITHIN, "it to be deleted", || {
        names(&server).is_empty()
    });
    assert!(directories(&server, "w").iter().all(|gone| !gone.exists()));
    server.ok(&["workspace", "create", "w"]);
    assert_eq!(sh(&server, "w", "ls -A"), "");
}

/// With PRN_FILES=1000000 in the environment a million of them, which takes minutes.
#[test]
fn s9_many_files_are_removed_while_everything_else_goes_on() {
    let files = std::env::var("PRN_FILES").map_or(50_000, |files| files.parse().unwrap());
    fill_and_remove(files);
}

#[test]
fn a_frontend_that_comes_new_has_all_workspaces() {
    let server = Server::start();
    for name in ["b", "a", "c"] {
        server.ok(&["workspace", "create", name]);
    }
    let id = stays(&server, "b");
    let before = listed(&server);
    let frontend = server.frontend();
    kill(Pid::from_raw(frontend), Signal::SIGKILL).unwrap();
    wait_for("another frontend", || {
        server.frontend() != frontend && server.run(&["list"]).status.success()
    });
    assert_eq!(listed(&server), before);
    assert_eq!(names(&server), ["a", "b", "c"]);
    assert_eq!(server.status(&id)["workspace"], "b");
    sh(&server, "b", "true");
    server.ok(&["workspace", "remove", "--kill", "b"]);
    assert_eq!(names(&server), ["a", "c"]);
}

#[test]
fn a_server_that_stops_leaves_nothing_of_a_workspace() {
    let mut server = Server::start();
    server.ok(&["workspace", "create", "w"]);
    sh(&server, "w", "echo x > file");
    stays(&server, "w");
    assert_eq!(server.stop(), Some(0));
    assert!(directories(&server, "w").iter().all(|gone| !gone.exists()));
}

#[test]
fn there_are_no_more_workspaces_than_the_server_allows() {
    let server = Server::with_arguments(&["--max-workspaces", "2"]);
    server.ok(&["workspace", "create", "a"]);
    server.ok(&["workspace", "create", "b"]);
    let error = refused(&server, &["workspace", "create", "c"], ERROR);
    assert!(error.contains("there are 2 workspaces"), "{error}");
    assert!(error.contains("--max-workspaces"), "{error}");
    server.ok(&["workspace", "remove", "a"]);
    server.ok(&["workspace", "create", "c"]);
}

#[test]
fn who_takes_more_of_the_disk_than_its_workspace_may_is_stopped_and_no_other() {
    let server = Server::start();
    server.ok(&["workspace", "create", "small", "--disk", "4M"]);
    server.ok(&["workspace", "create", "other", "--disk", "4M"]);
    let bound = &listed(&server)[1];
    if bound["disk_enforcement"] != "watched" {
        return prn_tests::skipped("the file system has quotas");
    }
    let neighbour = stays(&server, "other");
    let line = "dd if=/dev/zero of=large bs=1M count=16 2> /dev/null; exec sleep 1000";
    let output = server.run(&["run", "-w", "small", "--", "sh", "-c", line]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(137), "{said}");
    assert!(said.contains("over its disk limit"), "{said}");
    assert!(said.contains("small may take 4 MiB"), "{said}");
    let list: Value = serde_json::from_str(&server.ok(&["list", "-o", "json"])).unwrap();
    let ended = &list["processes"][1];
    assert_eq!(ended["exit"]["cause"], "disk-limit");
    let shown = server.run(&["status", ended["id"].as_str().unwrap()]);
    assert!(
        String::from_utf8(shown.stdout)
            .unwrap()
            .contains("Stopped (disk limit)")
    );
    assert!(
        String::from_utf8(shown.stderr)
            .unwrap()
            .contains("small may take 4 MiB")
    );
    assert_eq!(server.status(&neighbour)["state"], "running");
    // What is there stays, and can be deleted: as long as it does not become more.
    sh(&server, "small", "rm large");
    sh(&server, "small", "echo fits > file");
}
