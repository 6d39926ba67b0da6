//! What is said of a command line that is not one of prn's.
//!
//! clap says what is wrong with it; here it is said what to type instead.

use std::ffi::OsString;
use std::num::ParseIntError;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error};

use crate::cli::Cli;
use crate::words::Typed;
use crate::{exit, habits, output};

/// Words that people type who know other tools, and what does it here.
const HABITS: &[Habit] = &[
    Habit {
        command: "stop",
        words: &["-9", "-KILL", "-SIGKILL", "-k", "--kill", "-f", "--force"],
        tip: "`--signal kill` stops at once; without it a process has its grace time",
    },
    Habit {
        command: "stop",
        words: &["-15", "-TERM", "-SIGTERM"],
        tip: "a process gets SIGTERM first, without a flag",
    },
];

/// Words that some other tool takes behind a command.
#[derive(Debug)]
struct Habit {
    command: &'static str,
    words: &'static [&'static str],
    tip: &'static str,
}

/// Prints help, or what is wrong and what to type instead. The exit code for it: `prn run` and `prn
/// attach` keep to their own ones.
pub fn tell(mut error: Error, words: &[OsString]) -> ExitCode {
    let words = words.get(1..).unwrap_or_default();
    // Help and version are asked of the program whose words these are.
    if !error.use_stderr()
        && let Some(refused) = refused(words)
    {
        error = refused;
    }
    let instead = tip(&error, words);
    if error.use_stderr() {
        // What clap proposes, two dashes before the word, makes no command of prn's right.
        error.remove(ContextKind::Suggested);
        if let Some(tip) = &instead {
            let tips = ContextValue::StyledStrs(vec![tip.into()]);
            error.insert(ContextKind::Suggested, tips);
            error.remove(ContextKind::SuggestedSubcommand);
        }
    }
    let printed = output::usage(&error);
    if !error.use_stderr() {
        return printed.into();
    }
    let exits_as_a_process = |command: &OsString| {
        ["run", "exec", "attach", "wait"]
            .iter()
            .any(|name| command == name)
    };
    if words.first().is_some_and(exits_as_a_process) {
        exit::RUN_FAILED.into()
    } else {
        printed.into()
    }
}

/// What is wrong with the words behind "prn", though clap takes them: behind the string stands a flag that
/// is the program's.
pub fn refused(words: &[OsString]) -> Option<Error> {
    let typed = Typed::of(words)?;
    let flag = typed.programs_flag()?;
    let mut all = Cli::command();
    all.build();
    let mut error = Error::new(ErrorKind::UnknownArgument);
    if let Some(command) = all.find_subcommand(typed.command()) {
        error = error.with_cmd(command);
    }
    error.insert(
        ContextKind::InvalidArg,
        ContextValue::String(flag.to_owned()),
    );
    Some(error)
}

fn tip(error: &Error, words: &[OsString]) -> Option<String> {
    if let Some(typed) = Typed::of(words) {
        // A value that is wrong is wrong behind a long flag, which is prn's; `-o` is of many
        // programs.
        let is_value = matches!(
            error.kind(),
            ErrorKind::InvalidValue | ErrorKind::ValueValidation
        );
        if is_value && typed.goes_on_with_long_flag() {
            return None;
        }
        let how = typed.with_dashes()?;
        return Some(format!("words behind the string need two dashes: {how}"));
    }
    match error.kind() {
        ErrorKind::InvalidSubcommand => instead(error, words),
        ErrorKind::MissingRequiredArgument => missing(error).map(str::to_owned),
        ErrorKind::ValueValidation => {
            is_no_number(error).then(|| "write a whole number".to_owned())
        }
        ErrorKind::UnknownArgument => habit(words),
        _ => None,
    }
}

/// What to type instead of a command that is none of prn's. Where a word is known from elsewhere, what
/// clap finds to look like it is not meant.
fn instead(error: &Error, words: &[OsString]) -> Option<String> {
    let words: Vec<_> = words.iter().filter_map(|word| word.to_str()).collect();
    let known = habits::instead(&words).map(str::to_owned);
    let has_similar = error.get(ContextKind::SuggestedSubcommand).is_some();
    known.or_else(|| (!has_similar).then(|| "`prn help` shows all commands".to_owned()))
}

/// Where to find what is missing.
fn missing(error: &Error) -> Option<&'static str> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let has = |name: &str| missing.iter().any(|arg| arg.contains(name));
    if has("<ID>") {
        Some("`prn list` shows all processes")
    } else if has("--workspace") {
        Some("`prn workspace create NAME` makes a workspace")
    } else {
        None
    }
}

fn is_no_number(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<ParseIntError>())
}

fn habit(words: &[OsString]) -> Option<String> {
    let (command, further) = words.split_first()?;
    let is_meant = |habit: &&Habit| {
        command == habit.command
            && further
                .iter()
                .take_while(|word| *word != "--")
                .any(|word| habit.words.iter().any(|known| word == known))
    };
    let habit = HABITS.iter().find(is_meant)?;
    Some(habit.tip.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn tip_of(words: &[&str]) -> Option<String> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        let all = ["prn".into()].into_iter().chain(words.clone());
        tip(&Cli::try_parse_from(all).err()?, &words)
    }

    #[test]
    fn a_short_flag_behind_the_string_is_the_programs() {
        for (words, how) in [
            (&["run", "sort", "-n"][..], "prn run -- sort -n"),
            (&["run", "uname", "-n"], "prn run -- uname -n"),
            (&["run", "ls", "-w", "80"], "prn run -- ls -w 80"),
            (&["start", "ls", "-t"], "prn start -- ls -t"),
            (&["run", "git", "--version"], "prn run -- git --version"),
            (&["start", "date", "-V"], "prn start -- date -V"),
            (&["run", "ls", "-h"], "prn run -- ls -h"),
            (
                &["run", "ls", "--grace", "1s", "-n"],
                "prn run --grace 1s -- ls -n",
            ),
        ] {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            let error = refused(&words).unwrap();
            assert!(error.use_stderr(), "{words:?}");
            assert!(tip(&error, &words).unwrap().ends_with(how), "{words:?}");
        }
        for words in [
            &["run", "-n", "sort"][..],
            &["run", "-w", "build", "ls"],
            &["run", "ls", "--no-stdin"],
            &["run", "--", "ls", "-n"],
            &["run", "--help"],
            &["start", "-V"],
            &["exec", "build", "ls", "-n"],
            &["stop", "web", "-h"],
        ] {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            assert!(refused(&words).is_none(), "{words:?}");
        }
    }

    #[test]
    fn words_of_other_tools_are_answered_with_prns_own() {
        let id = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";
        for (words, tip) in [
            (&["stop", id, "-9"][..], "--signal kill"),
            (&["stop", "-KILL", id], "--signal kill"),
            (&["tail", id], "prn logs"),
        ] {
            let said = tip_of(words);
            assert!(
                said.as_ref().is_some_and(|said| said.contains(tip)),
                "{words:?}: {said:?}"
            );
        }
        for words in [
            &["stop", id, "-x"][..],
            &["logs", "-x"],
            &["no-such"],
            &["stop", "x", "-9"],
        ] {
            assert!(
                tip_of(words).is_none_or(|said| !said.contains("--grace")),
                "{words:?}"
            );
        }
    }

    #[test]
    fn only_words_that_are_not_prns_get_two_dashes() {
        let tip = "words behind the string need two dashes: prn start -- ";
        for words in [
            &["start", "ls", "-la"][..],
            &["start", "sleep", "0.1"],
            &["start", "sleep", "--", "0.1"],
            &["start", "sort", "-o", "file"],
            &["start", "ls", "--help"],
        ] {
            assert!(tip_of(words).unwrap().starts_with(tip), "{words:?}");
        }
        for words in [
            &["start", "ls", "--memory", "lots"][..],
            &["start", "--no-such", "ls"],
            &["start"],
            &["start", "--help"],
        ] {
            assert_eq!(tip_of(words), None, "{words:?}");
        }
    }
}
