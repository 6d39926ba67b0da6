//! Whatever a client chooses (variables, a working directory, argument vectors) takes effect in the
//! process's program alone: nothing of prn's own runs under it before the process is confined.
//! Asked from inside: a library that says how the program that loaded it is confined, by each
//! variable that makes a loader or an allocator load or do something.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use prn_tests::server::Server;
use prn_tests::trace::Trace;
use tempfile::TempDir;

const PROFILES: [&str; 3] = ["default", "strict", "none"];

/// What a witness says of the program that loaded it, by name.
type Witness = BTreeMap<String, String>;

/// A folder that processes can read, with the witness and a file that is open to everybody.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("prn-test-")
            .tempdir_in("/var/lib")
            .unwrap();
        let stage = Self { folder };
        fs::set_permissions(stage.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/confinement/witness.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([stage.path("witness.so").as_os_str(), source.as_ref()])
            .status()
            .expect("cc: install gcc");
        assert!(built.success());
        // By the name of one that prn's programs are linked with, and env(1) is not, for a search
        // path to find it first.
        fs::create_dir(stage.path("libraries")).unwrap();
        fs::copy(
            stage.path("witness.so"),
            stage.path("libraries").join("libgcc_s.so.1"),
        )
        .unwrap();
        fs::write(stage.path("others"), "theirs").unwrap();
        fs::set_permissions(stage.path("others"), PermissionsExt::from_mode(0o666)).unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

/// The witnesses in an output.
fn witnesses(output: &str) -> Vec<Witness> {
    let lines = output
        .lines()
        .filter_map(|line| line.strip_prefix("WITNESS "));
    lines
        .map(|line| {
            line.split(' ')
                .filter_map(|pair| pair.split_once('='))
                .map(owned)
                .collect()
        })
        .collect()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// What everything that runs for a process under this profile has to say, if it can say anything.
fn assert_confined(profile: &str, case: &str, server: &Server, witness: &Witness) {
    let host =
        |kind: &str| fs::read_link(format!("/proc/{}/ns/{kind}", server.supervisor())).unwrap();
    let is = |name: &str, value: &str| {
        assert_eq!(
            witness[name], value,
            "{profile}: {case}: {name}: {witness:?}"
        )
    };
    is("Seccomp_filters", if profile == "none" { "1" } else { "2" });
    is("NoNewPrivs", "1");
    is("CapEff", "0000000000000000");
    is("Umask", "0022");
    is("fds", "0,1,2");
    is("others", if profile == "none" { "open" } else { "EACCES" });
    is(
        "inet",
        if profile == "strict" {
            "EAFNOSUPPORT"
        } else {
            "open"
        },
    );
    if profile != "none" {
        is("unshare", "EPERM");
    }
    assert!(
        witness["Uid"].parse::<u32>().unwrap() >= server.first_uid(),
        "{profile}: {case}: {witness:?}"
    );
    for kind in ["mnt", "net", "ipc", "uts"] {
        let own = Path::new(&witness[kind]) != host(kind);
        let expected = match profile {
            "strict" => true,
            "default" => ["mnt", "ipc"].contains(&kind),
            _ => false,
        };
        assert_eq!(own, expected, "{profile}: {case}: {kind}: {witness:?}");
    }
    let program = fs::canonicalize("/usr/bin/env").unwrap();
    assert_eq!(
        Path::new(&witness["exe"]),
        program,
        "{profile}: {case}: it is the process's program that loads it"
    );
}

#[test]
fn x1_nothing_that_a_client_chooses_takes_effect_before_the_process_is_confined() {
    let server = Server::with_arguments(&["--allow-profile-none"]);
    let stage = Stage::new();
    let library = stage.text("witness.so");
    let named = [
        // ld.so(8), rtld-audit(7): must be loaded. Then what a loader or an allocator is told
        // otherwise.
        (format!("LD_PRELOAD={library}"), true),
        (format!("LD_AUDIT={library}"), true),
        (
            format!("LD_LIBRARY_PATH={}", stage.text("libraries")),
            false,
        ),
        (
            "GLIBC_TUNABLES=glibc.rtld.nns=1:glibc.malloc.check=3:glibc.malloc.arena_max=1"
                .to_owned(),
            false,
        ),
        ("MALLOC_CONF=abort:true,stats_print:true".to_owned(), false),
        ("LD_DEBUG=all".to_owned(), false),
        ("LD_TRACE_LOADED_OBJECTS=1".to_owned(), false),
        ("LD_BIND_NOW=1".to_owned(), false),
        ("LD_PREFER_MAP_32BIT_EXEC=1".to_owned(), false),
        ("MALLOC_PERTURB_=165".to_owned(), false),
        ("RUST_BACKTRACE=full".to_owned(), false),
        ("RUST_MIN_STACK=1".to_owned(), false),
        (
            "PATH=".to_owned() + stage.folder.path().to_str().unwrap(),
            false,
        ),
    ];
    let others = format!("PRN_TEST_OTHERS={}", stage.text("others"));
    let many: Vec<String> = (0..1020)
        .map(|number| format!("VARIABLE_{number}=x"))
        .collect();
    for profile in PROFILES {
        let run = |case: &str, variables: &[&str], flags: &[&str], argv: &[&str]| {
            let mut words = vec!["--profile", profile];
            for variable in variables {
                words.extend(["--env", variable]);
            }
            words.extend(flags);
            let id = server.start_process(&words, argv);
            assert!(
                server.ok(&["list"]).contains(&id),
                "{profile}: {case}: it is in the list"
            );
            let output = server.run(&["logs", &id]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (text, server.status(&id)["exit"]["code"].as_i64())
        };
        for (variable, loaded) in &named {
            let (text, exit) = run(variable, &[variable, &others], &[], &["/usr/bin/env"]);
            let found = witnesses(&text);
            assert_eq!(
                found.len(),
                usize::from(*loaded),
                "{profile}: {variable}: {text}"
            );
            assert!(
                found.len() == 1 || exit == Some(0),
                "{profile}: {variable}: {exit:?} {text}"
            );
            found
                .iter()
                .for_each(|witness| assert_confined(profile, variable, &server, witness));
        }
        let preload = format!("LD_PRELOAD={library}");
        let of_many: Vec<&str> = many
            .iter()
            .map(String::as_str)
            .chain([&*preload, &*others])
            .collect();
        let (text, _) = run("1,022 variables", &of_many, &[], &["/usr/bin/env"]);
        assert_eq!(
            text.matches("\nVARIABLE_").count() + usize::from(text.starts_with("VARIABLE_")),
            many.len()
        );
        let [witness] = &witnesses(&text)[..] else {
            panic!("{profile}: {text}")
        };
        assert_confined(profile, "1,022 variables", &server, witness);
        // Libraries lie where it starts.
        let libraries = stage.text("libraries");
        let folder = ["--cwd", &*libraries];
        let (text, _) = run(
            "directory",
            &[&preload, &others, "LD_LIBRARY_PATH=."],
            &folder,
            &["/usr/bin/env"],
        );
        let [witness] = &witnesses(&text)[..] else {
            panic!("{profile}: {text}")
        };
        assert_confined(profile, "directory", &server, witness);
    }
}

#[test]
fn x1_the_name_of_a_tool_gets_a_process_no_further_than_it_is() {
    let server = Server::with_arguments(&["--allow-profile-none"]);
    let stage = Stage::new();
    // A program of the process's own by the name of each tool, and the tools themselves.
    for tool in ["prn-tools", "prn-clean"] {
        fs::create_dir(stage.path(tool)).unwrap();
        fs::copy("/usr/bin/env", stage.path(tool).join(tool)).unwrap();
        let path = format!("PATH={}", stage.text(tool));
        for profile in PROFILES {
            let id = server.start_process(&["--profile", profile, "--env", &path], &[tool]);
            assert!(server.ok(&["list"]).contains(&id), "{profile}: {tool}");
            assert!(
                server.ok(&["logs", &id]).contains(&path),
                "{profile}: {tool}: its own program ran"
            );
        }
    }
    let tools = prn_tests::binary("prn-tools");
    let script = format!(
        "for tool in tools clean; do (exec -a prn-$tool {0} 0 0 true); echo $?; done",
        tools.display()
    );
    // The command is nothing else under such a name.
    // No process sees what lies in /tmp, as a checkout may.
    fs::copy(prn_tests::binary("prn"), stage.path("prn")).unwrap();
    let version = format!("exec -a prn-clean {} --version", stage.text("prn"));
    for profile in PROFILES {
        let output = server.run(&["run", "--profile", profile, "--", "bash", "-c", &version]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.starts_with("prn "), "{profile}: {text}");
        let output = server.run(&["run", "--profile", profile, "--", "bash", "-c", &script]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.lines()
                .all(|code| ["126", "127", "1", "0"].contains(&code)),
            "{profile}: {text}"
        );
        assert_eq!(
            text.lines().next(),
            text.lines().next().filter(|code| *code != "0"),
            "{profile}: {text}"
        );
    }
}

#[test]
fn x1_what_a_client_puts_into_an_environment_is_in_nobodys_arguments() {
    let server = Server::with_arguments(&["--allow-profile-none"]);
    for profile in PROFILES {
        // All that is executed, with its arguments, which everybody can read.
        let trace = Trace::of(&server, &["-s", "4096", "-e", "trace=execveat,execve"]);
        let flags = ["--profile", profile, "--env", "TOKEN=hunter2"];
        let id = server.start_process(&flags, &["true"]);
        server.ok(&["logs", &id]);
        let calls = trace.end();
        assert!(calls.contains("\"true\""), "the control: {calls}");
        let arguments = |line: &str| line.split(']').next().unwrap_or_default().to_owned();
        let shown = calls
            .lines()
            .find(|line| arguments(line).contains("hunter2"));
        assert_eq!(shown, None, "{profile}");
    }
}
