//! What a command's words would have to be, when they were hardly meant as they stand.
//!
//! prn takes the words of a command and never asks a shell, so `prn run 'ls | wc -l'` hands "|" to
//! `ls`. That may be what was wanted: nothing is refused for it, but somebody who wanted a shell is
//! told what to type, in words that can be pasted. Pure.

use clap::Args;
use clap::error::ErrorKind;

use crate::commands::run::Run;
use crate::commands::start::Start;
use crate::failure::Failure;

/// Commands and keywords of a shell that are no programs, or that mean nothing as one (XCU 2.4,
/// 2.9, 2.14; and what bash adds).
const SHELL_WORDS: &[&str] = &[
    "!", ".", ":", "[[", "alias", "bg", "break", "builtin", "case", "cd", "command", "continue",
    "declare", "dirs", "disown", "eval", "exec", "exit", "export", "fg", "for", "function", "hash",
    "history", "if", "jobs", "let", "local", "popd", "pushd", "read", "readonly", "return",
    "select", "set", "shift", "shopt", "source", "suspend", "times", "trap", "type", "typeset",
    "ulimit", "umask", "unalias", "unset", "until", "wait", "while", "{",
];

/// A `prn start` or `prn run` as it was typed.
#[derive(Debug, PartialEq, Eq)]
pub struct Typed {
    command: &'static str,
    /// What is prn's own, wherever it stood.
    flags: Vec<String>,
    /// The string that is to be split.
    line: Option<String>,
    /// What stood behind the string, or behind two dashes.
    further: Vec<String>,
}

impl Typed {
    /// From the words behind "prn". `None` for another command, for words that are not text, and
    /// where a flag in front of the command is not one of prn's.
    pub fn of(words: &[std::ffi::OsString]) -> Option<Self> {
        let words: Vec<&str> = words
            .iter()
            .map(|word| word.to_str())
            .collect::<Option<_>>()?;
        let (command, mut rest) = words.split_first()?;
        let command = *["start", "run"].iter().find(|name| *name == command)?;
        let mut typed = Self {
            command,
            flags: Vec::new(),
            line: None,
            further: Vec::new(),
        };
        while let Some((word, after)) = rest.split_first() {
            if *word == "--" {
                typed.further.extend(after.iter().map(ToString::to_string));
                break;
            }
            // A short one behind the string is the program's: many have a `-n` or a `-o`.
            let is_programs = typed.line.is_some() && !word.starts_with("--");
            let length = (!is_programs).then(|| flag_length(command, rest)).flatten();
            if let Some((flag, after)) = length.and_then(|length| rest.split_at_checked(length)) {
                typed.flags.extend(flag.iter().map(ToString::to_string));
                rest = after;
                continue;
            }
            if typed.line.is_some() {
                typed.further.push((*word).to_owned());
            } else if word.starts_with('-') {
                return None;
            } else {
                typed.line = Some((*word).to_owned());
            }
            rest = after;
        }
        Some(typed)
    }

    /// The command that was typed.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// The flag behind the string that is not prn's, if that is what stands there first.
    pub fn programs_flag(&self) -> Option<&str> {
        self.line.as_ref()?;
        let first = self.further.first()?;
        (first.len() > 1 && first.starts_with('-')).then_some(first)
    }

    /// Whether a long flag is the first word behind the string that is not taken as prn's.
    pub fn goes_on_with_long_flag(&self) -> bool {
        self.line.is_some()
            && self
                .further
                .first()
                .is_some_and(|word| word.starts_with("--"))
    }

    /// How to hand on words behind the string, which were meant as its arguments.
    pub fn with_dashes(&self) -> Option<String> {
        let line = self.line.as_deref()?;
        if self.further.is_empty() {
            return None;
        }
        let mut words = match shlex::split(line) {
            Some(words) if line.contains(char::is_whitespace) => words,
            Some(_) | None => vec![line.to_owned()],
        };
        words.extend_from_slice(&self.further);
        self.typing(&words)
    }

    /// What else to type for a command that the server did not find.
    pub fn of_what_was_not_found(&self) -> Option<String> {
        let argv = match &self.line {
            Some(line) => shlex::split(line)?,
            None => self.further.clone(),
        };
        let (first, arguments) = argv.split_first()?;
        if is_shell_word(first) {
            let line = match &self.line {
                Some(line) => line.clone(),
                None => shlex::try_join(argv.iter().map(String::as_str)).ok()?,
            };
            let how = self.in_a_shell(&line)?;
            return Some(format!("a shell knows {first}: {how}"));
        }
        if !arguments.is_empty() || !first.contains(char::is_whitespace) {
            return None;
        }
        // One word with blanks in it: a whole command behind two dashes.
        let words = shlex::split(first)?;
        let for_a_shell = shell_syntax(first).is_some() || is_shell_word(words.first()?);
        let how = if for_a_shell {
            self.in_a_shell(first)?
        } else {
            self.typing(&words)?
        };
        Some(format!("that is one word, blanks and all; as words: {how}"))
    }

    /// What to type for a shell that reads `line`.
    fn in_a_shell(&self, line: &str) -> Option<String> {
        self.typing(&["sh", "-c", line].map(str::to_owned))
    }

    /// The whole command with these words, to be pasted. `None` if a terminal would not show it as
    /// it is.
    fn typing(&self, argv: &[String]) -> Option<String> {
        let flags = without_values(&self.flags);
        let words = ["prn", self.command]
            .into_iter()
            .chain(flags.iter().map(String::as_str))
            .chain(["--"])
            .chain(argv.iter().map(String::as_str));
        let text = shlex::try_join(words).ok()?;
        (!text.contains(char::is_control)).then_some(text)
    }
}

/// Flags as they may be shown: a variable's value can be a secret, and what is shown ends in logs.
fn without_values(flags: &[String]) -> Vec<String> {
    let mut is_variable = false;
    let mut shown = Vec::new();
    for flag in flags {
        let assigned = flag.strip_prefix("--env=");
        let text = match assigned.unwrap_or(flag).split_once('=') {
            Some((name, _)) if assigned.is_some() => format!("--env={name}=…"),
            Some((name, _)) if is_variable => format!("{name}=…"),
            _ => flag.clone(),
        };
        is_variable = flag == "--env";
        shown.push(text);
    }
    shown
}

/// How many of the first words are a flag of this command with its value, if they are one.
fn flag_length(command: &str, words: &[&str]) -> Option<usize> {
    if !words.first()?.starts_with('-') {
        return None;
    }
    (1..=2).find(|length| {
        words
            .get(..*length)
            .is_some_and(|flag| takes_flag(command, flag))
    })
}

/// Whether these words are one whole flag of `prn start` or `prn run`.
fn takes_flag(command: &str, flag: &[&str]) -> bool {
    let parser = clap::Command::new("prn");
    let parser = if command == "run" {
        Run::augment_args(parser)
    } else {
        Start::augment_args(parser)
    };
    match parser.try_get_matches_from(["prn"].iter().chain(flag)) {
        Ok(_) => true,
        // Flags and values are looked at first, and only then what is missing.
        Err(error) => error.kind() == ErrorKind::MissingRequiredArgument,
    }
}

/// What to do about a failure, for somebody who typed these words.
pub fn hint(failure: &Failure, words: &[std::ffi::OsString]) -> Option<String> {
    let of_run = if let Failure::Run(of_run) = failure {
        of_run
    } else {
        failure
    };
    let not_found = of_run.is_command_not_found();
    not_found
        .then(|| Typed::of(words)?.of_what_was_not_found())
        .flatten()
        .or_else(|| failure.hint())
}

/// What is to be said of a string with something in it that only a shell would act on. Nothing
/// where its program is one of a shell's own commands: that will not be found, and then it is said.
pub fn warning(line: &str, words: &[std::ffi::OsString]) -> Option<String> {
    let syntax = shell_syntax(line)?;
    if shlex::split(line)?
        .first()
        .is_none_or(|first| is_shell_word(first))
    {
        return None;
    }
    let how = Typed::of(words).and_then(|typed| typed.in_a_shell(line));
    let how = how.map_or_else(String::new, |how| format!(" (with a shell: {how})"));
    Some(format!(
        "warning: no shell reads the command, so {syntax} is handed on as it stands{how}"
    ))
}

/// Whether only a shell can make something of it as the first word.
fn is_shell_word(word: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    SHELL_WORDS.contains(&word) || word.split_once('=').is_some_and(|(name, _)| is_name(name))
}

/// The first word of a command line that a shell would not take as it stands, quoted for a message;
/// of those alone that `shlex` does take so: quotes and blanks are the same to both.
fn shell_syntax(line: &str) -> Option<String> {
    let mut bare = Bare::default();
    let mut chars = line.trim().chars();
    while let Some(c) = chars.next() {
        match (bare.quote, c) {
            (Quote::None, '\n') => return Some("a line break".to_owned()),
            (Quote::None, c) if c.is_whitespace() => {
                if bare.is_syntax() {
                    break;
                }
                bare = Bare::default();
            }
            // A comment, which `shlex` leaves out as a shell does.
            (Quote::None, '#') if bare.raw.is_empty() => {
                chars.by_ref().take_while(|c| *c != '\n').for_each(drop);
            }
            (Quote::None | Quote::Double, '\\') => {
                bare.raw.push(c);
                if let Some(c) = chars.next() {
                    bare.quoted(c);
                }
            }
            (Quote::None, '\'') => bare.turn(c, Quote::Single),
            (Quote::None, '"') => bare.turn(c, Quote::Double),
            (Quote::Single, '\'') | (Quote::Double, '"') => bare.turn(c, Quote::None),
            (Quote::Single, c) => bare.quoted(c),
            (Quote::Double, c) => bare.double_quoted(c),
            (Quote::None, c) => bare.open(c),
        }
    }
    bare.is_syntax().then(|| format!("{:?}", bare.raw))
}

/// What the character that comes next stands in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Quote {
    #[default]
    None,
    Single,
    Double,
}

/// A word, and what of it a shell would look at.
#[derive(Debug, Default)]
struct Bare {
    quote: Quote,
    /// As it was typed.
    raw: String,
    /// What is not quoted, with [`QUOTED`] in the place of all else.
    open: String,
    /// The same, of what double quotes do not hide.
    expanded: String,
}

/// Stands for a character that means only itself.
const QUOTED: char = '\0';

impl Bare {
    fn turn(&mut self, c: char, quote: Quote) {
        self.raw.push(c);
        self.quote = quote;
    }

    fn push(&mut self, raw: char, open: char, expanded: char) {
        self.raw.push(raw);
        self.open.push(open);
        self.expanded.push(expanded);
    }

    fn quoted(&mut self, c: char) {
        self.push(c, QUOTED, QUOTED);
    }

    fn double_quoted(&mut self, c: char) {
        self.push(c, QUOTED, c);
    }

    fn open(&mut self, c: char) {
        self.push(c, c, c);
    }

    fn is_syntax(&self) -> bool {
        // Those of a URL mean what they mean there, but for what no URL holds.
        let is_url = self.open.contains("://");
        let operators: &[char] = if is_url {
            &['|', '<', '>']
        } else {
            &['|', '&', ';', '<', '>', '(', ')']
        };
        self.open.contains(operators)
            || self.open.ends_with(['&', ';'])
            || self.expands()
            || (!is_url && self.is_pattern())
    }

    /// Variables, commands, and home directories (XCU 2.6).
    fn expands(&self) -> bool {
        let begins_name = |c: char| c.is_ascii_alphanumeric() || "_{(?#@*!$".contains(c);
        let dollar = self
            .expanded
            .split('$')
            .skip(1)
            .any(|rest| rest.starts_with(begins_name));
        dollar || self.expanded.contains('`') || self.open.starts_with('~')
    }

    /// File names (XCU 2.14.3).
    fn is_pattern(&self) -> bool {
        let set = self
            .open
            .split_once('[')
            .is_some_and(|(_, rest)| rest.char_indices().any(|(at, c)| c == ']' && at > 0));
        self.open.contains(['*', '?']) || set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn typed(words: &[&str]) -> Option<Typed> {
        Typed::of(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    /// What a shell makes of a hint, as prn's words.
    fn pasted(hint: &str) -> Vec<String> {
        let words = shlex::split(hint).unwrap();
        assert_eq!(words.first().unwrap(), "prn");
        words
    }

    #[test]
    fn words_behind_the_string_are_put_behind_two_dashes() {
        for (words, hint) in [
            (&["run", "ls", "-la"][..], "prn run -- ls -la"),
            (&["start", "sleep", "0.1"], "prn start -- sleep 0.1"),
            (&["run", "ls -la", "/tmp"], "prn run -- ls -la /tmp"),
            (
                &["start", "sleep", "100", "--memory", "64M"],
                "prn start --memory 64M -- sleep 100",
            ),
            (
                &["run", "--env=A=b c", "git", "commit", "-m", "a b"],
                "prn run '--env=A=…' -- git commit -m 'a b'",
            ),
            (
                &["run", "--env", "TOKEN=secret", "git", "push"],
                "prn run --env 'TOKEN=…' -- git push",
            ),
            (
                &["start", "curl", "-o", "out.html", "x"],
                "prn start -- curl -o out.html x",
            ),
            (&["run", "sleep", "--", "5"], "prn run -- sleep 5"),
            (&["run", "ls", "--help"], "prn run -- ls --help"),
            (&["run", "python3", "-V"], "prn run -- python3 -V"),
            (
                &["run", "echo", "it's", "$HOME"],
                "prn run -- echo \"it's\" '$HOME'",
            ),
            (&["run", "head", "-n", "-1"], "prn run -- head -n -1"),
        ] {
            let shown = typed(words).unwrap().with_dashes();
            assert_eq!(shown.as_deref(), Some(hint), "{words:?}");
        }
        for good in [
            &["run", "ls -la"][..],
            &["run", "ls", "--memory", "64M"],
            &["run", "--", "ls", "-la"],
            &["run"],
        ] {
            assert_eq!(typed(good).unwrap().with_dashes(), None, "{good:?}");
        }
        for other in [&["run", "--no-such", "ls"][..], &["stop", "x"], &[]] {
            assert_eq!(typed(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_line_for_a_shell_is_told_from_words() {
        for line in [
            "ls | wc -l",
            "ls|wc",
            "cd /tmp && ls",
            "a || b",
            "a; b",
            "a ;",
            "sleep 1 &",
            "echo hi > file",
            "echo hi >file",
            "make 2>&1",
            "cat < file",
            "(a)",
            "echo $HOME",
            "echo ${HOME}",
            "echo \"$HOME\"",
            "echo $(date)",
            "echo `date`",
            "echo \"`date`\"",
            "echo $?",
            "ls *.c",
            "ls file?",
            "ls [ab]*",
            "ls [ab]",
            "ls ~",
            "~/bin/x",
            "curl http://x | sh",
            "curl http://x>file",
            "curl http://x; ls",
            "echo 'a' | b",
            "a\nb",
        ] {
            assert!(shell_syntax(line).is_some(), "{line}");
        }
        for line in [
            "ping google.com",
            "sh -c 'echo \"$A\" | wc'",
            "echo 'a|b' \"a && b; c > d\" a\\|b \\$HOME \"\\$HOME\"",
            "echo '$HOME' '*' \"*\" \"a ~ b\"",
            "grep foo$ file",
            "echo \"cost: $ 5\"",
            "test [ x ]",
            "[ -f x ]",
            "curl http://host/?a=1&b=2",
            "awk '{print $1; next}' x",
            "echo a # | wc",
            "echo a#b a~b a=b --x=y {} {a,b} ! %",
            "  true  \n",
            "",
        ] {
            assert_eq!(shell_syntax(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_for_a_shell_is_quoted_so_that_it_can_be_pasted() {
        for line in [
            "ls | wc -l",
            "echo \"$HOME\" 'a b' > x",
            "echo it\\'s `date`; true",
            "ls ~ !x &",
        ] {
            let words = ["run", "--memory", "64M", line].map(OsString::from);
            let said = warning(line, &words).unwrap();
            let hint = said.split_once("with a shell: ").unwrap().1;
            assert_eq!(
                pasted(hint.strip_suffix(')').unwrap()),
                ["prn", "run", "--memory", "64M", "--", "sh", "-c", line]
            );
        }
        let said = warning("ls | wc -l", &["run", "ls | wc -l"].map(OsString::from));
        assert_eq!(
            said.unwrap(),
            "warning: no shell reads the command, so \"|\" is handed on as it stands \
             (with a shell: prn run -- sh -c 'ls | wc -l')"
        );
    }

    #[test]
    fn what_is_not_found_is_often_a_shells() {
        for (words, hint) in [
            (&["run", "cd /tmp && ls"][..], Some("sh -c 'cd /tmp && ls'")),
            (&["run", "--", "cd", "/a b"], Some("sh -c \"cd '/a b'\"")),
            (&["start", "FOO=1 make"], Some("sh -c 'FOO=1 make'")),
            (&["start", "--", "ls -la"], Some("prn start -- ls -la")),
            (&["start", "'ls -la'"], Some("prn start -- ls -la")),
            (&["start", "--", "ls | wc"], Some("sh -c 'ls | wc'")),
            (&["start", "--", "cd /tmp"], Some("sh -c 'cd /tmp'")),
            (&["start", "--", "no-such", "a b"], None),
            (&["start", "no-such"], None),
        ] {
            let shown = typed(words).unwrap().of_what_was_not_found();
            match hint {
                Some(hint) => assert!(shown.as_ref().unwrap().ends_with(hint), "{shown:?}"),
                None => assert_eq!(shown, None, "{words:?}"),
            }
        }
    }
}
