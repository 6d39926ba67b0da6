//! Lines on standard error, which a thread of its own writes: whoever does not read them holds up
//! nothing else. What does not fit meanwhile is counted.

use std::error::Error;
use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

/// Most lines that wait.
const WAITING_MAX: usize = 64;
/// Most characters of a line: a server or collector may say more.
const LINE_MAX: usize = 1000;
/// For how long the end waits for lines to be written.
const FINISH_TIME: Duration = Duration::from_secs(1);

/// Whose lines they are.
static PROGRAM: OnceLock<&'static str> = OnceLock::new();
/// Lines that were not written.
static LOST: AtomicU64 = AtomicU64::new(0);
/// To the thread; nothing where it cannot be started.
static WRITER: LazyLock<Option<SyncSender<Message>>> = LazyLock::new(|| {
    let (sender, messages) = sync_channel(WAITING_MAX);
    let thread = std::thread::Builder::new().name("log".to_owned());
    let started = thread.spawn(move || write_all(&messages));
    started.is_ok().then_some(sender)
});

enum Message {
    Line(String),
    /// All before it is written.
    Flush(SyncSender<()>),
}

fn write_all(messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Line(line) => write(&line),
            Message::Flush(done) => drop(done.try_send(())),
        }
        let lost = LOST.swap(0, Ordering::Relaxed);
        if lost > 0 {
            write(&format!("{lost} lines were lost: nobody has read them"));
        }
    }
}

fn write(line: &str) {
    let program = PROGRAM.get().copied().unwrap_or("prn");
    // Nobody can be told if standard error is closed.
    drop(io::stderr().write_all(format!("{program}: {line}\n").as_bytes()));
}

/// Says whose lines they are, once.
pub fn of(program: &'static str) {
    let _again = PROGRAM.set(program);
}

/// One line.
pub fn line(text: Arguments<'_>) {
    // What a server has said is not to act on a terminal.
    let text = text.to_string();
    let text = text.chars().take(LINE_MAX);
    let text = text.map(|c| if c.is_control() { ' ' } else { c }).collect();
    if let Some(writer) = WRITER.as_ref()
        && writer.try_send(Message::Line(text)).is_err()
    {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for a while until what was said is written.
pub fn finish() {
    let (sender, done) = sync_channel(1);
    if let Some(writer) = WRITER.as_ref()
        && writer.try_send(Message::Flush(sender)).is_ok()
    {
        let _in_time = done.recv_timeout(FINISH_TIME);
    }
}

/// An error with its causes.
pub fn error(error: &dyn Error) {
    line(format_args!("{}", chain(error)));
}

/// An error with its causes, as one line has them.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let said = deeper.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = deeper.source();
    }
    text
}
