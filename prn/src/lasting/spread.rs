//! A process on each of several servers: their output as lines behind the names of the servers, and
//! what ends one of them ends all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use futures_util::future::join_all;
use prn_client::{
    Client, ClientError, OutputRequest, ProcessId, STOP_GRACE, Source, StartSpec, Started,
};
use tokio::sync::watch;

use crate::commands::logs::pass_on;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::interrupts::{Interrupt, Interrupts};
use crate::lasting::following::{exit_of, forget};
use crate::lasting::reading::{Ending, Reading, patience};
use crate::lasting::surely::{start_surely, stop_surely};
use crate::output::{self, Chunk, Lines, Relay};
use crate::typed::spec::of_host;
use crate::which::connection::Remote;
use crate::which::hosts::{Host, Hosts};

/// How often the stop of a process is tried whose output nobody gets.
const STOP_TRIES: usize = 5;

/// Runs it on all of them, to the end of each. The exit code is the highest of all.
///
/// The first interrupt, and a reader who leaves, stop all processes; a second interrupt leaves them.
pub async fn run(hosts: &Hosts, spec: &StartSpec, id: Option<ProcessId>) -> Result<Exit, Failure> {
    // From here on processes may exist, and a signal must not leave them behind.
    let mut interrupts = Interrupts::take()?;
    interrupts.expect_grace(spec.stop_grace.unwrap_or(STOP_GRACE));
    let mut relay = Relay::start(Source::Stdout)?;
    let stop = watch::Sender::new(false);
    let running = RefCell::default();
    let spread = Spread {
        hosts,
        spec,
        id,
        relay: &relay,
        stop: stop.subscribe(),
        running: &running,
    };
    let Some(exits) = all(&spread, &stop, &mut interrupts).await else {
        for (host, id) in running.take() {
            output::notice(&format!("{host}: left process {id}, which may be running"));
        }
        return Ok(exit::RUN_FAILED);
    };
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if interrupt == Interrupt::Leave {
                    return Ok(exit::RUN_FAILED);
                }
            }
            written = relay.finish() => {
                written?;
                return Ok(exits.into_iter().fold(exit::OK, Exit::highest));
            }
        }
    }
}

/// How all have ended; `None` if they are to be left.
async fn all(
    spread: &Spread<'_>,
    stop: &watch::Sender<bool>,
    interrupts: &mut Interrupts,
) -> Option<Vec<Exit>> {
    let each = spread.hosts.all().iter().map(|host| spread.one(host));
    let mut all = std::pin::pin!(join_all(each));
    let mut has_reader = true;
    loop {
        tokio::select! {
            biased;
            interrupt = interrupts.next() => {
                if interrupt == Interrupt::Leave {
                    return None;
                }
                if io::stderr().is_terminal() {
                    output::notice("stopping the process on each server; Ctrl-C again leaves them at once");
                }
                stop.send_replace(true);
            }
            () = spread.relay.failed(), if has_reader => {
                has_reader = false;
                stop.send_replace(true);
            }
            exits = &mut all => return Some(exits),
        }
    }
}

/// What all of them have in common.
struct Spread<'a> {
    hosts: &'a Hosts,
    spec: &'a StartSpec,
    /// The one of the process on each server, if it was named.
    id: Option<ProcessId>,
    relay: &'a Relay,
    /// All are to be stopped.
    stop: watch::Receiver<bool>,
    /// The processes that have been started and have not ended, by the names of their servers.
    running: &'a RefCell<BTreeMap<String, ProcessId>>,
}

impl Spread<'_> {
    /// Runs one, and says what fails with it among the lines of the others.
    async fn one(&self, host: &Host) -> Exit {
        match self.started(host).await {
            Ok(exit) => exit,
            Err(failure) => {
                let failure = Failure::Run(Box::new(failure));
                self.say(host.line(&failure)).await;
                failure.exit()
            }
        }
    }

    async fn started(&self, host: &Host) -> Result<Exit, Failure> {
        let (remote, client) = tokio::select! {
            biased;
            () = self.stop_is_asked() => {
                self.say(format!("{}: nothing was started", host.name)).await;
                return Ok(exit::RUN_FAILED);
            }
            connected = self.hosts.connect(host) => connected?,
        };
        let spec = of_host(self.spec, self.id)?;
        let (client, Started { process, .. }) = start_surely(&remote, client, &spec).await?;
        let id = process.id;
        self.running.borrow_mut().insert(host.name.clone(), id);
        let ended = self.follow(host, &remote, client, id).await;
        self.running.borrow_mut().remove(&host.name);
        ended.map_err(|failure| failure.after_start(id))
    }

    /// Passes its output on, to its end.
    async fn follow(
        &self,
        host: &Host,
        remote: &Remote,
        client: Client,
        id: ProcessId,
    ) -> Result<Exit, Failure> {
        let ending = self.read(host, remote, client.clone(), id).await?;
        if ending.end.is_none() {
            // Nobody reads what it prints.
            stop_surely(remote, None, id, self.spec.stop_grace, STOP_TRIES).await?;
            return Ok(exit::RUN_FAILED);
        }
        if self.spec.retention.until_read {
            forget(remote, Some(client), id).await;
        }
        let mut said = Vec::new();
        let exit = exit_of(id, ending, |line| {
            said.push(format!("{}: {line}", host.name))
        });
        for line in said {
            self.say(line).await;
        }
        exit
    }

    /// Reads its output, and stops it meanwhile when that is asked for.
    async fn read(
        &self,
        host: &Host,
        remote: &Remote,
        client: Client,
        id: ProcessId,
    ) -> Result<Ending, ClientError> {
        let request = OutputRequest {
            follower: true,
            ..OutputRequest::default()
        };
        let mut reading = Reading::new(remote, client, id, request)
            .of_known(patience(self.spec.output_policy, self.spec.follow_timeout));
        let lines = Lines::new(Some(host.name.clone()), false).for_terminals();
        let mut reading = std::pin::pin!(pass_on(
            &mut reading,
            self.relay,
            Some(lines),
            Some(&host.name)
        ));
        let mut stopping = std::pin::pin!(async {
            self.stop_is_asked().await;
            stop_surely(remote, None, id, self.spec.stop_grace, usize::MAX).await
        });
        let mut is_stopped = false;
        loop {
            tokio::select! {
                biased;
                ending = &mut reading => return ending,
                stopped = &mut stopping, if !is_stopped => {
                    is_stopped = true;
                    if let Err(error) = stopped {
                        self.say(host.line(&error.into())).await;
                    }
                }
            }
        }
    }

    async fn stop_is_asked(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending().await
        }
    }

    /// A line of prn's own, in its place among those of the processes.
    async fn say(&self, line: String) {
        match self.relay.room().await {
            Some(room) => room.send(Chunk::Notice(line)),
            None => output::notice(&line),
        }
    }
}
