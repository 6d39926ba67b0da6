//! What several servers tell for as long as somebody listens: each over as many connections as it
//! takes.
//!
//! A server that cannot be reached is named, tried again, and holds up no other one. All of it goes on
//! within one task, and ends with it.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prn_client::{Client, ClientError};
use prn_proto::units::show_duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::lasting::wait::{PAUSE, PAUSE_MAX};
use crate::lasting::watching::{PATIENCE, UNREMARKED, may_pass};
use crate::output;
use crate::which::hosts::{Host, Hosts};

/// Most pieces on the way, of all servers together. What comes faster than it is taken waits in its
/// server, which keeps of each process the newest state alone.
const QUEUE: usize = 64;

/// What is said of a server that is lost.
const AGAIN: &str = "; trying again";

/// So long after something has changed it is drawn, with all else that has by then.
pub const TOGETHER: Duration = Duration::from_millis(100);

/// What one server tells.
pub trait Feed {
    /// What it tells at a time.
    type Piece;

    /// Tells it on one connection; `Ok` where there is no more of it at all. Called again, with
    /// another connection, after a failure that may pass.
    async fn tell(&mut self, client: &Client, to: &mut Tell<Self::Piece>) -> Result<(), Left>;
}

/// Why a connection is left.
#[derive(Debug)]
pub enum Left {
    /// It has failed.
    Failed(ClientError),
    /// Nobody listens any more.
    Unheard,
}

impl From<ClientError> for Left {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

/// The way from one server to who listens.
#[derive(Debug)]
pub struct Tell<T> {
    host: usize,
    news: mpsc::Sender<(usize, News<T>)>,
    /// The server has answered since the last failure.
    is_there: bool,
}

impl<T> Tell<T> {
    /// The server has answered: it is there.
    pub async fn connected(&mut self) -> Result<(), Left> {
        self.is_there = true;
        self.send(News::Connected).await
    }

    /// It tells this. Waits while nobody takes what came before.
    pub async fn told(&self, piece: T) -> Result<(), Left> {
        self.send(News::Told(piece)).await
    }

    async fn send(&self, news: News<T>) -> Result<(), Left> {
        let sent = self.news.send((self.host, news)).await;
        sent.map_err(|_| Left::Unheard)
    }
}

/// What is new of a server.
#[derive(Debug)]
enum News<T> {
    Connected,
    Told(T),
    /// It is not there, and is tried again.
    Lost(Failure),
    /// There is no more of it.
    Over(Result<(), Failure>),
}

/// Whether a server is there.
#[derive(Debug)]
enum Link {
    /// It has not answered yet.
    Connecting,
    There,
    /// It is tried again. What is said of it, and how prn exits if that never helps.
    Lost {
        why: String,
        exit: Exit,
    },
    /// Nothing more comes, for this reason if it has failed.
    Over(Option<String>),
}

/// How it is told that a server is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// By lines on standard error.
    Said,
    /// Below what is drawn: [`Several::below`].
    Drawn,
}

/// What is heard of one of them.
#[derive(Debug)]
pub enum Heard<T> {
    /// It has told this.
    Piece {
        /// Its place among the servers.
        host: usize,
        /// What.
        piece: T,
    },
    /// It is there now, or is no longer.
    Link {
        /// Its place.
        host: usize,
    },
}

/// One of them, for as long as it tells.
type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// All of them.
pub struct Several<'a, T> {
    hosts: &'a Hosts,
    manner: Manner,
    feeding: FuturesUnordered<Running<'a>>,
    news: mpsc::Receiver<(usize, News<T>)>,
    links: Vec<Link>,
    /// One of them was there once.
    was_there: bool,
    /// None of them is there: how long that may last.
    until: Option<Instant>,
    exit: Exit,
}

impl<'a, T: 'a> Several<'a, T> {
    /// Connects to each, as soon as there is room for that, and takes what `feed` makes of it.
    pub fn new<F: Feed<Piece = T> + 'a>(
        hosts: &'a Hosts,
        manner: Manner,
        tries: Tries,
        feed: impl Fn() -> F,
    ) -> Self {
        let (sender, news) = mpsc::channel(QUEUE);
        let feeding = FuturesUnordered::new();
        for (place, host) in hosts.all().iter().enumerate() {
            let to = Tell {
                host: place,
                news: sender.clone(),
                is_there: false,
            };
            let one = One { hosts, host, tries };
            let running: Running<'a> = Box::pin(one.run(feed(), to));
            feeding.push(running);
        }
        Self {
            hosts,
            manner,
            feeding,
            news,
            links: hosts.all().iter().map(|_| Link::Connecting).collect(),
            was_there: false,
            until: None,
            exit: exit::OK,
        }
    }

    /// What is heard next; `None` where there is no more, or no server is there any more. Cancel safe.
    pub async fn next(&mut self) -> Option<Heard<T>> {
        loop {
            tokio::select! {
                biased;
                news = self.news.recv() => {
                    let heard = news.map(|(host, news)| self.hear(host, news));
                    if heard.is_none() {
                        self.end();
                    }
                    return heard;
                }
                Some(()) = self.feeding.next() => {}
                () = due(self.until) => {
                    self.end();
                    return None;
                }
            }
        }
    }

    /// The highest exit code of those that have failed for good.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether one is there.
    pub fn is_there(&self, host: usize) -> bool {
        matches!(self.links.get(host), Some(Link::There))
    }

    /// What there is to say of those that are not there, a line each.
    pub fn below(&self) -> Vec<String> {
        let each = self.hosts.all().iter().zip(&self.links);
        each.filter_map(|(host, link)| match link {
            Link::Connecting => Some(format!("{}: connecting", host.name)),
            Link::Lost { why, .. } => Some(format!("{why}{AGAIN}")),
            Link::Over(why) => why.clone(),
            Link::There => None,
        })
        .collect()
    }

    fn hear(&mut self, host: usize, news: News<T>) -> Heard<T> {
        let (link, said) = match news {
            News::Told(piece) => return Heard::Piece { host, piece },
            News::Connected => {
                self.was_there = true;
                let was_lost = matches!(self.links.get(host), Some(Link::Lost { .. }));
                let said = was_lost.then(|| format!("{}: connected", self.name(host)));
                (Link::There, said)
            }
            News::Lost(failure) => {
                let why = self.line(host, &failure);
                let exit = failure.exit();
                (
                    Link::Lost {
                        why: why.clone(),
                        exit,
                    },
                    Some(why),
                )
            }
            News::Over(Ok(())) => (Link::Over(None), None),
            News::Over(Err(failure)) => {
                let why = self.line(host, &failure);
                self.exit = self.exit.highest(failure.exit());
                (Link::Over(Some(why.clone())), Some(why))
            }
        };
        let is_lost = matches!(link, Link::Lost { .. });
        if let Some(now) = self.links.get_mut(host) {
            *now = link;
        }
        self.look();
        if let (Some(said), Manner::Said) = (said, self.manner) {
            let is_tried = is_lost && (self.was_there || self.until.is_none());
            let again = if is_tried { AGAIN } else { "" };
            output::notice(&format!("{said}{again}"));
        }
        Heard::Link { host }
    }

    /// Where none is there, it is waited for one of them; not where none ever was, as with one server.
    fn look(&mut self) {
        let is_open = |link: &Link| matches!(link, Link::Connecting | Link::There);
        if self.links.iter().any(is_open) {
            self.until = None;
        } else if self.until.is_none() {
            let patience = if self.was_there {
                PATIENCE
            } else {
                Duration::ZERO
            };
            self.until = Some(Instant::now() + patience);
        }
    }

    /// There is no more. What was drawn until then is said.
    fn end(&mut self) {
        let mut is_given_up = false;
        for link in &self.links {
            let why = match link {
                Link::Lost { why, exit } => {
                    is_given_up = true;
                    self.exit = self.exit.highest(*exit);
                    Some(why)
                }
                Link::Over(why) => why.as_ref(),
                Link::Connecting | Link::There => None,
            };
            match (why, self.manner) {
                (Some(why), Manner::Drawn) => output::notice(why),
                (Some(_) | None, Manner::Said | Manner::Drawn) => {}
            }
        }
        if is_given_up && self.was_there {
            let wait = show_duration(PATIENCE);
            output::notice(&format!("no server has been there for {wait}"));
        }
    }

    fn name(&self, host: usize) -> &str {
        let host = self.hosts.all().get(host);
        host.map_or("", |host| &host.name)
    }

    fn line(&self, host: usize, failure: &Failure) -> String {
        let host = self.hosts.all().get(host);
        host.map(|host| host.line(failure)).unwrap_or_default()
    }
}

/// Which failures are worth another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    /// All that may pass.
    Always,
    /// Those of a server that has answered once: it is asked for what is so now.
    OnceThere,
}

/// One of the servers.
struct One<'a> {
    hosts: &'a Hosts,
    host: &'a Host,
    tries: Tries,
}

/// It is not there.
#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    /// Before the next try.
    pause: Duration,
    is_told: bool,
}

impl One<'_> {
    async fn run<F: Feed>(self, feed: F, mut to: Tell<F::Piece>) {
        let over = match self.tell(feed, &mut to).await {
            Ok(over) => over,
            Err(Left::Unheard) => return,
            Err(Left::Failed(error)) => Err(error.into()),
        };
        let _unheard = to.send(News::Over(over)).await;
    }

    /// Tells all that there is, on as many connections as it takes.
    async fn tell<F: Feed>(
        &self,
        mut feed: F,
        to: &mut Tell<F::Piece>,
    ) -> Result<Result<(), Failure>, Left> {
        let remote = match self.host.remote() {
            Ok(remote) => remote,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut was_there = false;
        let mut failing: Option<Failing> = None;
        loop {
            let told = async {
                let client = self.hosts.reconnect(&remote).await?;
                feed.tell(&client, to).await
            };
            let error = match told.await {
                Ok(()) => return Ok(Ok(())),
                Err(Left::Unheard) => return Err(Left::Unheard),
                Err(Left::Failed(error)) => error,
            };
            if std::mem::take(&mut to.is_there) {
                was_there = true;
                failing = None;
            }
            let is_tried = was_there || self.tries == Tries::Always;
            if !is_tried || !may_pass(&error) {
                return Ok(Err(error.into()));
            }
            let now = Instant::now();
            let mut failed = failing.unwrap_or(Failing {
                since: now,
                pause: PAUSE,
                is_told: false,
            });
            // A frontend that is replaced is back by then.
            let is_long = !was_there || now >= failed.since + UNREMARKED;
            if is_long && !failed.is_told {
                failed.is_told = true;
                to.send(News::Lost(error.into())).await?;
            }
            tokio::time::sleep(failed.pause).await;
            failed.pause = (failed.pause * 2).min(PAUSE_MAX);
            failing = Some(failed);
        }
    }
}

/// Waits until then; without an end if it is never.
pub async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}
