//! A key that a command prints: any store of secrets that has a program.
//!
//! It runs as who starts prn, without a shell, and gets no input. Its time and what it may print
//! are bounded, and what it printed is wiped.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::place::KEY_VARIABLE;
use super::reading::FILE_MAX;

/// For how long it may run.
const TIME: Duration = Duration::from_secs(30);

/// How often it is asked whether it has ended, once it has closed its output.
const PAUSE: Duration = Duration::from_millis(5);

/// Most bytes of its standard error that are shown.
const SAID_MAX: usize = 400;

/// What is the service manager's, or a secret that it does not need.
const NOT_PASSED: [&str; 6] = [
    KEY_VARIABLE,
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
];

/// What the program prints, or why that is no key, on one line.
pub fn output(words: &[String]) -> Result<Zeroizing<Vec<u8>>, String> {
    output_within(words, TIME)
}

fn output_within(words: &[String], time: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    let deadline = Instant::now() + time;
    let (program, arguments) = words
        .split_first()
        .ok_or("key-command is empty: name a program, and its arguments")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    NOT_PASSED.iter().map(OsStr::new).for_each(|name| {
        command.env_remove(name);
    });
    let spawned = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| format!("cannot run it: {error}"))?;
    let (printed, said) = (read_in(child.stdout.take()), read_in(child.stderr.take()));
    let ended = (|| {
        let printed = printed
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .ok()?;
        Some((printed, status_by(&mut child, deadline)?))
    })();
    let Some((printed, status)) = ended else {
        // Nobody waits for what it has started itself.
        let _ended_already = child.kill();
        let _status = child.wait();
        return Err(format!("it took longer than {time:?} and was killed"));
    };
    if !status.success() {
        let left = deadline.saturating_duration_since(Instant::now());
        let said = said.recv_timeout(left.min(Duration::from_secs(1)));
        return Err(format!("{status}: {}", line(&said.unwrap_or_default())));
    }
    if printed.len() > FILE_MAX {
        return Err(format!("it printed more than {FILE_MAX} bytes"));
    }
    Ok(printed)
}

fn status_by(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

/// All of a stream up to what is too much, in one allocation, which is wiped. The thread ends with
/// the stream: what is too much is not read.
fn read_in(stream: Option<impl Read + Send + 'static>) -> Receiver<Zeroizing<Vec<u8>>> {
    let (sender, receiver) = channel();
    let Some(stream) = stream else {
        return receiver;
    };
    std::thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_MAX + 64));
        let limit = u64::try_from(FILE_MAX).unwrap_or(u64::MAX);
        let _cut = stream.take(limit + 1).read_to_end(&mut bytes);
        // Who waited for it may be gone.
        let _unused = sender.send(bytes);
    });
    receiver
}

/// One line of plain letters of what it said last.
fn line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let words: Vec<_> = text.split_whitespace().collect();
    let text: String = words.join(" ").replace(char::is_control, "?");
    if text.is_empty() {
        return "it said nothing of why".to_owned();
    }
    let more = text.char_indices().rev().nth(SAID_MAX);
    more.map_or(text.clone(), |(start, _)| {
        format!("…{}", text.get(start..).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, time: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
        let words = ["sh", "-c", script].map(str::to_owned);
        output_within(&words, time)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn what_a_command_prints_is_the_key_and_what_it_says_of_a_failure_is_shown() {
        assert_eq!(**sh("printf key", LONG).unwrap(), *b"key");
        let failed = sh(
            "echo no; printf 'denied:\\n\\033[31m ask ops' >&2; exit 3",
            LONG,
        );
        let failed = failed.unwrap_err();
        assert!(
            failed.contains("exit status: 3: denied: ?[31m ask ops"),
            "{failed}"
        );
        assert!(
            !failed.contains("no;") && !failed.contains('\n'),
            "{failed}"
        );
        let missing = output(&["/nowhere/vault".to_owned()]).unwrap_err();
        assert!(missing.contains("cannot run it"), "{missing}");
        assert!(output(&[]).unwrap_err().contains("name a program"));
    }

    #[test]
    fn a_command_is_bounded_in_time_and_in_what_it_prints() {
        let begun = Instant::now();
        let slow = sh("exec sleep 60", Duration::from_millis(200)).unwrap_err();
        assert!(slow.contains("killed"), "{slow}");
        // What it has left behind holds the pipe open.
        let left = sh("sleep 5 & exit 0", Duration::from_millis(200)).unwrap_err();
        assert!(left.contains("killed"), "{left}");
        assert!(begun.elapsed() < LONG);
        // Nobody reads the rest: either is known first, that it is too much or that this ended it.
        for much in ["exec head -c 70000 /dev/zero", "exec yes"] {
            let much = sh(much, LONG).unwrap_err();
            assert!(
                much.contains("signal") || much.contains("more than"),
                "{much}"
            );
        }
    }

    #[test]
    fn the_end_of_a_long_complaint_is_shown() {
        let said = format!("{}the reason", "x".repeat(5000));
        let shown = line(said.as_bytes());
        assert!(
            shown.starts_with('…') && shown.ends_with("the reason"),
            "{shown}"
        );
        assert!(shown.chars().count() <= SAID_MAX + 2, "{}", shown.len());
    }
}
