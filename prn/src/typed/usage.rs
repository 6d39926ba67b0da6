//! What is said of a command line that is not one of prn's.
//!
//! clap says what is wrong with it; here it is said what to type instead.

use std::ffi::OsString;
use std::num::ParseIntError;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use crate::exit;
use crate::output;
use crate::typed::habits;
use crate::typed::words::Typed;

/// Flags that people know in front of a command, each with a value.
const OF_ANY: &[&str] = &[
    "--context",
    "--address",
    "--server-cert",
    "--client-cert",
    "--tls-key",
    "--call-timeout",
    "--output",
    "-o",
    "--color",
];

/// Prints help, or what is wrong and what to type instead. The exit code for it: those that
/// exit as a process did keep to their own ones.
pub fn tell(mut error: Error, words: &[OsString], all: fn() -> Command) -> ExitCode {
    let words = words.get(1..).unwrap_or_default();
    // Help and version are asked of the program whose words these are.
    if !error.use_stderr()
        && let Some(refused) = refused(words, all)
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
            error.remove(ContextKind::SuggestedArg);
        }
    }
    let printed = output::usage(&error);
    if !error.use_stderr() {
        return printed.into();
    }
    if exit::is_as_a_process(words) {
        exit::RUN_FAILED.into()
    } else {
        printed.into()
    }
}

/// What is wrong with the words behind "prn", though clap takes them: behind the string stands a flag that
/// is the program's.
pub fn refused(words: &[OsString], all: fn() -> Command) -> Option<Error> {
    let typed = Typed::of(words)?;
    let flag = typed.programs_flag()?;
    let mut all = all();
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
    let kind = error.kind();
    if kind == ErrorKind::InvalidSubcommand {
        instead(error, words)
    } else if kind == ErrorKind::MissingRequiredArgument {
        missing(error).map(str::to_owned)
    } else if kind == ErrorKind::ValueValidation {
        is_no_number(error).then(|| "write a whole number".to_owned())
    } else if kind == ErrorKind::UnknownArgument {
        of_flag(error, words)
    } else {
        None
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

/// What does it here, of a flag that another tool has, or that stands before the command.
fn of_flag(error: &Error, words: &[OsString]) -> Option<String> {
    let words: Vec<_> = words
        .iter()
        .map(|word| word.to_str())
        .collect::<Option<_>>()?;
    if let Some(behind) = behind_the_command(&words) {
        return Some(behind);
    }
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(unknown)) => Some(unknown.as_str()),
        _ => None,
    };
    habits::flag(&words, unknown).map(str::to_owned)
}

/// The same command with its flags where they belong, where they stand before it.
fn behind_the_command(words: &[&str]) -> Option<String> {
    let mut rest = words;
    let mut flags: Vec<&str> = Vec::new();
    while let [flag, after @ ..] = rest
        && let Some(name) = flag.split('=').next()
        && OF_ANY.contains(&name)
    {
        flags.push(flag);
        rest = after;
        if !flag.contains('=')
            && let [value, after @ ..] = rest
        {
            flags.push(value);
            rest = after;
        }
    }
    let (command, arguments) = rest.split_first()?;
    if flags.is_empty() {
        return None;
    }
    let arguments = arguments.iter().take_while(|word| **word != "--").count();
    let (before, after) = rest.split_at_checked(arguments + 1)?;
    let is_string = ["run", "start", "exec"].contains(command);
    let all = if is_string {
        [&[*command], &flags[..], rest.get(1..)?].concat()
    } else {
        [before, &flags[..], after].concat()
    };
    let text = shlex::try_join(["prn"].into_iter().chain(all)).ok()?;
    (!text.contains(char::is_control)).then(|| format!("flags stand behind the command: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::{CommandFactory, Parser};

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
            let error = refused(&words, Cli::command).unwrap();
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
            assert!(refused(&words, Cli::command).is_none(), "{words:?}");
        }
    }

    #[test]
    fn words_of_other_tools_are_answered_with_prns_own() {
        let id = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";
        for (words, tip) in [
            (&["stop", id, "-9"][..], "--signal kill"),
            (&["stop", "-KILL", id], "--signal kill"),
            (&["tail", id], "prn logs"),
            (&["ps", "--filter", "label=a=b"], "-l KEY=VALUE"),
            (&["ps", "--filter=label=a=b"], "-l KEY=VALUE"),
            (&["ps", "-f", "label=a=b"], "-l KEY=VALUE"),
            (&["ps", "--format", "{{.ID}}"], "template={{id}}"),
            (
                &["inspect", "-f", "{{.State.Status}}", id],
                "template={{state}}",
            ),
            (&["events", "--filter", "type=die"], "-l KEY=VALUE"),
            (&["rm", "--all"], "prn prune"),
            (&["run", "-d", "--name", "web", "--", "ls"], "prn start"),
            (&["run", "-dit", "ls"], "prn start"),
            (&["run", "-e", "A=b", "--", "ls"], "--env"),
            (&["start", "-m", "64M", "--", "ls"], "--memory"),
            (&["start", "-l", "a=b", "--", "ls"], "--label"),
            (&["start", "--uid", "7", "--", "ls"], "user id of its own"),
            (&["cp", "-r", "a", "w:"], "go whole"),
            (&["logs", "-p", "web"], "prn list --name"),
            (
                &["--context", "west", "ps", "-q"],
                ": prn ps -q --context west",
            ),
            (
                &["--context=west", "run", "ls"],
                ": prn run '--context=west' ls",
            ),
            (
                &["-o", "json", "exec", "w", "--", "ls"],
                ": prn exec -o json w -- ls",
            ),
            (&["info"], "prn health"),
            (&["context", "current"], "prn context show"),
            (&["context", "rename", "a", "b"], "prn context add"),
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
