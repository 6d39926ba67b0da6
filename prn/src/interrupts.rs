//! Signals that ask `prn run` to end.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// How long a server may take to answer whom a signal has asked to end.
const ANSWER: Duration = Duration::from_secs(5);

/// What a signal asks of `prn run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Stop the process.
    Stop,
    /// Leave at once.
    Leave,
}

/// SIGINT, SIGTERM and SIGHUP, for `prn run`. Those that were ignored when prn was started
/// (nohup(1), `trap '' INT`, a shell's `&`) stay so.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
    /// Of a terminal that is the process's: it ends prn as ever, but not before the terminal is as
    /// it was.
    quit: Option<Signal>,
    count: u32,
    /// When one came whose sender will send no other, but expects prn to end.
    ending_since: Option<Instant>,
    /// For how long what they have asked for is waited for then.
    patience: Duration,
}

impl Interrupts {
    /// Takes the signals from now on: they no longer end prn by themselves.
    pub fn take() -> io::Result<Self> {
        Ok(Self {
            interrupt: taken(SignalKind::interrupt())?,
            terminate: taken(SignalKind::terminate())?,
            hangup: taken(SignalKind::hangup())?,
            quit: None,
            count: 0,
            ending_since: None,
            patience: ANSWER,
        })
    }

    /// Takes SIGQUIT too, which leaves the process at once.
    pub fn take_quit(&mut self) -> io::Result<()> {
        self.quit = taken(SignalKind::quit())?;
        Ok(())
    }

    /// From now on a signal stops a process that may take so long to end.
    pub fn expect_grace(&mut self, grace: Duration) {
        self.patience = ANSWER.saturating_add(grace);
    }

    /// One has come already that asks to stop the process.
    pub fn have_asked(&self) -> bool {
        self.count > 0
    }

    /// Does something; `None` where one comes before it is done.
    pub async fn unless<T>(&mut self, act: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = act => Some(done),
            _ = self.next() => None,
        }
    }

    /// What the next one asks for. A terminal that goes away often says so twice, and so does
    /// timeout(1), to prn and to its process group: that is never a second.
    ///
    /// Where a server does not answer, a second Ctrl-C ends prn. Whoever sends SIGTERM or SIGHUP
    /// need not send it twice: prn leaves in time by itself.
    pub async fn next(&mut self) -> Interrupt {
        let since = self.ending_since;
        let leave_at = since.and_then(|since| since.checked_add(self.patience));
        tokio::select! {
            () = received(self.interrupt.as_mut()) => {}
            () = ending(self.terminate.as_mut(), self.hangup.as_mut()) => {
                self.ending_since.get_or_insert_with(Instant::now);
                self.count = self.count.max(1);
                return Interrupt::Stop;
            }
            () = received(self.quit.as_mut()) => return Interrupt::Leave,
            () = due(leave_at) => return Interrupt::Leave,
        }
        self.count += 1;
        if self.count > 1 {
            Interrupt::Leave
        } else {
            Interrupt::Stop
        }
    }
}

/// Takes a signal, unless it is ignored.
fn taken(kind: SignalKind) -> io::Result<Option<Signal>> {
    let bit = u32::try_from(kind.as_raw_value() - 1).unwrap_or_default();
    let is_ignored = ignored_signals().checked_shr(bit).unwrap_or_default() & 1 == 1;
    if is_ignored {
        Ok(None)
    } else {
        signal(kind).map(Some)
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// One of those whose sender sends no other.
async fn ending(terminate: Option<&mut Signal>, hangup: Option<&mut Signal>) {
    tokio::select! {
        () = received(terminate) => {}
        () = received(hangup) => {}
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Bit n - 1 is set for a signal n that is ignored (proc_pid_status(5)).
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.unwrap_or_default()
}
