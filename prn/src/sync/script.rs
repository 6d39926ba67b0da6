//! What is run in a workspace: short programs for sh(1), with find(1), xargs(1) and sha256sum(1).
//!
//! Each gets a directory as its first argument, relative to where it starts, and paths on standard
//! input, each of which ends in NUL and begins with "./". It does what a user of the workspace could
//! do, with the rights of one. Its input has an end in any case: a client that is killed in the midst
//! of it never says so.

/// A program, whose standard input ends with what it is fed.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its text.
    pub text: &'static str,
    /// What it does, for people.
    pub what: &'static str,
}

/// Makes the directory, and prints where the workspace is, what is at the paths, and of the paths in
/// the list of what was brought those where something is, or that this list has more bytes than the
/// second argument says. That nothing is at a path makes find(1)
/// fail, and xargs(1) with it (123), and is no failure.
pub const LIST: Program = Program {
    what: "look at what is there",
    text: r#"
for tool in find xargs sha256sum head mktemp timeout; do
    command -v "$tool" >/dev/null || { echo "there is no $tool" >&2; exit 1; }
done
mkdir -p -- "$1" && cd -- "$1" || exit 1
found() {
    xargs -0 -r sh -c 'form=$1; shift; exec find "$@" -maxdepth 0 -printf "$form" 2>/dev/null' find "$1" || [ $? = 123 ]
}
printf 'w\0%s\0' "$HOME"
timeout 3600 cat | found 'h\0%y\0%s\0%T@\0%m\0%l\0%p\0' || exit 1
[ -f .prn-sync ] && [ ! -h .prn-sync ] || exit 0
if [ "$(wc -c <.prn-sync)" -le "$2" ]; then
    found 'b\0%p\0' <.prn-sync
else
    printf 'o\0'
fi
"#,
};

/// Prints digests of those that are files.
pub const DIGEST: Program = Program {
    what: "read what is there",
    text: r#"
cd -- "$1" || exit 1
timeout 3600 cat | xargs -0 -r sha256sum -z -- 2>/dev/null || [ $? = 123 ]
"#,
};

/// Takes three lists, of so many bytes each: of what is brought from now on, of what is to be
/// removed, and of directories that must be empty by then. All must be there before anything is done,
/// and the first takes its place before anything is removed or sent: what is in it is found again if
/// this goes no further. A directory that is not empty stays; a file that cannot be removed is a failure.
pub const PREPARE: Program = Program {
    what: "remove what is no longer here",
    text: r#"
cd -- "$1" && lists=$(mktemp -d .prn-sync.XXXXXX) || exit 1
trap 'rm -rf -- "$lists"' EXIT
trap 'exit 1' HUP INT TERM
timeout 3600 cat | {
    head -c "$2" >"$lists/brought" && head -c "$3" >"$lists/remove" && head -c "$4" >"$lists/way"
} || exit 1
is_whole() { [ "$(wc -c <"$lists/$1")" -eq "$2" ]; }
if ! is_whole brought "$2" || ! is_whole remove "$3" || ! is_whole way "$4"; then
    echo "a part of the lists is missing" >&2
    exit 1
fi
mv -fT -- "$lists/brought" .prn-sync || exit 1
xargs -0 -r sh -c 'exec find "$@" -maxdepth 0 ! -type d -print0 2>/dev/null' find <"$lists/remove" >"$lists/files" ||
    [ $? = 123 ] || exit 1
xargs -0 -r rm -f -- <"$lists/files" || exit 1
xargs -0 -r rmdir -- <"$lists/remove" 2>/dev/null
xargs -0 -r rmdir -- <"$lists/way"
"#,
};

/// Prints those paths where something is.
pub const EXISTING: Program = Program {
    what: "look for what is to be brought back",
    text: r#"
cd -- "$1" 2>/dev/null || exit 0
timeout 3600 cat |
    xargs -0 -r sh -c 'exec find "$@" -maxdepth 0 -printf "b\0%p\0" 2>/dev/null' find || [ $? = 123 ]
"#,
};

#[cfg(test)]
mod tests {
    use super::super::listing::{digests, listing};
    use super::super::path::RelativePath;
    use super::super::tree::{Entry, Tree};
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output, Stdio};

    /// A workspace that is none: its directory.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("prn-sync-script-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        /// What a program prints of this input.
        fn run(&self, program: Program, arguments: &[&str], input: &[u8]) -> Vec<u8> {
            let output = self.output(program, arguments, input);
            assert!(output.status.success(), "{program:?}: {output:?}");
            output.stdout
        }

        fn output(&self, program: Program, arguments: &[&str], input: &[u8]) -> Output {
            let mut sh = Command::new("sh");
            let sh = sh.args(["-c", program.text, "prn", "./a"]).args(arguments);
            let sh = sh.current_dir(&self.0).env("HOME", "/home/of");
            let mut sh = sh
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            sh.stdin.take().unwrap().write_all(input).unwrap();
            sh.wait_with_output().unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn path(bytes: &[u8]) -> RelativePath {
        RelativePath::parse(bytes).unwrap()
    }

    #[test]
    fn what_is_there_is_listed_whatever_it_is_called() {
        let folder = Folder::new("list");
        let names = [&b"-delete"[..], b"a b\n\xff", b"gone", b"d", b"d/l"];
        let asked: Tree = names
            .map(|name| (path(name), Entry::Directory))
            .into_iter()
            .collect();
        let input = names.map(|name| [b"./", name, b"\0"].concat()).concat();
        let empty = folder.run(LIST, &["100"], &input);
        assert_eq!(listing(&empty, &asked).unwrap().here, Tree::new());
        let at = |name: &[u8]| folder.0.join("a").join(path(name).as_path());
        fs::write(at(names[0]), "abc").unwrap();
        fs::write(at(names[1]), "abc").unwrap();
        fs::create_dir(at(b"d")).unwrap();
        std::os::unix::fs::symlink("/etc", at(b"d/l")).unwrap();
        fs::write(at(b".prn-sync"), b"./d\0./gone\0../a\0\0./-delete\0").unwrap();
        let listed = listing(&folder.run(LIST, &["100"], &input), &asked).unwrap();
        assert_eq!(listed.directory, b"/home/of");
        assert_eq!(listed.here.len(), 4);
        assert!(
            matches!(listed.here.get(&path(names[1])), Some(Entry::File(file)) if file.size == 3)
        );
        let target = b"/etc".to_vec();
        assert_eq!(
            listed.here.get(&path(b"d/l")),
            Some(&Entry::Link { target })
        );
        assert_eq!(listed.brought, [path(b"d"), path(b"-delete")].into());
        let short = listing(&folder.run(LIST, &["10"], &input), &asked).unwrap();
        assert!(short.is_list_left_out && short.brought.is_empty());
        assert_eq!(short.here, listed.here);
        let digests = digests(&folder.run(DIGEST, &[], &input)).unwrap();
        assert_eq!(digests.len(), 2);
        let existing = folder.run(EXISTING, &[], b"./d\0./gone\0./d/l\0");
        let existing = listing(&existing, &Tree::new()).unwrap();
        assert_eq!(existing.brought, [path(b"d"), path(b"d/l")].into());
    }

    #[test]
    fn what_is_to_be_removed_is_and_what_else_is_there_stays() {
        let folder = Folder::new("prepare");
        let at = |name: &str| folder.0.join("a").join(name);
        fs::create_dir_all(at("old/own")).unwrap();
        fs::create_dir_all(at("empty")).unwrap();
        fs::create_dir_all(at("way")).unwrap();
        fs::write(at("old/x"), "").unwrap();
        let lists = [
            "./new\0./old\0./old/x\0./empty\0",
            "./old/x\0./old\0./empty\0",
            "./way\0",
        ];
        let lengths = lists.map(|list| list.len().to_string());
        let lengths = lengths.each_ref().map(String::as_str);
        folder.run(PREPARE, &lengths, lists.concat().as_bytes());
        let mut left: Vec<_> = fs::read_dir(at(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".prn-sync", "old"]);
        assert!(Path::new(&at("old/own")).exists() && !at("old/x").exists());
        assert_eq!(fs::read_to_string(at(".prn-sync")).unwrap(), lists[0]);
    }

    #[test]
    fn lists_that_are_cut_change_nothing() {
        let folder = Folder::new("cut");
        let at = |name: &str| folder.0.join("a").join(name);
        fs::create_dir_all(at("way")).unwrap();
        fs::write(at("build"), "of nobody").unwrap();
        fs::write(at(".prn-sync"), "./build.old\0").unwrap();
        let lists = ["./new\0", "./build.old\0", "./way\0"];
        let lengths = lists.map(|list| list.len().to_string());
        let lengths = lengths.each_ref().map(String::as_str);
        let whole = lists.concat();
        for length in 0..whole.len() {
            let output = folder.output(PREPARE, &lengths, &whole.as_bytes()[..length]);
            assert!(!output.status.success(), "{length}");
            assert!(at("build").exists() && at("way").exists(), "{length}");
            let brought = fs::read_to_string(at(".prn-sync")).unwrap();
            assert_eq!(brought, "./build.old\0", "{length}");
            assert_eq!(fs::read_dir(at("")).unwrap().count(), 3, "{length}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_removed_is_a_failure() {
        let folder = Folder::new("kept");
        let at = |name: &str| folder.0.join("a").join(name);
        fs::create_dir_all(at("tools")).unwrap();
        fs::write(at("old"), "").unwrap();
        // Root may remove anything.
        let rm = "#!/bin/sh\n[ \"$1\" = -rf ] && exec /bin/rm \"$@\"\necho kept >&2\nexit 1\n";
        fs::write(at("tools/rm"), rm).unwrap();
        fs::set_permissions(at("tools/rm"), fs::Permissions::from_mode(0o755)).unwrap();
        let program = Program {
            text: concat_path(PREPARE.text, &at("tools")),
            ..PREPARE
        };
        let lists = ["", "./old\0./gone\0./tools\0", ""];
        let lengths = lists.map(|list| list.len().to_string());
        let lengths = lengths.each_ref().map(String::as_str);
        let output = folder.output(program, &lengths, lists.concat().as_bytes());
        assert!(!output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "kept\n");
    }

    /// The same program, which finds its tools there first.
    fn concat_path(text: &str, tools: &Path) -> &'static str {
        format!("PATH='{}':$PATH\n{text}", tools.display()).leak()
    }
}
