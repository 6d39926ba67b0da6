//! Feeding a process's standard input from ours, over whatever connection there is.
//!
//! Whoever follows the process's output connects again when a connection is lost, and decides for
//! how long that is worth it. Here is no patience beside that.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use prn_client::{Client, ClientError, InputPiece, InputWriter, ProcessId, TerminalSize, reason};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::input::local_input::{Local, LocalEnd, LocalInput, read};
use crate::input::terminal;
use crate::lasting::reading::PATIENCE;
use crate::lasting::wait::{PAUSE, PAUSE_MAX};
use crate::output;
use crate::which::connection::Remote;

/// For so long it is waited until the last keys before those that leave the process have arrived.
const LAST_KEYS: Duration = Duration::from_secs(1);

/// Between two sizes of a terminal that are to be noticed both.
const REDRAW: Duration = Duration::from_millis(50);

/// How feeding ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// There is nothing more to feed, or nobody who reads it.
    Over,
    /// The process is to be left alone, which goes on.
    Left(Leaving),
}

/// How a process is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// By the keys for it.
    Keys,
    /// With all the input that there was.
    Fed,
}

/// What is on the process's terminal when somebody comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// What is seen here as well; nothing yet, of a new process.
    Seen,
    /// Something that was not seen here: the process is to draw it anew.
    Unseen,
}

/// Where the first byte belongs in all of the process's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// At its beginning. What the same command has fed the process before, when it was run under the
    /// same id, is skipped.
    First,
    /// Behind what is there.
    Behind,
}

/// What to feed a process.
#[derive(Debug)]
pub struct Feed {
    writer: InputWriter,
    source: Source,
    at_end: AtEnd,
    end: oneshot::Receiver<LocalEnd>,
    sizes: Option<Sizes>,
}

/// What comes when all is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtEnd {
    /// The process is followed on.
    Follow,
    /// It is left alone.
    Leave,
}

/// Where the input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A person at a terminal, who sees what has arrived and can type it again.
    Keys,
    /// Anything else.
    Bytes,
}

/// The window changes that are told to the process.
#[derive(Debug)]
struct Sizes {
    screen: Screen,
    window: Signal,
    stop: Signal,
    /// They stand where they come among what is typed.
    between: mpsc::Sender<InputPiece>,
}

impl Feed {
    /// Reads standard input from now on. A `screen` is of use with keys alone.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn begin(
        id: ProcessId,
        beginning: Beginning,
        local: Local,
        screen: Screen,
    ) -> Result<Self, Failure> {
        let source = match local {
            Local::Keys(_) => Source::Keys,
            Local::ToItsEnd | Local::KeptOpen => Source::Bytes,
        };
        let LocalInput {
            pieces,
            between,
            end,
        } = read(local)?;
        let sizes = match source {
            Source::Keys => Some(Sizes::watch(between, screen)?),
            Source::Bytes => None,
        };
        let writer = match beginning {
            Beginning::First => InputWriter::new(id, Some(0), pieces)?.named(id.to_string()),
            Beginning::Behind => InputWriter::new(id, None, pieces)?,
        };
        Ok(Self {
            writer,
            source,
            at_end: AtEnd::Follow,
            end,
            sizes,
        })
    }

    /// Feeds a new process what comes from `pieces`. `end` is told when nothing more does.
    ///
    /// # Errors
    /// If the kernel has no random bytes.
    pub fn of_pieces(
        id: ProcessId,
        pieces: mpsc::Receiver<InputPiece>,
        end: oneshot::Receiver<LocalEnd>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            writer: InputWriter::new(id, Some(0), pieces)?,
            source: Source::Bytes,
            at_end: AtEnd::Follow,
            end,
            sizes: None,
        })
    }

    /// The same, which leaves the process alone when it has all that there is.
    pub fn then_leave(self) -> Self {
        Self {
            at_end: AtEnd::Leave,
            ..self
        }
    }

    /// Feeds the process, on each connection of those that `connected` tells of, or on one of its
    /// own where nothing gets through on that.
    ///
    /// # Errors
    /// [`Failure::LocalInput`], [`Failure::Client`] if the process may not have got all of it.
    pub async fn run(
        self,
        remote: &Remote,
        connected: watch::Receiver<Option<Client>>,
    ) -> Result<Fed, Failure> {
        let Self {
            writer,
            source,
            at_end,
            mut end,
            sizes,
        } = self;
        let mut pouring = std::pin::pin!(pour(writer, source, remote, connected));
        let mut resizing = sizes.map(|sizes| -> Resizing { Box::pin(sizes.tell()) });
        let mut is_read = false;
        loop {
            tokio::select! {
                biased;
                local = &mut end, if !is_read => {
                    // What is on the way is all that there is, which the writer then finds out.
                    is_read = true;
                    resizing = None;
                    match local {
                        Ok(LocalEnd::Ended) | Err(_) => {}
                        Ok(LocalEnd::Failed(error)) => return Err(Failure::LocalInput(error)),
                        Ok(LocalEnd::Detached) => {
                            let last = tokio::time::timeout(LAST_KEYS, pouring).await;
                            tell_undelivered(last.ok());
                            return Ok(Fed::Left(Leaving::Keys));
                        }
                    }
                }
                poured = &mut pouring => return Ok(fed(poured?, at_end)),
                () = resized(&mut resizing) => resizing = None,
            }
        }
    }
}

/// What became of all that there was to feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poured {
    /// It was taken.
    Taken,
    /// Nobody reads it any more.
    Unread,
}

fn fed(poured: Poured, at_end: AtEnd) -> Fed {
    match (poured, at_end) {
        (Poured::Taken, AtEnd::Leave) => Fed::Left(Leaving::Fed),
        (Poured::Taken, AtEnd::Follow) | (Poured::Unread, _) => Fed::Over,
    }
}

/// Says of the keys before those that leave the process what became of them, if that is not as it
/// should be. `last`: how feeding them ended, if it did.
fn tell_undelivered(last: Option<Result<Poured, Failure>>) {
    let lost = "what was typed last may not have reached the process";
    match last {
        // Whom nobody reads any more has nothing to say either: the process has ended.
        Some(Ok(Poured::Taken | Poured::Unread)) => {}
        Some(Err(failure)) => output::error(&failure, Some(lost)),
        None => output::notice(lost),
    }
}

/// Feeds what the writer has to its end, again after each failure that may pass.
async fn pour(
    mut writer: InputWriter,
    source: Source,
    remote: &Remote,
    mut connected: watch::Receiver<Option<Client>>,
) -> Result<Poured, Failure> {
    let mut failing = Failing::default();
    let mut own = None;
    loop {
        if connected.has_changed().unwrap_or(false) {
            (failing, own) = (Failing::default(), None);
        }
        let client = match connected.wait_for(Option::is_some).await {
            Ok(client) => client.clone(),
            // Nobody follows the process any more.
            Err(_) => None,
        };
        let Some(client) = own.clone().or(client) else {
            return std::future::pending().await;
        };
        let began = Instant::now();
        let error = match writer.feed(&client).await {
            Ok(answer) if answer.closed => return Ok(Poured::Unread),
            Ok(_) => return Ok(Poured::Taken),
            Err(error) => error,
        };
        let is_stalled = has_reason(&error, &[reason::INPUT_STALLED]);
        match (error, source) {
            (error, _) if is_moot(&error) => return Ok(Poured::Unread),
            (ClientError::InputCutOff(why), Source::Keys) => {
                writer.forget();
                output::notice(lost_keys(&why.reason));
            }
            (error, _) => {
                let failed = Instant::now();
                failing.again(error, Try { began, failed })?;
            }
        }
        tokio::time::sleep(failing.pause()).await;
        if own.take().is_some() || is_stalled {
            // Where there can be none, the one that the output comes on is as good.
            own = remote.connect().await.ok();
        }
    }
}

/// What is said of keys that may be lost, for this reason.
fn lost_keys(why: &str) -> &'static str {
    if why == reason::INPUT_OFFSET {
        "what was typed last may be lost: somebody else has typed in between"
    } else {
        "what was typed last may be lost: a part of the server has died"
    }
}

/// Whether an error means that the process has ended, or is being ended. Its output tells more.
fn is_moot(error: &ClientError) -> bool {
    has_reason(error, &[reason::PROCESS_NOT_FOUND, reason::DRAINING])
}

/// Whether another try may go well. That the writer was taken over is no reason against it: nobody
/// else has its name at the same time, so it was by a stream of its own that came late.
fn may_pass(error: &ClientError) -> bool {
    error.is_transient() || has_reason(error, &[reason::INPUT_TAKEN_OVER])
}

fn has_reason(error: &ClientError, reasons: &[&str]) -> bool {
    let refusal = error.refusal();
    refusal.is_some_and(|refusal| reasons.contains(&refusal.reason.as_str()))
}

/// One that did not go well.
#[derive(Debug, Clone, Copy)]
struct Try {
    began: Instant,
    failed: Instant,
}

/// Failures on one connection.
#[derive(Debug, Default)]
struct Failing {
    /// When the first of those came between which nothing went well for long.
    since: Option<Instant>,
    pause: Option<Duration>,
}

impl Failing {
    /// One more. The error itself if it was the last that is worth
    /// another try.
    fn again(&mut self, error: ClientError, Try { began, failed }: Try) -> Result<(), ClientError> {
        // Where it was fed for so long, nothing had failed until then.
        if failed.duration_since(began) > PATIENCE {
            *self = Self::default();
        }
        let since = *self.since.get_or_insert(failed);
        if may_pass(&error) && failed.duration_since(since) < PATIENCE {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// Before the next try.
    fn pause(&mut self) -> Duration {
        let pause = self.pause.unwrap_or(PAUSE);
        self.pause = Some((pause * 2).min(PAUSE_MAX));
        pause
    }
}

/// Telling of window changes.
type Resizing = Pin<Box<dyn Future<Output = ()>>>;

async fn resized(resizing: &mut Option<Resizing>) {
    match resizing {
        Some(resizing) => resizing.await,
        None => std::future::pending().await,
    }
}

impl Sizes {
    fn watch(between: mpsc::Sender<InputPiece>, screen: Screen) -> io::Result<Self> {
        Ok(Self {
            screen,
            window: signal(SignalKind::window_change())?,
            stop: signal(SignalKind::from_raw(nix::libc::SIGTSTP))?,
            between,
        })
    }

    /// Tells the process of each, for as long as its input is fed.
    async fn tell(mut self) {
        while self.say().await.is_ok() {
            tokio::select! {
                _ = self.window.recv() => {}
                _ = self.stop.recv() => {
                    terminal::suspend();
                    self.screen = Screen::Unseen;
                }
            }
        }
    }

    /// Says the size that the window has now.
    async fn say(&mut self) -> Result<(), mpsc::error::SendError<InputPiece>> {
        let size = terminal::size();
        if self.screen == Screen::Unseen {
            let other = InputPiece::Size(other_size(size));
            self.between.send(other).await?;
            tokio::time::sleep(REDRAW).await;
            self.screen = Screen::Seen;
        }
        self.between.send(InputPiece::Size(size)).await
    }
}

/// One that a terminal has for a moment, so that what runs in it draws it anew.
fn other_size(size: TerminalSize) -> TerminalSize {
    let rows = if size.rows > 1 { size.rows - 1 } else { 2 };
    TerminalSize { rows, ..size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_size_is_another_one_and_never_none() {
        for rows in [1, 2, 24, u16::MAX] {
            let size = TerminalSize { rows, columns: 80 };
            let other = other_size(size);
            assert!(other.rows > 0 && other.rows != rows, "{rows}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_may_not_is_told() {
        let mut failing = Failing::default();
        let lost = || ClientError::Connect {
            address: "x:1".into(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        let now = Instant::now();
        let at = |began: Duration, failed: Duration| Try {
            began: now + began,
            failed: now + failed,
        };
        let second = Duration::from_secs(1);
        let soon = at(Duration::ZERO, second);
        assert!(failing.again(lost(), soon).is_ok());
        let first = failing.pause();
        assert!(failing.pause() > first);
        assert!(failing.again(ClientError::Protocol("no"), soon).is_err());
        // What failed again and again is told, and what was fed for long in between begins anew.
        let late = second + PATIENCE;
        assert!(failing.again(lost(), at(late, late)).is_err());
        assert!(failing.again(lost(), at(late, late * 3)).is_ok());
        assert_eq!(failing.pause(), first);
    }
}
