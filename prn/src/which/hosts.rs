//! Several servers at once: those that a pattern or a list of contexts means.
//!
//! All are asked at the same time, as far as there is room for that. What fails with one is said in
//! a line of its own and holds up no other one; the exit code is the highest of what each alone
//! would give.

use futures_util::{StreamExt, stream};
use prn_client::{Client, ClientError};
use tokio::sync::Semaphore;

use crate::context::settings::{Settings, Target};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::{self, OfHost};
use crate::which::connection::{CallTimeout, Connection, Remote};

/// Most servers that are asked, or connected to, at one time.
const AT_A_TIME: usize = 32;

/// The servers that a command is for.
#[derive(Debug)]
pub enum Servers {
    /// The one: as if there were no others.
    One(Remote),
    /// Those of a pattern or a list, even if it means one alone.
    Several(Hosts),
}

impl Servers {
    /// Those that flags, environment and contexts mean.
    ///
    /// # Errors
    /// As [`Remote::new`]. What is wrong with one of several comes when that one is asked.
    pub fn of(connection: &Connection) -> Result<Self, Failure> {
        let timeout = connection.call_timeout;
        match connection.target()? {
            Target::One(settings) => Ok(Self::One(Remote::of(&settings, timeout)?)),
            Target::Several(several) => Ok(Self::Several(Hosts::new(several, timeout))),
        }
    }
}

/// One server of several.
#[derive(Debug)]
pub struct Host {
    /// The name of its context.
    pub name: String,
    /// How to reach it.
    pub settings: Settings,
    call_timeout: CallTimeout,
}

impl Host {
    /// Loads certificates and key.
    pub fn remote(&self) -> Result<Remote, Failure> {
        Remote::of(&self.settings, self.call_timeout)
    }

    /// Loads certificates and key, and connects.
    pub async fn connect(&self) -> Result<(Remote, Client), Failure> {
        let remote = self.remote()?;
        let client = remote.connect().await?;
        Ok((remote, client))
    }

    /// What failed with it, for people: one line.
    pub fn line(&self, failure: &Failure) -> String {
        let hint = failure.hint();
        let line = output::error_line(failure, hint.as_deref());
        format!("{}: {line}", self.name)
    }

    /// The same of one of its processes.
    pub fn line_of(&self, process: &str, failure: &Failure) -> String {
        let line = output::error_line(failure, failure.hint().as_deref());
        format!("{}: {process}: {line}", self.name)
    }
}

/// Several servers.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<Host>,
    connecting: Semaphore,
}

impl Hosts {
    /// By their settings. What has no context has the name of its address.
    pub fn new(several: Vec<Settings>, call_timeout: CallTimeout) -> Self {
        let hosts = several.into_iter().map(|settings| Host {
            name: (settings.context.as_ref())
                .unwrap_or(&settings.address.value)
                .clone(),
            settings,
            call_timeout,
        });
        Self {
            hosts: hosts.collect(),
            connecting: Semaphore::new(AT_A_TIME),
        }
    }

    /// All of them.
    pub fn all(&self) -> &[Host] {
        &self.hosts
    }

    /// Connects to one, as soon as there is room for that: for what then takes as long as it likes.
    pub async fn connect(&self, host: &Host) -> Result<(Remote, Client), Failure> {
        let _room = self.connecting.acquire().await;
        host.connect().await
    }

    /// The same with what it takes loaded already, for one connection of many.
    pub async fn reconnect(&self, remote: &Remote) -> Result<Client, ClientError> {
        let _room = self.connecting.acquire().await;
        remote.connect().await
    }

    /// Asks each, and says what fails with one as soon as it does. Their answers, in their order.
    pub async fn each<T>(
        &self,
        ask: impl AsyncFn(&Host, &Remote, Client) -> Result<T, Failure>,
    ) -> Vec<Result<T, Failure>> {
        let ask = &ask;
        let each = self.hosts.iter().enumerate().map(async |(place, host)| {
            let answer = async {
                let (remote, client) = host.connect().await?;
                ask(host, &remote, client).await
            };
            let answer = answer.await;
            if let Err(failure) = &answer {
                output::notice(&host.line(failure));
            }
            (place, answer)
        });
        let answered = stream::iter(each).buffer_unordered(AT_A_TIME);
        let mut answers: Vec<_> = answered.collect().await;
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// The same with what was answered and what was not apart.
    pub async fn ask<T>(
        &self,
        ask: impl AsyncFn(&Host, &Remote, Client) -> Result<T, Failure>,
    ) -> Answers<T> {
        let mut answers = Vec::new();
        let mut exit = exit::OK;
        let mut is_whole = true;
        for (host, answer) in self.hosts.iter().zip(self.each(ask).await) {
            match answer {
                Ok(value) => {
                    let host = host.name.clone();
                    answers.push(OfHost { host, value });
                }
                Err(failure) => {
                    is_whole = false;
                    exit = exit.highest(failure.exit());
                }
            }
        }
        Answers {
            answers,
            exit,
            is_whole,
        }
    }
}

/// What several servers have answered.
#[derive(Debug)]
pub struct Answers<T> {
    /// The answers, in the order in which the servers were named.
    pub answers: Vec<OfHost<T>>,
    /// The highest exit code of those that failed; success if none did.
    pub exit: Exit,
    /// None did.
    pub is_whole: bool,
}

impl<T> Answers<Vec<T>> {
    /// What was answered with lists, as one list.
    pub fn flat(self) -> Answers<T> {
        let each = self.answers.into_iter().flat_map(|of| {
            let host = of.host;
            of.value.into_iter().map(move |value| OfHost {
                host: host.clone(),
                value,
            })
        });
        Answers {
            answers: each.collect(),
            exit: self.exit,
            is_whole: self.is_whole,
        }
    }
}
