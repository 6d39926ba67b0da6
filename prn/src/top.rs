//! `prn top`: all processes on a terminal's screen, as they change.
//!
//! A loop around a model of what is shown: what comes from servers and from the keyboard changes
//! the model, and what has changed is drawn. All of it runs within one task, so that nothing goes on
//! once the loop has ended.

mod act;
mod columns;
mod draw;
mod feed;
mod history;
mod host;
mod key;
mod log;
mod model;
mod rows;
mod screen;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use prn_client::Selector;
use ratatui::buffer::Buffer;
use ratatui::widgets::TableState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::act::{Act, Outcome};
use self::columns::Look;
use self::feed::Feed;
use self::key::Key;
use self::model::{Action, Model, Update};
pub use self::rows::{Sort, View};
use self::screen::Screen;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::which::connection::Remote;

/// Updates that wait to be shown. A process that writes much waits, or its output is dropped.
const WAITING: usize = 256;

/// Between two pictures that no key has asked for.
const BETWEEN: Duration = Duration::from_millis(100);

/// A server to be shown.
#[derive(Debug)]
pub struct Place {
    /// What it is called, if anybody here has a name for it.
    pub name: Option<String>,
    /// How to reach it.
    pub remote: Remote,
}

/// What is shown.
#[derive(Debug)]
pub struct Top {
    /// Of which servers.
    pub places: Vec<Place>,
    /// Which of their processes.
    pub selector: Selector,
    /// Which of these, and in which order, until keys say otherwise.
    pub view: View,
    /// Between two samples of what they take.
    pub interval: Duration,
    /// In colours.
    pub has_colors: bool,
}

/// Shows it until it is left.
///
/// # Errors
/// If the only server cannot be reached the first time, or the terminal is none.
pub async fn top(top: Top) -> Result<Exit, Failure> {
    let (updates, mut incoming) = mpsc::channel(WAITING);
    let is_one = top.places.len() == 1;
    let places = top.places.into_iter().enumerate();
    let feeds: Vec<_> = places
        .map(|(host, place)| Feed::new(host, place.name, place.remote, updates.clone()))
        .collect();
    let running = feeds
        .iter()
        .map(|feed| told(feed, &top.selector, top.interval, is_one, &updates));
    let mut running = std::pin::pin!(join_all(running));
    // What fails at once is said where the command was typed.
    let first = tokio::select! {
        ended = &mut running => return first_failure(ended),
        update = incoming.recv() => update,
    };
    let names = feeds
        .iter()
        .map(|feed| feed.name.clone().unwrap_or_default());
    let mut model = Model::new(names.collect(), top.view);
    if let Some(update) = first {
        model.update(update);
    }
    // First, so that none of them ends prn while the screen is its own.
    let mut interrupts = Interrupts::take()?;
    interrupts.take_quit()?;
    let mut session = Session {
        model,
        screen: Screen::take()?,
        table: TableState::default(),
        has_colors: top.has_colors,
        feeds: &feeds,
        reading: Box::pin(pending()),
        acts: FuturesUnordered::new(),
        draw_at: Some(Instant::now()),
    };
    tokio::select! {
        ended = running => first_failure(ended),
        ended = session.run(&mut incoming, &mut interrupts) => ended,
    }
}

/// What a server tells. Of several, one that cannot be reached is named on the screen.
async fn told(
    feed: &Feed,
    selector: &Selector,
    interval: Duration,
    is_one: bool,
    updates: &mpsc::Sender<Update>,
) -> Result<(), Failure> {
    loop {
        match feed.run(selector, interval).await {
            Err(failure) if !is_one => {
                let why = crate::output::error_line(&failure, failure.hint().as_deref());
                let host = feed.host;
                if updates.send(Update::Lost { host, why }).await.is_err() {
                    return Ok(());
                }
                tokio::time::sleep(crate::lasting::wait::PAUSE_MAX).await;
            }
            ended => return ended,
        }
    }
}

fn first_failure(ended: Vec<Result<(), Failure>>) -> Result<Exit, Failure> {
    ended.into_iter().collect::<Result<(), Failure>>()?;
    Ok(exit::OK)
}

/// What is shown, and what is under way.
struct Session<'a> {
    model: Model,
    screen: Screen,
    table: TableState,
    has_colors: bool,
    feeds: &'a [Feed],
    /// The output that is shown is read.
    reading: Pin<Box<dyn Future<Output = ()> + 'a>>,
    acts: FuturesUnordered<Pin<Box<dyn Future<Output = Outcome> + 'a>>>,
    /// When what has changed is drawn.
    draw_at: Option<Instant>,
}

impl Session<'_> {
    async fn run(
        &mut self,
        incoming: &mut mpsc::Receiver<Update>,
        interrupts: &mut Interrupts,
    ) -> Result<Exit, Failure> {
        let mut suspend = signal(SignalKind::from_raw(nix::libc::SIGTSTP))?;
        let mut keys = EventStream::new();
        loop {
            let action = tokio::select! {
                biased;
                _ended = interrupts.next() => return Ok(exit::OK),
                _ = suspend.recv() => Some(Action::Suspend),
                event = keys.next() => match event {
                    Some(event) => self.event(event?)?,
                    None => return Ok(exit::OK),
                },
                () = due(self.draw_at) => {
                    self.draw()?;
                    None
                }
                Some(update) = incoming.recv() => {
                    self.draw_soon();
                    self.model.update(update)
                }
                Some(outcome) = self.acts.next() => {
                    self.draw_soon();
                    self.model.tell(outcome.text, outcome.is_bad);
                    None
                }
                () = &mut self.reading => {
                    self.reading = Box::pin(pending());
                    None
                }
            };
            if let Some(action) = action
                && self.act(action)? == Next::End
            {
                return Ok(exit::OK);
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<Option<Action>, Failure> {
        self.draw_at = Some(Instant::now());
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => Ok(self.model.key(key)),
            Event::Resize(..) => {
                self.screen.renew()?;
                Ok(None)
            }
            Event::Key(_)
            | Event::Paste(_)
            | Event::Mouse(_)
            | Event::FocusGained
            | Event::FocusLost => Ok(None),
        }
    }

    fn act(&mut self, action: Action) -> Result<Next, Failure> {
        match action {
            Action::Quit => return Ok(Next::End),
            Action::Suspend => self.screen.suspend()?,
            Action::Redraw => self.screen.renew()?,
            Action::Read(None) => self.reading = Box::pin(pending()),
            Action::Read(Some(key)) => {
                if let Some(feed) = self.feeds.get(key.host) {
                    self.reading = Box::pin(feed.read(key.id));
                }
            }
            Action::Stop(key) => self.begin(key, Act::Stop),
            Action::Signal(key, signal) => self.begin(key, Act::Signal(signal)),
            Action::SetPaused(key, paused) => self.begin(key, Act::SetPaused(paused)),
        }
        self.draw_at = Some(Instant::now());
        Ok(Next::GoOn)
    }

    fn begin(&mut self, key: Key, act: Act) {
        if let Some(feed) = self.feeds.get(key.host) {
            let name = self.model.name(key);
            self.acts
                .push(Box::pin(act.on(feed.client(), key.id, name)));
        }
    }

    fn draw_soon(&mut self) {
        let soon = || Instant::now() + BETWEEN;
        self.draw_at.get_or_insert_with(soon);
    }

    fn draw(&mut self) -> Result<(), Failure> {
        self.draw_at = None;
        let area = self.screen.area();
        let look = Look {
            has_colors: self.has_colors,
            width: area.width,
            now: SystemTime::now(),
        };
        let mut buffer = Buffer::empty(area);
        draw::draw(&self.model, &look, &mut self.table, &mut buffer);
        self.screen.show(buffer)?;
        Ok(())
    }
}

/// Whether there is more to come after something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}
