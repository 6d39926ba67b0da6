//! The audit: one line for each thing that this program has decided, to a descriptor that no
//! frontend ever has. Runs in the supervisor, which never waits for it: a line that is not taken
//! whole and at once is lost, and the next one says how many were.
//!
//! What the frontend says (who has asked) and what this program knows stand apart in each line.

mod denials;
mod line;
#[cfg(test)]
mod tests;
pub mod words;
mod writer;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use prn_ipc_protocol::message::{
    Ask, ExitStatus, ProcessInfo, ProcessSpec, Refusal, SignedBy, StopHow, Verb,
};
use prn_ipc_protocol::signed::StartSignature;
use prn_ipc_protocol::types::{AccessName, Digest, Id, ProcessId, UnixMicros};

use crate::log::{self, write_whole_now};
use denials::Denials;
pub use line::Facts;
use line::{Chain, Entry};
pub use words::Event;
pub use writer::Post;
use writer::Writer;

/// The audit of this run, if there is one.
#[derive(Debug, Default)]
pub struct Audit(Option<Sink>);

/// Where its lines go.
#[derive(Debug)]
struct Sink {
    chain: Chain,
    to: OwnedFd,
    /// Who writes them into a file.
    writer: Option<Writer>,
    /// What the first line says, until one was taken.
    run: Option<Facts>,
    /// When the log was last told that lines are lost.
    told: Option<Instant>,
    /// What the frontend has refused by itself.
    denials: Denials,
    /// Who was found to have signed what is being decided.
    signed: Option<(AccessName, SignedBy)>,
}

/// How often the log is told that lines are lost.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What is asked for, as far as a line says it.
#[derive(Debug)]
pub struct Asked {
    event: Event,
    of: Option<String>,
    facts: Facts,
    /// A line says that it was allowed, and not only that it was refused.
    is_told: bool,
    /// The process that it would start.
    pub starts: Option<ProcessId>,
    /// Whose signature has come with it, it says.
    key: Option<Digest>,
}

/// What this program has found out of a start.
#[derive(Debug, Clone)]
pub struct StartFacts {
    /// The digest of what was started.
    pub digest: Digest,
    /// The rule of the role that describes it.
    pub rule: Option<u16>,
    /// Its user id.
    pub uid: u32,
}

impl Audit {
    /// Lines go to this pipe or socket.
    pub fn to_descriptor(epoch: Id, to: OwnedFd) -> Self {
        Self::new(epoch, to, None)
    }

    /// Lines go to a file, which a program of its own writes.
    ///
    /// # Errors
    /// As [`Writer::new`].
    pub fn to_file(epoch: Id, post: Post) -> nix::Result<Self> {
        let (writer, to) = Writer::new(post)?;
        Ok(Self::new(epoch, to, Some(writer)))
    }

    fn new(epoch: Id, to: OwnedFd, writer: Option<Writer>) -> Self {
        Self(Some(Sink {
            chain: Chain::new(epoch),
            to,
            writer,
            run: None,
            told: None,
            denials: Denials::default(),
            signed: None,
        }))
    }

    /// Something happened that nobody has asked for.
    pub fn note(&mut self, event: Event, facts: Facts) {
        self.write(Entry {
            event,
            of: None,
            principal: None,
            asserted: Facts::default(),
            facts,
        });
    }

    /// What is asked for, before it is answered, which takes it. `None`: no line will say it.
    pub fn asked(&self, ask: &Ask) -> Option<Asked> {
        self.0.as_ref().map(|_| Asked::of(ask))
    }

    /// The signature of the start that is being decided was verified, whatever comes of that.
    pub fn verified(&mut self, signer: &AccessName, signed: &SignedBy) {
        if let Some(sink) = &mut self.0 {
            sink.signed = Some((signer.clone(), signed.clone()));
        }
    }

    /// Something was asked for, and this is the answer. `start`: what a start has come to.
    pub fn decided(
        &mut self,
        asked: Asked,
        who: &AccessName,
        refusal: Option<&Refusal>,
        start: Option<StartFacts>,
    ) {
        let verified = self.0.as_mut().and_then(|sink| sink.signed.take());
        if refusal.is_none() && !asked.is_told {
            return;
        }
        let mut facts = match refusal {
            None => asked.facts.text("outcome", "allowed"),
            Some(refusal) => asked.facts.text("outcome", "refused").refusal(refusal),
        };
        if let Some(start) = start {
            facts = facts.text("digest", &start.digest.to_string());
            facts = facts.number("uid", start.uid.into());
            if let Some(rule) = start.rule {
                facts = facts.number("rule", rule.into());
            }
        }
        let mut asserted = Facts::default();
        match (verified, asked.key) {
            (Some((signer, signed)), _) => facts = facts.signed(&signer, &signed),
            (None, Some(key)) => asserted = asserted.text("signer_key", &key.to_string()),
            (None, None) => {}
        }
        self.write(Entry {
            event: asked.event,
            of: asked.of,
            principal: Some(who),
            asserted,
            facts,
        });
    }

    /// The frontend says that it has said no, so often, to a principal that there is.
    pub fn denied(&mut self, who: AccessName, verb: Verb, count: u32) {
        if let Some(sink) = &mut self.0 {
            sink.denials.add(who, verb, count);
        }
    }

    /// Lines tell how often the frontend has said no, if it is time, and otherwise when it is.
    pub fn tell_denials(&mut self, now: Instant) -> Option<Instant> {
        let denials = &mut self.0.as_mut()?.denials;
        let due = denials.due(now)?;
        if due > now {
            return Some(due);
        }
        for ((who, verb), count) in denials.take(now) {
            let asserted = Facts::default().text("verb", words::verb(verb));
            self.write(Entry {
                event: Event::Denied,
                of: None,
                principal: Some(&who),
                asserted: asserted.number("count", count),
                facts: Facts::default(),
            });
        }
        None
    }

    /// A start that was allowed has failed.
    pub fn start_failed(&mut self, id: ProcessId, refusal: &Refusal) {
        let facts = Facts::default().refusal(refusal);
        self.of_process(Event::StartFailed, id, facts);
    }

    /// A process has ended, and all that it has started.
    pub fn ended(&mut self, info: &ProcessInfo, digest: Digest) {
        let mut facts = Facts::default().text("digest", &digest.to_string());
        if let Some(exit) = info.main_exit {
            facts = facts.text("cause", words::cause(exit.cause));
            facts = facts.status(Some(exit.status));
        }
        if let Some(end) = &info.end {
            facts = facts.number("stdout_bytes", end.output.stdout);
            facts = facts.number("stderr_bytes", end.output.stderr);
        }
        self.of_process(Event::End, info.id, facts);
    }

    /// The frontend has ended, so. `None`: nobody knows how.
    pub fn frontend_ended(&mut self, status: Option<ExitStatus>) {
        self.note(Event::FrontendEnded, Facts::default().status(status));
    }

    fn of_process(&mut self, event: Event, id: ProcessId, facts: Facts) {
        self.write(Entry {
            event,
            of: Some(id.to_string()),
            principal: None,
            asserted: Facts::default(),
            facts,
        });
    }

    /// The run begins: no line of it comes before this one, whenever it is taken.
    pub fn begin(&mut self, facts: Facts) {
        if let Some(sink) = &mut self.0 {
            sink.run = Some(facts);
            sink.begin();
        }
    }

    fn write(&mut self, entry: Entry<'_>) {
        if let Some(sink) = &mut self.0 {
            sink.begin();
            sink.put(entry);
        }
    }

    /// When a writer is to be started.
    pub fn writer_due(&self) -> Option<Instant> {
        self.0.as_ref()?.writer.as_ref()?.due()
    }

    /// Starts it: what refers to it, to be watched.
    pub fn start_writer(&mut self) -> Option<nix::Result<&OwnedFd>> {
        Some(self.0.as_mut()?.writer.as_mut()?.start())
    }

    /// What refers to the writer, if that has ended.
    pub fn reap_writer(&mut self) -> Option<OwnedFd> {
        self.0.as_mut()?.writer.as_mut()?.reap()
    }

    /// No more lines come. What is left is written, or given up after a while.
    pub fn finish(self) {
        let Some(sink) = self.0 else {
            return;
        };
        drop(sink.to);
        let left = sink.writer.map_or(0, Writer::finish);
        let lost = sink.chain.lost_now();
        if left > 0 || lost > 0 {
            let message = format!(
                "the audit's last lines were not written: {left} that waited, {lost} that nobody took"
            );
            log::error(&message, &[]);
        }
    }
}

impl Sink {
    /// Writes the first line, if that was not taken yet.
    fn begin(&mut self) {
        if let Some(facts) = self.run.clone() {
            self.put(Entry {
                event: Event::Run,
                of: None,
                principal: None,
                asserted: Facts::default(),
                facts,
            });
        }
    }

    /// Writes a line whole and at once, or counts it.
    fn put(&mut self, entry: Entry<'_>) {
        let is_first = matches!(entry.event, Event::Run);
        let mut line = self.chain.next(UnixMicros::now(), entry);
        line.push('\n');
        let has_begun = is_first || self.run.is_none();
        if has_begun && write_whole_now(&self.to, line.as_bytes()) {
            line.pop();
            self.chain.written(&line);
            self.run = None;
        } else {
            self.chain.lost();
            self.tell_of_loss();
        }
    }

    fn tell_of_loss(&mut self) {
        if self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            self.told = Some(Instant::now());
            let message = "the audit's lines are lost: nobody takes them. The next one that is taken says how many";
            log::error(message, &[]);
        }
    }
}

impl Asked {
    fn of(ask: &Ask) -> Self {
        let process = |event, id: &ProcessId| Self::new(event, Some(id.to_string()));
        match ask {
            Ask::Start(spec) => Self {
                starts: Some(spec.id),
                key: spec.signature.as_ref().map(StartSignature::fingerprint),
                ..process(Event::Start, &spec.id).with_start(&spec.process)
            },
            Ask::TryStart(spec) => process(Event::TryStart, &spec.id).with_start(&spec.process),
            Ask::Stop(id, how) => process(Event::Stop, id).with(|facts| facts.stop(*how)),
            Ask::Subscribe(id) => process(Event::Output, id),
            Ask::LendInput(id) => process(Event::Input, id),
            Ask::EndInput(id) => process(Event::EndInput, id),
            Ask::ResizeTerminal(id, _) => process(Event::Resize, id),
            Ask::Signal(id, signal, whom) => process(Event::Signal, id).with(|facts| {
                let facts = facts.number("signal", signal.number().unsigned_abs().into());
                facts.text("whom", words::whom(*whom))
            }),
            Ask::Update(id, update) => process(Event::Update, id).with(|facts| {
                let changes = words::changes(update);
                facts.words("change", changes.iter().map(String::as_bytes))
            }),
            Ask::Remove(id) => process(Event::Remove, id),
            Ask::Forget(id) => process(Event::Forget, id),
            // Readings, as lists and statuses are, which are not asked for here at all.
            Ask::Usage { id, .. } => Self {
                is_told: false,
                ..process(Event::Usage, id)
            },
            Ask::Receipt(id) => Self {
                is_told: false,
                ..process(Event::Receipt, id)
            },
            Ask::CreateWorkspace(spec) => {
                Self::new(Event::CreateWorkspace, Some(spec.name.to_string()))
            }
            Ask::RemoveWorkspace(name, how) => {
                let asked = Self::new(Event::RemoveWorkspace, Some(name.to_string()));
                match how {
                    Some(how) => asked.with(|facts| facts.stop(*how)),
                    None => asked,
                }
            }
        }
    }

    fn new(event: Event, of: Option<String>) -> Self {
        Self {
            event,
            of,
            facts: Facts::default(),
            is_told: true,
            starts: None,
            key: None,
        }
    }

    fn with(mut self, more: impl FnOnce(Facts) -> Facts) -> Self {
        self.facts = more(self.facts);
        self
    }

    fn with_start(self, spec: &ProcessSpec) -> Self {
        let words = spec.argv.as_slice().iter().map(|word| word.as_bytes());
        let asked = self.with(|facts| facts.words("argv", words));
        match &spec.user {
            Some(user) => asked.with(|facts| facts.text("user", user.as_str())),
            None => asked,
        }
    }
}

impl Facts {
    /// With why: a word, and for people what goes with it.
    fn refusal(self, refusal: &Refusal) -> Self {
        self.text("refusal", words::refusal(refusal))
            .text("detail", &refusal.to_string())
    }

    /// With who has signed it, and when that counts.
    fn signed(self, signer: &AccessName, signed: &SignedBy) -> Self {
        self.text("signer", signer.as_str())
            .text("signer_key", &signed.key.to_string())
            .number("not_before", signed.not_before.0)
            .number("not_after", signed.not_after.0)
    }

    /// With how something ended, as far as that is known.
    fn status(self, status: Option<ExitStatus>) -> Self {
        let Some(status) = status.map(words::status) else {
            return self.text("status", "unknown");
        };
        let mut facts = self.text("status", status.word);
        if let Some(code) = status.exit_code {
            facts = facts.number("exit_code", code.into());
        }
        if let Some(signal) = status.signal {
            facts = facts.number("signal", signal.into());
        }
        if let Some(core_dumped) = status.core_dumped {
            facts = facts.switch("core_dumped", core_dumped);
        }
        facts
    }

    /// With how something is to be stopped.
    fn stop(self, how: StopHow) -> Self {
        match how {
            StopHow::Kill => self.text("how", "kill"),
            StopHow::Graceful(None) => self.text("how", "graceful"),
            StopHow::Graceful(Some(grace)) => self
                .text("how", "graceful")
                .number("grace_ms", grace.milliseconds()),
        }
    }
}
