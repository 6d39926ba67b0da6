//! The conversation with one frontend: its requests become calls of the runner, and what happens
//! becomes messages. Runs in the supervisor, which never waits for the frontend.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{Shutdown, shutdown};
use prn_ipc_protocol::channel::{Received, Sent, SupervisorEnd};
use prn_ipc_protocol::message::{
    Ask, Event, For, FromSupervisor, Refusal, Reply, Request, RequestId, StartSpec, Update,
};
use prn_ipc_protocol::types::{AccessName, ProcessId};

use super::fault::PeerFault;
use super::outbox::{Operation, Outbox, Outgoing, Pending};
use super::phase::Phase;
use super::{access, attached};
use crate::events::Interest;
use crate::receipts::Key;
use crate::runner::input::Lent;
use crate::runner::start::Started;
use crate::runner::{Notice, Runner};

/// Most requests handled in one turn, so that output and deadlines have theirs.
const TURN: usize = 64;

/// One frontend's session.
#[derive(Debug)]
pub(super) struct Session {
    channel: SupervisorEnd,
    phase: Phase,
    outbox: Outbox,
    /// The socket was full. It is not listened to until it is not, so that the outbox stays
    /// bounded.
    blocked: bool,
    /// A probe waits for its answer.
    is_probed: bool,
}

impl Session {
    /// One that has not begun, over this end of the channel.
    ///
    /// To be called before anybody could send a descriptor: one that is queued already would have to
    /// be closed by this process, however long that takes.
    pub fn new(end: OwnedFd) -> Self {
        Self {
            channel: SupervisorEnd::without_descriptors(end),
            phase: Phase::Silent,
            outbox: Outbox::new(),
            blocked: false,
            is_probed: false,
        }
    }

    /// Watches the channel for requests.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn attach(&self, runner: &Runner) -> nix::Result<()> {
        runner.attach(self.channel.as_fd(), Interest::Readable, attached::CHANNEL)
    }

    /// Watches the channel no more.
    pub fn detach(&self, runner: &Runner) {
        runner.detach(self.channel.as_fd());
    }

    /// Whether the frontend has got as far as serving.
    pub fn has_served(&self) -> bool {
        match self.phase {
            Phase::Silent | Phase::Greeted => false,
            Phase::Ready | Phase::Leaving | Phase::Left => true,
        }
    }

    /// Tells the frontend that it is replaced, if it serves. Whether it was told.
    pub fn replace(&mut self) -> bool {
        if self.phase != Phase::Ready {
            return false;
        }
        self.phase = Phase::Leaving;
        self.outbox.event(Event::Replaced);
        true
    }

    /// Whether the frontend has said all. Then the channel is closed, which is its sign to exit.
    pub fn takes_leave(&self, runner: &Runner) -> bool {
        if self.phase != Phase::Left {
            return false;
        }
        self.detach(runner);
        let _unused = shutdown(self.channel.as_fd().as_raw_fd(), Shutdown::Write);
        true
    }

    /// Asks whether the frontend is stuck, once it serves.
    ///
    /// # Errors
    /// `Stuck`: it has not answered the last time.
    pub fn probe(&mut self, _: &mut Runner) -> Result<(), PeerFault> {
        if self.is_probed {
            return Err(PeerFault::Stuck);
        }
        if self.phase == Phase::Ready {
            self.is_probed = true;
            self.outbox.event(Event::Probe);
        }
        Ok(())
    }

    /// Handles requests, a bounded number of them.
    ///
    /// # Errors
    /// Why the frontend has to die.
    pub fn receive(&mut self, runner: &mut Runner) -> Result<(), PeerFault> {
        for _ in 0..if self.blocked { 0 } else { TURN } {
            match self.channel.receive(|_| 0)? {
                Received::Message(request, _) => self.handle(request, runner)?,
                Received::Nothing => return Ok(()),
                Received::Closed => return Err(PeerFault::Closed),
            }
        }
        Ok(())
    }

    fn handle(&mut self, request: Request, runner: &mut Runner) -> Result<(), PeerFault> {
        self.phase = self.phase.after(&request)?;
        match request {
            Request::Hello(_) => self.send_snapshot(runner),
            Request::Ready => runner.resume_leases(),
            Request::Ask(request, who, ask) => {
                self.outbox.accept(request)?;
                let asked = runner.audit.asked(&ask);
                let answer = self.ask(request, who.clone(), ask, runner);
                if let Some(asked) = asked {
                    let started = asked.starts.filter(|_| answer.is_ok());
                    let facts = started.and_then(|id| runner.start_facts(id));
                    let refusal = answer.as_ref().err();
                    runner.audit.decided(asked, &who, refusal, facts);
                }
                if let Err(refusal) = answer {
                    self.outbox
                        .answer(request, Reply::Refused(refusal), Vec::new());
                }
            }
            Request::Watch { id, seen } => runner.watch(id, seen),
            Request::Taken { id, offset } => runner.taken(id, offset),
            Request::Follow(id, For::Output) => runner.follow(id),
            Request::Follow(id, For::Lease) => runner.keep_lease(id),
            Request::Unfollow(id, For::Output) => runner.unfollow(id),
            Request::Unfollow(id, For::Lease) => runner.release_lease(id),
            Request::InputTaken { id, taken } => runner.input_taken(id, taken),
            Request::Denied { who, verb, count } => {
                // One that a reload has taken away, or that there never was.
                if runner.policy().principals.contains_key(&who) {
                    runner.audit.denied(who, verb, count);
                }
            }
            Request::Alive => self.is_probed = false,
            // Its phase says so.
            Request::Left => {}
        }
        Ok(())
    }

    /// Tells a frontend that is new of all workspaces and all processes.
    fn send_snapshot(&mut self, runner: &Runner) {
        for info in runner.workspaces() {
            let info = Box::new(info.clone());
            self.outbox.event(Event::Workspace(info));
        }
        for id in runner.ids() {
            self.outbox.state(id);
        }
        let change = runner.last_change();
        self.outbox.event(Event::SnapshotEnd {
            change,
            receipt_key: runner.key.as_ref().map(Key::public_bytes),
        });
    }

    /// Does what is asked for, if the policy allows it, and answers now, or when a notice says so.
    fn ask(
        &mut self,
        request: RequestId,
        who: AccessName,
        ask: Ask,
        runner: &mut Runner,
    ) -> Result<(), Refusal> {
        access::check(&who, &ask, runner)?;
        let done = told(Reply::Done);
        let (reply, descriptors) = match ask {
            Ask::Start(spec) => return self.start(request, who, *spec, runner),
            Ask::Stop(process, how) => {
                runner.stop(process, how, Some(&who))?;
                self.wait_for(request, Operation::Stop(process));
                return Ok(());
            }
            Ask::Remove(process) | Ask::Forget(process) => {
                runner.forget(process)?;
                self.wait_for(request, Operation::Forget(process));
                return Ok(());
            }
            Ask::RemoveWorkspace(name, how) => {
                runner.remove_workspace(&name, how)?;
                self.wait_for(request, Operation::RemoveWorkspace(name));
                return Ok(());
            }
            Ask::CreateWorkspace(spec) => {
                let info = runner.create_workspace(&spec, Some(who))?;
                self.outbox.event(Event::Workspace(Box::new(info)));
                done
            }
            Ask::Subscribe(id) => (Reply::Subscribed, runner.subscribe(id)?.into()),
            Ask::LendInput(id) => lent(runner.lend_input(id)?),
            Ask::EndInput(id) => {
                runner.end_input(id)?;
                self.outbox.state(id);
                done
            }
            Ask::ResizeTerminal(id, size) => {
                runner.resize(id, size)?;
                done
            }
            Ask::Signal(id, signal, whom) => {
                runner.signal(id, signal, whom)?;
                done
            }
            Ask::Update(id, update) => {
                self.update(id, *update, runner)?;
                done
            }
            Ask::TryStart(spec) => {
                let startable = runner.try_start_for(&who, &spec)?;
                told(Reply::Startable(Box::new(startable)))
            }
            Ask::Receipt(id) => told(Reply::Receipt(Box::new(runner.receipt(id)?))),
            Ask::Usage { id, with_tasks } => {
                told(Reply::Usage(Box::new(runner.usage(id, with_tasks)?)))
            }
        };
        self.outbox.answer(request, reply, descriptors);
        Ok(())
    }

    /// Starts a process, or answers with the one that there is.
    fn start(
        &mut self,
        request: RequestId,
        who: AccessName,
        spec: StartSpec,
        runner: &mut Runner,
    ) -> Result<(), Refusal> {
        let process = spec.id;
        match runner.start_for(who, spec)? {
            Started::UnderWay => self.wait_for(request, Operation::Start(process)),
            Started::Existing => {
                self.outbox.state(process);
                self.outbox.answer(request, Reply::Existing, Vec::new());
            }
        }
        Ok(())
    }

    /// Changes a process, and tells what has become of it, also where some of it was refused.
    fn update(
        &mut self,
        id: ProcessId,
        update: Update,
        runner: &mut Runner,
    ) -> Result<(), Refusal> {
        let outcome = runner.update(id, update);
        self.outbox.state(id);
        outcome
    }

    /// A notice of this operation answers the request.
    fn wait_for(&mut self, request: RequestId, operation: Operation) {
        self.outbox.wait_for(Pending { request, operation });
    }

    /// Takes note of something that happened.
    pub fn notice(&mut self, notice: Notice) {
        match self.phase {
            // Its snapshot will have it.
            Phase::Silent => {}
            Phase::Greeted | Phase::Ready | Phase::Leaving | Phase::Left => {
                self.outbox.notice(notice);
            }
        }
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// Why the frontend has to die.
    pub fn send(&mut self, runner: &mut Runner) -> Result<(), PeerFault> {
        let mut is_full = false;
        while let Some(outgoing) = self.outbox.first() {
            match self.send_one(outgoing, runner)? {
                Sent::Whole => self.outbox.sent_first(),
                Sent::Closed => return Err(PeerFault::Closed),
                Sent::Full => {
                    is_full = true;
                    break;
                }
            }
        }
        if is_full != self.blocked {
            self.blocked = is_full;
            let interest = if is_full {
                Interest::Writable
            } else {
                Interest::Readable
            };
            runner.attach(self.channel.as_fd(), interest, attached::CHANNEL)?;
        }
        Ok(())
    }

    fn send_one(&self, outgoing: &Outgoing, runner: &Runner) -> nix::Result<Sent> {
        match outgoing {
            Outgoing::Message {
                message,
                descriptors,
            } => {
                let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                self.channel.send(message, &descriptors)
            }
            Outgoing::State(id) => match runner.info(*id) {
                Some(info) => {
                    let event = Event::Process(Box::new(info.clone()));
                    self.channel.send(&FromSupervisor::Event(event), &[])
                }
                // It was forgotten since.
                None => Ok(Sent::Whole),
            },
        }
    }

    /// Ends the stream of messages, once everything was sent: the frontend then sends what its
    /// clients have not read, and exits.
    pub fn close_when_sent(&self) {
        if self.outbox.is_empty() {
            let _unused = shutdown(self.channel.as_fd().as_raw_fd(), Shutdown::Write);
        }
    }
}

/// An answer that nothing comes with.
fn told(reply: Reply) -> (Reply, Vec<File>) {
    (reply, Vec::new())
}

/// The answer that comes with an input's end.
fn lent(Lent { taken, end }: Lent) -> (Reply, Vec<File>) {
    let reply = match &end {
        Some(_) => Reply::Input { taken },
        None => Reply::InputOver { taken },
    };
    (reply, end.into_iter().collect())
}
