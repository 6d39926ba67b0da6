//! What a frontend is still to be sent, and what it waits for. Runs in the supervisor; pure.
//!
//! Bounded by the number of requests and of processes: a request that is not answered counts until
//! its answer has been sent, and a process's state is looked up when there is room for it.

use std::collections::VecDeque;
use std::fs::File;

use prn_ipc_protocol::message::{
    Event, FromSupervisor, ProcessInfo, REQUESTS_WAITING_MAX, Refusal, Reply, RequestId,
};
use prn_ipc_protocol::types::{ProcessId, WorkspaceName};

use super::fault::PeerFault;
use crate::runner::Notice;

/// Something to be sent.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A message with its descriptors.
    Message {
        /// The message.
        message: FromSupervisor,
        /// They are closed when it has been sent.
        descriptors: Vec<File>,
    },
    /// A process's state, as it is when there is room for it.
    State(ProcessId),
}

/// What a request asked for that a notice answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    /// That a process runs.
    Start(ProcessId),
    /// That it is stopped.
    Stop(ProcessId),
    /// That it is forgotten.
    Forget(ProcessId),
    /// That a workspace is gone.
    RemoveWorkspace(WorkspaceName),
}

/// A request that waits for a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    /// The request.
    pub request: RequestId,
    /// What the notice is of.
    pub operation: Operation,
}

/// One frontend's outbox, and its requests.
#[derive(Debug)]
pub(super) struct Outbox {
    /// In order.
    queue: VecDeque<Outgoing>,
    pending: Vec<Pending>,
    /// The id of the last request.
    last: RequestId,
    /// Requests whose answer was not sent yet.
    unanswered: usize,
}

impl Outbox {
    /// Of a frontend that has asked for nothing.
    pub fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            pending: Vec::new(),
            last: RequestId(0),
            unanswered: 0,
        }
    }

    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes note of a request that is answered.
    ///
    /// # Errors
    /// `RepeatedId`, or `TooManyWaiting`.
    pub fn accept(&mut self, request: RequestId) -> Result<(), PeerFault> {
        if request <= self.last {
            return Err(PeerFault::RepeatedId);
        }
        if self.unanswered >= REQUESTS_WAITING_MAX {
            return Err(PeerFault::TooManyWaiting);
        }
        self.last = request;
        self.unanswered += 1;
        Ok(())
    }

    /// A request's answer is a notice that comes later.
    pub fn wait_for(&mut self, pending: Pending) {
        self.pending.push(pending);
    }

    /// Answers a request.
    pub fn answer(&mut self, request: RequestId, reply: Reply, descriptors: Vec<File>) {
        self.queue.push_back(Outgoing::Message {
            message: FromSupervisor::Reply(request, reply),
            descriptors,
        });
    }

    /// Tells of an event.
    pub fn event(&mut self, event: Event) {
        self.queue.push_back(Outgoing::Message {
            message: FromSupervisor::Event(event),
            descriptors: Vec::new(),
        });
    }

    /// Tells of a process's state.
    pub fn state(&mut self, process: ProcessId) {
        self.queue.push_back(Outgoing::State(process));
    }

    /// Tells of something that happened, and answers who waits for it.
    pub fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Started(id) => self.settle(&Operation::Start(id), &Reply::Done),
            Notice::StartFailed(id, refusal) => {
                self.settle(&Operation::Start(id), &Reply::Refused(refusal));
                let unknown = Reply::Refused(Refusal::UnknownProcess);
                self.settle(&Operation::Stop(id), &unknown);
            }
            Notice::Changed(id) => self.state(id),
            Notice::Stopped(id) => self.settle(&Operation::Stop(id), &Reply::Done),
            Notice::Advanced(id, end) => self.event(Event::Advanced { id, end }),
            Notice::Forgotten { last, change } => {
                let id = last.id;
                self.tell_last(last);
                self.event(Event::Forgotten { id, change });
                self.settle(&Operation::Forget(id), &Reply::Done);
            }
            Notice::Draining => self.event(Event::Draining),
            Notice::WorkspaceLeaves(info) => self.event(Event::Workspace(Box::new(info))),
            Notice::WorkspaceTried(name) => {
                self.settle(&Operation::RemoveWorkspace(name), &Reply::Done);
            }
            Notice::WorkspaceGone(name) => {
                self.event(Event::WorkspaceGone(name.clone()));
                self.settle(&Operation::RemoveWorkspace(name), &Reply::Done);
            }
        }
    }

    /// A process was forgotten whose state is to be sent still, perhaps before an answer: it cannot be
    /// looked up any more.
    fn tell_last(&mut self, last: Box<ProcessInfo>) {
        let id = last.id;
        let is_of_it =
            |outgoing: &&mut Outgoing| matches!(outgoing, Outgoing::State(other) if *other == id);
        if let Some(first) = self.queue.iter_mut().find(is_of_it) {
            *first = Outgoing::Message {
                message: FromSupervisor::Event(Event::Process(last)),
                descriptors: Vec::new(),
            };
        }
    }

    /// Answers all who wait for this operation.
    fn settle(&mut self, operation: &Operation, reply: &Reply) {
        let settled = self
            .pending
            .extract_if(.., |pending| pending.operation == *operation);
        for pending in settled.collect::<Vec<_>>() {
            self.answer(pending.request, reply.clone(), Vec::new());
        }
    }

    /// What is to be sent next.
    pub fn first(&self) -> Option<&Outgoing> {
        self.queue.front()
    }

    /// That was sent, or there is nothing to say of it any more.
    pub fn sent_first(&mut self) {
        // Until now its request has waited: a frontend that asks and does not read is out of
        // requests soon.
        if let Some(Outgoing::Message {
            message: FromSupervisor::Reply(..),
            ..
        }) = self.queue.pop_front()
        {
            self.unanswered -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ProcessId = ProcessId::from_bytes([1; 16]);
    const OTHER: ProcessId = ProcessId::from_bytes([2; 16]);

    /// All that is to be sent, in order; a process's state as its name.
    fn sent(outbox: &mut Outbox) -> Vec<Result<FromSupervisor, ProcessId>> {
        let mut all = Vec::new();
        while let Some(first) = outbox.first() {
            all.push(match first {
                Outgoing::Message { message, .. } => Ok(message.clone()),
                Outgoing::State(id) => Err(*id),
            });
            outbox.sent_first();
        }
        all
    }

    fn reply(request: u64, reply: Reply) -> Result<FromSupervisor, ProcessId> {
        Ok(FromSupervisor::Reply(RequestId(request), reply))
    }

    fn last(id: ProcessId) -> Box<ProcessInfo> {
        Box::new(crate::process::tests::info(id))
    }

    fn name(text: &str) -> WorkspaceName {
        text.to_owned().try_into().unwrap()
    }

    /// Requests 1 to 6: start and stop of one process, and of another one, and the removal of one
    /// workspace, and of another one.
    fn seven_pending() -> Outbox {
        let mut outbox = Outbox::new();
        let operations = [
            Operation::Start(ONE),
            Operation::Stop(ONE),
            Operation::Start(OTHER),
            Operation::Stop(OTHER),
            Operation::RemoveWorkspace(name("one")),
            Operation::RemoveWorkspace(name("other")),
            Operation::Forget(ONE),
        ];
        for (operation, number) in operations.into_iter().zip(1..) {
            let request = RequestId(number);
            outbox.accept(request).unwrap();
            outbox.wait_for(Pending { request, operation });
        }
        outbox
    }

    #[test]
    fn a_notice_answers_exactly_those_who_wait_for_it() {
        let unknown = Reply::Refused(Refusal::UnknownProcess);
        let draining = Reply::Refused(Refusal::Draining);
        for (notice, expected) in [
            (Notice::Started(ONE), vec![reply(1, Reply::Done)]),
            (Notice::Stopped(ONE), vec![reply(2, Reply::Done)]),
            (
                Notice::StartFailed(OTHER, Refusal::Draining),
                vec![reply(3, draining), reply(4, unknown)],
            ),
            (Notice::Changed(ONE), vec![Err(ONE)]),
            (
                Notice::Advanced(ONE, 7),
                vec![Ok(FromSupervisor::Event(Event::Advanced {
                    id: ONE,
                    end: 7,
                }))],
            ),
            (
                Notice::Forgotten {
                    last: last(ONE),
                    change: 9,
                },
                vec![
                    Ok(FromSupervisor::Event(Event::Forgotten {
                        id: ONE,
                        change: 9,
                    })),
                    reply(7, Reply::Done),
                ],
            ),
            (
                Notice::Draining,
                vec![Ok(FromSupervisor::Event(Event::Draining))],
            ),
            (
                Notice::WorkspaceTried(name("one")),
                vec![reply(5, Reply::Done)],
            ),
            (
                Notice::WorkspaceGone(name("other")),
                vec![
                    Ok(FromSupervisor::Event(Event::WorkspaceGone(name("other")))),
                    reply(6, Reply::Done),
                ],
            ),
        ] {
            let mut outbox = seven_pending();
            outbox.notice(notice.clone());
            assert_eq!(sent(&mut outbox), expected, "{notice:?}");
            outbox.notice(notice.clone());
            let answered_again = sent(&mut outbox)
                .iter()
                .any(|sent| matches!(sent, Ok(FromSupervisor::Reply(..))));
            assert!(!answered_again, "{notice:?}");
        }
    }

    #[test]
    fn what_was_forgotten_is_told_first_to_who_was_not_told_yet() {
        let mut outbox = seven_pending();
        outbox.notice(Notice::Changed(ONE));
        outbox.notice(Notice::Started(ONE));
        outbox.notice(Notice::Changed(ONE));
        let forgotten = Notice::Forgotten {
            last: last(ONE),
            change: 9,
        };
        outbox.notice(forgotten);
        let told = Ok(FromSupervisor::Event(Event::Process(last(ONE))));
        let event = Event::Forgotten { id: ONE, change: 9 };
        let expected = [
            told,
            reply(1, Reply::Done),
            Err(ONE),
            Ok(FromSupervisor::Event(event)),
            reply(7, Reply::Done),
        ];
        assert_eq!(sent(&mut outbox), expected);
    }

    #[test]
    fn i8_a_request_counts_until_its_answer_was_sent() {
        let mut outbox = Outbox::new();
        let most = u64::try_from(REQUESTS_WAITING_MAX).unwrap();
        for request in 1..=most {
            outbox.accept(RequestId(request)).unwrap();
        }
        let next = RequestId(most + 1);
        assert_eq!(outbox.accept(next), Err(PeerFault::TooManyWaiting));
        outbox.answer(RequestId(1), Reply::Done, Vec::new());
        assert_eq!(outbox.accept(next), Err(PeerFault::TooManyWaiting));
        outbox.sent_first();
        assert_eq!(outbox.accept(next), Ok(()));
        outbox.event(Event::Draining);
        outbox.sent_first();
        let after = RequestId(most + 2);
        assert_eq!(outbox.accept(after), Err(PeerFault::TooManyWaiting));
    }

    #[test]
    fn i3_the_ids_of_requests_only_grow() {
        let mut outbox = Outbox::new();
        assert_eq!(outbox.accept(RequestId(0)), Err(PeerFault::RepeatedId));
        outbox.accept(RequestId(5)).unwrap();
        for repeated in [0, 4, 5] {
            let accepted = outbox.accept(RequestId(repeated));
            assert_eq!(accepted, Err(PeerFault::RepeatedId));
        }
        assert_eq!(outbox.accept(RequestId(u64::MAX)), Ok(()));
    }
}
