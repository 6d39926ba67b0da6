//! The way into the table: from a specification to a process that is watched, and what its report
//! says. Runs in the supervisor.

use std::ffi::CString;
use std::hash::BuildHasher;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Gid;
use prn_ipc_protocol::config::{Layers, User};
use prn_ipc_protocol::message::{
    AppliedLimits, ChildStep, Preparation, ProcessInfo, ProcessSpec, Profile, Refusal, SignedBy,
    StartSpec, Startable,
};
use prn_ipc_protocol::policy::Starter;
use prn_ipc_protocol::signed::StartSignature;
use prn_ipc_protocol::types::{AccessName, LimitName, Millis, ProcessId, UnixMicros};

use super::{Notice, Runner, resources};
use crate::accounts::Account;
use crate::admission::{Admitted, Usage, admit, no_uid};
use crate::audit::StartFacts;
use crate::cgroup::{self, Group};
use crate::deadlines::Due;
use crate::directory::{self, Holder};
use crate::events::{Interest, Part, Source};
use crate::ledger::Share;
use crate::process::{Live, Phase, Process};
use crate::resolve::{Execution, home};
use crate::signed::{self, Signable};
use crate::streams::{self, Streams, Theirs};
use crate::sys::errno_number;
use crate::sys::spawn::{self, Child, Failed, Ids, Passage, Places, Program, Spawned, Told, View};

/// The log is told of a start that the machine refused once in this time, however often they try.
const REFUSALS_LOGGED: Duration = Duration::from_secs(1);

/// What comes of a start that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It is under way: [`Notice::Started`] or [`Notice::StartFailed`] follows.
    UnderWay,
    /// The same start was made before, and ended well.
    Existing,
}

/// What is made for a process, from what.
#[derive(Debug)]
struct Blueprint<'a> {
    id: ProcessId,
    /// The user id that it takes from the others'.
    account: u32,
    /// Whose directories, and whose user id, it has.
    holder: Holder,
    /// The user that it runs as.
    ids: Ids<'a>,
    /// The same, if that is one of the machine's.
    user: Option<&'a User>,
    spec: &'a ProcessSpec,
    execution: &'a Execution,
}

/// A process that exists, and who it is.
#[derive(Debug)]
struct Entered {
    account: u32,
    uid: u32,
    made: Made,
}

/// A process that exists.
#[derive(Debug)]
struct Made {
    live: Live,
    limits: AppliedLimits,
    /// Why it cannot be watched, and has been killed.
    failure: Option<Refusal>,
}

impl Runner {
    /// Starts a process, or finds the one that the same start made before. Does not wait for it. The
    /// policy does not concern it.
    ///
    /// # Errors
    /// The refusal; nothing is left of the attempt.
    pub fn start(&mut self, spec: StartSpec) -> Result<Started, Refusal> {
        self.start_by(None, spec)
    }

    /// The same for somebody who may do what the policy says.
    ///
    /// # Errors
    /// As [`Runner::start`].
    pub fn start_for(&mut self, who: AccessName, spec: StartSpec) -> Result<Started, Refusal> {
        self.start_by(Some(who), spec)
    }

    /// What [`Runner::start_for`] would come to.
    ///
    /// # Errors
    /// As there, but for what is found only when a process is made.
    pub fn try_start_for(&self, who: &AccessName, spec: &StartSpec) -> Result<Startable, Refusal> {
        let workspace = spec.process.workspace.as_ref();
        let workspace = workspace.map(|name| self.workspaces.open(name));
        let workspace = workspace.transpose()?;
        signed::check_input(self.policy(), who, spec)?;
        let usage = self.in_use(&spec.process);
        let starter = Some(self.starter(who, usage.now));
        let admitted = admit(&self.settings.config, &usage, starter, spec)?;
        Ok(Startable {
            rule: admitted.rule,
            limits: admitted.limits,
            candidates: admitted.execution.candidates,
            working_directory: admitted.execution.working_directory,
            digest: admitted.digest,
            uid: (workspace.map(|workspace| workspace.info.uid))
                .or(admitted.user.map(|user| user.uid)),
            user: spec.process.user.clone(),
        })
    }

    /// What was found out of a start, for the audit.
    pub(crate) fn start_facts(&self, id: ProcessId) -> Option<StartFacts> {
        let process = self.table.get(self.numbers.get(&id)?)?;
        Some(StartFacts {
            digest: process.digest,
            rule: process.rule,
            uid: process.info.uid,
        })
    }

    fn starter<'a>(&self, principal: &'a AccessName, now: UnixMicros) -> Starter<'a> {
        Starter {
            principal,
            processes: self.of_principals.get(principal).copied().unwrap_or(0),
            now,
        }
    }

    fn start_by(
        &mut self,
        via: Option<AccessName>,
        mut spec: StartSpec,
    ) -> Result<Started, Refusal> {
        let (requested, received) = (spec.requested.take(), UnixMicros::now());
        // The same start signed once more, or asked for again, is the same start.
        let signature = spec.signature.take();
        let owner = |via| signed::owner(self.policy(), via, signature.as_ref());
        let started_by = via.as_ref().map(owner).transpose()?.cloned();
        let request = self.numbers.hasher().hash_one((&started_by, &spec));
        if let Some(known) = self.known(spec.id, request, signature.is_some())? {
            return Ok(known);
        }
        let via = via.as_ref();
        let (admitted, signed) =
            self.admit_once(via, started_by.as_ref(), &spec, signature.as_ref())?;
        let admitted_at = UnixMicros::now();
        let execution = admitted.execution;
        let StartSpec {
            id,
            process: mut spec,
            ..
        } = spec;
        spec.limits = admitted.limits;
        spec.working_directory = Some(execution.working_directory.clone());
        let number = self.last_number + 1;
        let layers = self.settings.config.confinement.of(spec.profile);
        let layers = layers.map_or_else(Vec::new, Layers::names);
        let Entered { account, uid, made } = self
            .make(number, id, &spec, &execution, admitted.user.as_ref())
            .inspect_err(|refusal| self.log_refusal("a start", refusal))?;
        let info = ProcessInfo {
            id,
            number,
            spec,
            uid,
            started_by,
            signed,
            requested,
            received,
            admitted: admitted_at,
            prepared: UnixMicros::now(),
            started: UnixMicros::now(),
            limits: made.limits,
            waits: false,
            input_ended: false,
            main_exit: None,
            end: None,
            stuck: Vec::new(),
            left_behind: None,
            layers,
            paused: false,
            lease_ends: None,
            stop: None,
            change: 0,
        };
        let (digest, failure) = (admitted.digest, made.failure);
        let mut process = Process::new(request, digest, info, account, made.live, failure);
        process.rule = admitted.rule;
        self.enter(process, admitted.reserved);
        Ok(Started::UnderWay)
    }

    /// Admits a start, and, if its owner has signed it, verifies that and uses up its id: what is
    /// made after that may fail, and is not tried again by the same signature.
    fn admit_once(
        &mut self,
        via: Option<&AccessName>,
        owner: Option<&AccessName>,
        spec: &StartSpec,
        signature: Option<&StartSignature>,
    ) -> Result<(Admitted, Option<SignedBy>), Refusal> {
        let usage = self.in_use(&spec.process);
        let starter = owner.map(|who| self.starter(who, usage.now));
        let config = &self.settings.config;
        let admitted = admit(config, &usage, starter, spec)?;
        let Some(owner) = owner else {
            return Ok((admitted, None));
        };
        let key = self.key.as_ref().filter(|_| signature.is_some());
        let run = key.map(|key| config.policy.signing.run(&key.public()));
        let start = Signable {
            owner,
            spec,
            digest: admitted.digest,
            run: run.as_deref(),
        };
        self.signatures.pass(usage.now);
        self.signatures.check(&config.policy, start, signature)?;
        let Some(signature) = signature else {
            return Ok((admitted, None));
        };
        let signed = SignedBy {
            key: signature.fingerprint(),
            via: via.cloned(),
            not_before: signature.not_before,
            not_after: signature.not_after,
        };
        self.audit.verified(owner, &signed);
        self.signatures.take(spec.id, owner, signature.not_after)?;
        Ok((admitted, Some(signed)))
    }

    /// What is known of a start with this name.
    fn known(
        &self,
        id: ProcessId,
        request: u64,
        is_signed: bool,
    ) -> Result<Option<Started>, Refusal> {
        // Of an id that a signature has used up the signature is what it is refused for, later on.
        let is_replayed = is_signed && self.signatures.knows(id);
        if self.forgotten.contains(id) && !is_replayed {
            return Err(Refusal::Forgotten);
        }
        let number = self.numbers.get(&id);
        let Some(known) = number.and_then(|number| self.table.get(number)) else {
            let holder = Holder::Process(id);
            let mut leftovers = self.leftovers.values();
            let is_left = leftovers.any(|left| left.owner.holder == holder);
            return if is_left {
                Err(Refusal::AlreadyExists)
            } else {
                Ok(None)
            };
        };
        if known.request != request {
            return Err(Refusal::AlreadyExists);
        }
        Ok(Some(if known.visible() {
            Started::Existing
        } else {
            Started::UnderWay
        }))
    }

    fn in_use(&self, spec: &ProcessSpec) -> Usage {
        let namesake = spec.name.as_ref().and_then(|name| self.names.get(name));
        Usage {
            is_draining: self.draining,
            arguments: self.arguments,
            reservable: self.ledgers.of(spec.output.store).reservable(),
            free_uids: self.free_uids.len(),
            held_uids: self.leftovers.len(),
            terminals: self.terminals.count(),
            namesake: namesake.copied(),
            kept: self.kept,
            now: UnixMicros::now(),
        }
    }

    /// Makes a process and what it needs, for a user id that was free. Where that fails nothing is
    /// left.
    fn make(
        &mut self,
        number: u64,
        id: ProcessId,
        spec: &ProcessSpec,
        execution: &Execution,
        user: Option<&User>,
    ) -> Result<Entered, Refusal> {
        let groups = user.map_or(&[][..], |user| &user.groups);
        let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
        let shared = match &spec.workspace {
            Some(name) => Some(self.enter_workspace(name)?),
            None => None,
        };
        let entered = self.with_uid(|runner, account| {
            let own = Ids::of_user(shared.unwrap_or(account));
            let ids = user.map_or(own, |user| Ids {
                uid: user.uid,
                gid: user.gid,
                groups: &groups,
            });
            let blueprint = Blueprint {
                id,
                account,
                holder: Holder::of(id, spec.workspace.as_ref()),
                ids,
                user,
                spec,
                execution,
            };
            let made = runner.make_for(number, &blueprint)?;
            let uid = ids.uid;
            Ok(Entered { account, uid, made })
        });
        if let (Err(_), Some(name)) = (&entered, &spec.workspace) {
            self.gone_from_workspace(name);
        }
        entered
    }

    /// Makes something for a user id that was free, and is again if that fails.
    pub(super) fn with_uid<T>(
        &mut self,
        make: impl FnOnce(&Self, u32) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let held = self.leftovers.len();
        let uid = self.free_uids.pop_front();
        let uid = uid.ok_or_else(|| no_uid(&self.settings.config, held))?;
        make(self, uid).inspect_err(|_| self.free_uids.push_back(uid))
    }

    /// Makes the directories of a process that has its own, and then all else. Where they cannot be
    /// made nothing is removed: what has their names is somebody else's.
    fn make_for(&self, number: u64, blueprint: &Blueprint<'_>) -> Result<Made, Refusal> {
        let state = self.settings.state.as_fd();
        let own = Some(&blueprint.holder).filter(|_| blueprint.spec.workspace.is_none());
        if let Some(own) = own {
            // What a user of the machine's puts into its own is nowhere that others of it reach.
            let made = directory::create(state, own, blueprint.account);
            made.map_err(resources(Preparation::Directory))?;
        }
        self.create(number, blueprint).inspect_err(|_| {
            let name = blueprint.id.to_string();
            let _unused = cgroup::remove(self.settings.groups.as_fd(), &name);
            own.map(|own| directory::remove(state, own));
        })
    }

    /// Puts a process that exists into the table, and counts what it takes.
    fn enter(&mut self, mut process: Process, reserved: u64) {
        let number = process.info.number;
        let spec = &process.info.spec;
        if process.failure.is_some() {
            self.deadline(number, Duration::ZERO, Due::Remove);
        } else {
            let until = |deadline: UnixMicros| deadline.since(UnixMicros::now());
            let times = [spec.timeout.map(Millis::duration), spec.deadline.map(until)];
            for time in times.into_iter().flatten() {
                self.deadline(number, time, Due::Timeout);
            }
        }
        self.arguments += spec.size();
        if let Some(principal) = process.info.started_by.clone() {
            *self.of_principals.entry(principal).or_default() += 1;
        }
        if spec.retention.is_kept {
            self.kept.count += 1;
            self.kept.bytes += spec.size();
        }
        if let Some(name) = &spec.name {
            self.names.insert(name.clone(), process.info.id);
        }
        let share = Share::new(0, reserved, 0);
        self.ledgers
            .of_mut(spec.output.store)
            .count(&mut process.share, share);
        self.await_follower(&mut process);
        self.begin_lease(&mut process);
        self.last_number = number;
        self.numbers.insert(process.info.id, number);
        self.table.insert(number, Box::new(process));
    }

    /// Tells the log what the machine refused: the operator's matter, of which clients are not told
    /// the details.
    pub(super) fn log_refusal(&mut self, attempt: &str, refusal: &Refusal) {
        let Refusal::Resources { what, errno } = refusal else {
            return;
        };
        let now = Instant::now();
        let is_recent = |logged| now.duration_since(logged) < REFUSALS_LOGGED;
        if self.refusal_logged.is_some_and(is_recent) {
            return;
        }
        self.refusal_logged = Some(now);
        let error = Errno::from_raw(*errno);
        let hint = match (what, error) {
            (Preparation::Directory, Errno::ENOENT) => {
                ": the state folder was removed or moved away; this server holds the old one: restart it"
            }
            _ => "",
        };
        let message = format!("{attempt} failed at {what:?}: {error}{hint}");
        crate::log::error(&message, &[]);
    }

    /// Makes group, streams and process, in this order, and watches them.
    fn create(&self, number: u64, blueprint: &Blueprint<'_>) -> Result<Made, Refusal> {
        let (group, not_enforced) = self.limited_group(blueprint)?;
        let owner = streams::Owner {
            ids: blueprint.ids,
            account: blueprint.account,
        };
        let streams = Streams::make(owner, blueprint.spec.input, &self.terminals)?;
        let spawned = group
            .directory()
            .and_then(|directory| self.launch(blueprint, directory.as_fd(), &streams.theirs))
            .map_err(resources(Preparation::Clone))?;
        let limits = AppliedLimits {
            // While the child is on its way to its program.
            in_force: group.limits(),
            not_enforced,
        };
        let live = Live {
            phase: Phase::Running,
            group,
            main: None,
            report: Some(spawned.report),
            passage: Some(spawned.passage),
            pipes: streams.pipes,
            input: streams.input,
            terminal: streams.terminal,
            read_at: Instant::now(),
            stopping: None,
            busy: 0,
        };
        Ok(self.watched(number, live, spawned.pidfd, limits))
    }

    /// Makes its group with its limits. Returns those too that are not enforced.
    fn limited_group(&self, blueprint: &Blueprint<'_>) -> Result<(Group, Vec<LimitName>), Refusal> {
        let config = &self.settings.config;
        let group = Group::create(&self.settings.groups, &blueprint.id.to_string())
            .map_err(resources(Preparation::Cgroup))?;
        let not_enforced = group
            .limit(&blueprint.spec.limits, &config.disks)
            .map_err(Refusal::NotEnforceable)?;
        let is_excused = blueprint.spec.best_effort_limits || config.allow_missing_limits;
        match not_enforced.first() {
            Some(limit) if !is_excused => Err(Refusal::NotEnforceable(*limit)),
            Some(_) | None => Ok((group, not_enforced)),
        }
    }

    /// Watches a process. One that cannot be watched dies with its group, and is reaped here; what
    /// it has left in its directories by then is removed as of any other.
    fn watched(&self, number: u64, live: Live, main: OwnedFd, limits: AppliedLimits) -> Made {
        let failure = self.register(number, &live, &main).err();
        let live = if failure.is_some() {
            if live.group.end(&main) {
                live.passage.map(|passage| self.slots.give_back(passage));
            }
            Live {
                phase: Phase::Removing,
                report: None,
                passage: None,
                ..live
            }
        } else {
            Live {
                main: Some(main),
                ..live
            }
        };
        Made {
            live,
            limits,
            failure: failure.map(resources(Preparation::Watch)),
        }
    }

    fn register(&self, number: u64, live: &Live, main: &OwnedFd) -> nix::Result<()> {
        let add = |fd: BorrowedFd<'_>, interest, part| {
            self.events
                .add(fd, interest, Source::Process { number, part })
        };
        for pipe in &live.pipes {
            add(
                pipe.fd.as_fd(),
                Interest::ReadableOnce,
                Part::Pipe(pipe.stream),
            )?;
        }
        let typed = live
            .terminal
            .as_ref()
            .and_then(|terminal| terminal.typed.as_ref());
        typed.map_or(Ok(()), |typed| {
            add(typed.as_fd(), Interest::ReadableOnce, Part::Input)
        })?;
        live.report
            .iter()
            .try_for_each(|report| add(report.as_fd(), Interest::Readable, Part::Report))?;
        // It stays readable, also while a tracer keeps its process from being reaped.
        add(main.as_fd(), Interest::Changed, Part::Main)?;
        add(live.group.events.as_fd(), Interest::Priority, Part::Group)
    }

    /// Creates the process, confined as its profile asks for.
    fn launch(
        &self,
        blueprint: &Blueprint<'_>,
        group: BorrowedFd<'_>,
        streams: &Theirs,
    ) -> nix::Result<Spawned> {
        let (config, execution) = (&self.settings.config, blueprint.execution);
        let profile = blueprint.spec.profile;
        let layers = config.confinement.of(profile);
        // Admission has refused it; never is it less than it says.
        if layers.is_none() && profile != Profile::None {
            return Err(Errno::ENOSYS);
        }
        let [own, temporary] = directory::paths(&blueprint.holder);
        let home = home(&config.state_dir, &blueprint.holder);
        let in_memory = blueprint.user.map(in_memory);
        let account = match (&blueprint.spec.user, blueprint.user) {
            (Some(name), Some(user)) => Account::of_user(name, user, &home),
            _ => Account::of(blueprint.ids.uid, &home),
        };
        let child = Child {
            argv: blueprint.spec.argv.as_slice(),
            environment: &execution.environment,
            streams: streams.streams(self.null.as_fd()),
            has_terminal: matches!(streams, Theirs::Terminal(_)),
            directory: &execution.working_directory,
            open_files: config.open_files,
            layers,
            places: layers.map(|_| Places {
                state: &config.state_dir,
                own: &own,
                temporary: &temporary,
                passwd: &account.passwd,
                group: &account.group,
                in_memory: in_memory.as_deref(),
            }),
            view: View {
                rules: blueprint.spec.paths.as_slice(),
                bindable: &config.bindable,
                rights: layers
                    .and_then(|layers| layers.landlock.as_ref())
                    .map_or(0, |landlock| landlock.own),
            },
            ..Child::new(
                group,
                Program::Paths(&execution.candidates),
                blueprint.ids,
                self.null.as_fd(),
            )
        };
        spawn::spawn(&child, &self.slots)
    }

    /// Reads whether the program runs: the end of each start.
    pub(super) fn reported(&mut self, process: &mut Process) {
        let Some(live) = &mut process.live else {
            return;
        };
        let Some(report) = live.report.take() else {
            return;
        };
        match self.told(&report, &mut live.passage) {
            Err(Errno::EAGAIN | Errno::EINTR) | Ok(Told::Taken) => {
                live.report = Some(report);
                return;
            }
            Ok(Told::Runs) => {
                process.info.started = UnixMicros::now();
                self.changed(process);
                self.notices.push_back(Notice::Started(process.info.id));
            }
            // Its end follows, and then the answer.
            Ok(Told::Failed(failed)) => process.failure = Some(refusal(failed)),
            Err(error) => {
                process.failure = Some(Refusal::Exec {
                    step: ChildStep::Exec,
                    errno: errno_number(error),
                })
            }
        }
        self.detach(&report);
    }

    /// What a report says. Whatever it is, the child has its descriptors, or never will.
    fn told(&self, report: &OwnedFd, passage: &mut Option<Passage>) -> nix::Result<Told> {
        let told = spawn::told(report)?;
        let passage = passage.take();
        let failed = passage.and_then(|passage| self.slots.give_back(passage));
        match (told, failed) {
            (Told::Taken, _) => spawn::told(report),
            // The report ended with a child that never had it.
            (Told::Runs, Some(failed)) => Ok(Told::Failed(failed)),
            (told, _) => Ok(told),
        }
    }

    /// Its main process is dead: what was passed to it, and it has not taken, is nobody's.
    pub(super) fn take_back(&self, process: &mut Process) {
        let Some(live) = &mut process.live else {
            return;
        };
        let passage = live.passage.take();
        let Some(failed) = passage.and_then(|passage| self.slots.give_back(passage)) else {
            return;
        };
        process.failure = Some(refusal(failed));
        if let Some(report) = live.report.take() {
            self.detach(&report);
        }
    }
}

fn refusal(Failed { step, errno }: Failed) -> Refusal {
    Refusal::Exec { step, errno }
}

/// Options of the directories of a user of the machine's (tmpfs(5)): what is in them counts as memory
/// of its group.
fn in_memory(user: &User) -> CString {
    let User { uid, gid, .. } = user;
    CString::new(format!("mode=0700,uid={uid},gid={gid},size=50%")).unwrap_or_default()
}
