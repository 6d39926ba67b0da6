//! No circle between the files of a crate: each can be read, and tested, with what is below it
//! alone.
//!
//! A file is a module. It uses another one of its crate if it names something in it by a path
//! (`crate::…`, `super::…`, `self::…`, or by the name of a module that it declares), in a `use` or
//! elsewhere, and not in a test or a comment. A path counts for the deepest file that it leads
//! into: `crate::a::b::C` for `a/b.rs` and not for `a.rs`. To declare a module (`mod b;`) is no use
//! of it, and to export what is in it (`pub use b::C`) is. So of a file and those in its folder,
//! one side may use the other, and not both each other. Nor may anything use a crate's first file,
//! if that uses anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A module by the names on the way to it; the crate's root by none.
type Module = Vec<String>;

/// What each module of a crate uses.
type Uses = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn no_crate_has_a_circle_of_files() {
    let mut faults = Vec::new();
    for root in roots(Path::new(TOP)) {
        let name = root.strip_prefix(TOP).unwrap().display().to_string();
        for circle in circles(&uses(&root)) {
            faults.push(format!("{name}: {}", circle.join(", ")));
        }
    }
    assert!(
        faults.is_empty(),
        "files in circles:\n{}",
        faults.join("\n")
    );
}

/// The first file of each crate of the workspace.
fn roots(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    if folder.join("Cargo.toml").exists() {
        let source = folder.join("src");
        let programs = fs::read_dir(source.join("bin")).into_iter().flatten();
        let programs = programs.map(|entry| entry.unwrap().path()).map(|path| {
            if path.is_dir() {
                path.join("main.rs")
            } else {
                path
            }
        });
        let all = [source.join("lib.rs"), source.join("main.rs")]
            .into_iter()
            .chain(programs);
        found.extend(all.filter(|path| path.exists()));
    }
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && !["target", "src"].contains(&name.as_str()) {
            found.extend(roots(&path));
        }
    }
    found
}

/// What each file of the crate with this root uses.
fn uses(root: &Path) -> Uses {
    let mut files = BTreeMap::new();
    read(&mut files, Vec::new(), root, root.parent().unwrap());
    files
        .iter()
        .map(|(module, text)| {
            let used = paths(text, module, &files)
                .into_iter()
                .filter_map(|path| deepest(&path, &files));
            (module.clone(), used.filter(|used| used != module).collect())
        })
        .collect()
}

/// The code of a file and of those of the modules that it declares, which are in `folder`.
fn read(files: &mut BTreeMap<Module, Vec<String>>, module: Module, file: &Path, folder: &Path) {
    let words = words(&fs::read_to_string(file).unwrap());
    let declared: Vec<String> = words
        .windows(3)
        .filter(|window| window[0] == "mod" && window[2] == ";")
        .map(|window| window[1].clone())
        .collect();
    files.insert(module.clone(), words);
    for name in declared {
        let beside = folder.join(format!("{name}.rs"));
        let inside = folder.join(&name).join("mod.rs");
        let file = if beside.exists() { beside } else { inside };
        // The declaration may be for one kind of test or of machine, with a path of its own.
        if file.exists() {
            let mut child = module.clone();
            child.push(name.clone());
            read(files, child, &file, &folder.join(&name));
        }
    }
}

/// The words and signs of a file, without comments, texts and tests.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let length = if let Some(comment) = rest.strip_prefix("//") {
            2 + comment.find('\n').unwrap_or(comment.len())
        } else if let Some(comment) = rest.strip_prefix("/*") {
            2 + comment.find("*/").map_or(comment.len(), |end| end + 2)
        } else if let Some(length) = raw_text(rest) {
            length
        } else if first == '"' {
            quoted(rest)
        } else if first == '\'' {
            character(rest)
        } else if rest.starts_with("::") {
            words.push("::".to_owned());
            2
        } else if is_name(first) {
            let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            words.push(rest[..length].to_owned());
            length
        } else {
            if !first.is_whitespace() {
                words.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    without_tests(words)
}

/// Length of the raw text that stands here, if one does.
fn raw_text(rest: &str) -> Option<usize> {
    let start = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
    let inner = start.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(start.len() - inner.len()));
    let text = inner.strip_prefix('"')?;
    let length = text.find(&end)? + end.len();
    Some(rest.len() - text.len() + length)
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    rest.len()
}

/// Length of a character, or of the sign before a lifetime's name.
fn character(rest: &str) -> usize {
    let mut after = rest.chars().skip(1);
    match (after.next(), after.next()) {
        (Some('\\'), Some(_)) => 3 + rest[3..].find('\'').map_or(0, |end| end + 1),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 1,
    }
}

/// Without what follows `#[cfg(test)]`.
fn without_tests(words: Vec<String>) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = &words[..];
    while let [first, after @ ..] = rest {
        if rest.len() >= TEST.len() && rest.iter().zip(TEST).all(|(word, test)| word == test) {
            rest = &rest[TEST.len()..];
            let mut depth = 0;
            while let [word, after @ ..] = rest {
                rest = after;
                match word.as_str() {
                    "{" | "[" | "(" => depth += 1,
                    "}" | "]" | ")" => depth -= 1,
                    _ => {}
                }
                if depth == 0 && (word == "}" || word == ";") {
                    break;
                }
            }
        } else {
            kept.push(first.clone());
            rest = after;
        }
    }
    kept
}

/// All paths in a file that are of its own crate, from the crate's root.
fn paths(words: &[String], module: &Module, files: &BTreeMap<Module, Vec<String>>) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let goes_on = words.get(at + 1).is_some_and(|next| next == "::");
        let is_first = at == 0 || words[at - 1] != "::";
        if !goes_on || !is_first {
            continue;
        }
        let mut child = module.clone();
        child.push(word.clone());
        let start = match word.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len().saturating_sub(1)].to_vec(),
            _ if files.contains_key(&child) => child,
            _ => continue,
        };
        tree(&words[at + 2..], start, &mut found);
    }
    found
}

/// The paths that go on here: one, or those in braces. Returns how many words they are.
fn tree(words: &[String], before: Module, found: &mut Vec<Module>) -> usize {
    let Some(first) = words.first() else {
        return 0;
    };
    if first == "{" {
        let mut at = 1;
        while words.get(at).is_some_and(|word| word != "}") {
            at += if words[at] == "," {
                1
            } else {
                tree(&words[at..], before.clone(), found).max(1)
            };
        }
        return at + 1;
    }
    let mut path = before;
    match first.as_str() {
        "super" => drop(path.pop()),
        "self" => {}
        name => path.push(name.to_owned()),
    }
    if words.get(1).is_some_and(|next| next == "::") {
        return 2 + tree(&words[2..], path, found);
    }
    found.push(path);
    1
}

/// The deepest file on the way to what a path names.
fn deepest(path: &Module, files: &BTreeMap<Module, Vec<String>>) -> Option<Module> {
    (0..=path.len())
        .rev()
        .map(|length| path[..length].to_vec())
        .find(|module| files.contains_key(module))
}

/// The modules that can be reached from themselves, those of one circle together.
fn circles(uses: &Uses) -> Vec<Vec<String>> {
    let reach = |from: &Module| {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(module) = open.pop() {
            for next in &uses[module] {
                if reached.insert(next) {
                    open.push(next);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        uses.keys().map(|module| (module, reach(module))).collect();
    let mut circles = BTreeSet::new();
    for (module, others) in &reached {
        if others.contains(*module) {
            let circle = others
                .iter()
                .filter(|other| reached[**other].contains(*module));
            circles.insert(circle.map(|member| name(member)).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

fn name(module: &Module) -> String {
    if module.is_empty() {
        "crate".to_owned()
    } else {
        module.join("::")
    }
}

#[test]
fn what_counts_as_a_use() {
    let file = |text: &str| words(text);
    let files = BTreeMap::from([
        (vec![], file("mod a; mod d;")),
        (
            vec!["a".to_owned()],
            file("pub mod b; mod c; use b::X; // crate::d"),
        ),
        (
            vec!["a".to_owned(), "b".to_owned()],
            file("use crate::{d::{self, Y}, a::c}; fn f<'a>() { g('\"', r#\"super::Z\"#) }"),
        ),
        (
            vec!["a".to_owned(), "c".to_owned()],
            file("fn f() { super::g(\"crate::d\") } #[cfg(test)] mod tests { use crate::d::X; }"),
        ),
        (
            vec!["d".to_owned()],
            file("impl T { fn f() { crate::a::b::X::new() } }"),
        ),
    ]);
    let used = |of: &str| {
        let module: Module = of.split("::").map(str::to_owned).collect();
        let used = paths(&files[&module], &module, &files);
        let used: BTreeSet<String> = used
            .iter()
            .filter_map(|path| deepest(path, &files))
            .map(|used| name(&used))
            .collect();
        used.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(used("a"), "a::b");
    assert_eq!(used("a::b"), "a::c d");
    assert_eq!(used("a::c"), "a");
    assert_eq!(used("d"), "a::b");
    let all: Uses = files
        .iter()
        .map(|(module, text)| {
            (
                module.clone(),
                paths(text, module, &files)
                    .iter()
                    .filter_map(|path| deepest(path, &files))
                    .collect(),
            )
        })
        .collect();
    assert_eq!(
        circles(&all),
        [["a", "a::b", "a::c", "d"].map(str::to_owned)]
    );
}
