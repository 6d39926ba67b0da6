//! What the policy says of a request, before the runner hears of it. Runs in the supervisor.
//!
//! Who asks is the frontend's word: one that was taken over may claim to be anybody there is. What
//! it gets by that is what the policy allows to somebody, and no more.

use prn_ipc_protocol::message::{Ask, Refusal, StartSpec, Update};
use prn_ipc_protocol::policy::{Denial, Policy, Role, Verb, verbs_of};
use prn_ipc_protocol::types::{AccessName, ProcessId, UnixMicros, WorkspaceName};

use crate::admission::check_ceilings;
use crate::runner::Runner;
use crate::signed;

/// Whether somebody may ask for this. What a start is about the runner compares by itself, with all
/// else that it is admitted by.
///
/// # Errors
/// Why not. Who may not ask about a process is told nothing of it, not even that there is none.
pub(super) fn check(who: &AccessName, ask: &Ask, runner: &Runner) -> Result<(), Refusal> {
    let access = Access {
        policy: runner.policy(),
        runner,
        who,
        now: UnixMicros::now(),
    };
    let allowed = match ask {
        Ask::Start(spec) => {
            // Who has signed it starts it; who brings it has to be somebody who may start something.
            let may = access.policy.may(who, Verb::Start, access.now);
            may.map_err(Refusal::Denied)?;
            let signature = spec.signature.as_ref();
            let who = signed::owner(access.policy, who, signature)?;
            access.may_start_as(who, spec)
        }
        Ask::TryStart(spec) => access.may_start_as(who, spec),
        Ask::Stop(id, _) => access.with(Verb::Stop, *id),
        Ask::Remove(id) => access.with(Verb::Stop, *id),
        Ask::Forget(id) => access.with(access.verb_to_forget(*id), *id),
        Ask::Signal(id, ..) => access.with(Verb::Signal, *id),
        Ask::Update(id, update) => return access.check_update(*id, update),
        Ask::Subscribe(id) => access.with(Verb::Output, *id),
        Ask::Usage { id, .. } | Ask::Receipt(id) => access.with(Verb::List, *id),
        Ask::LendInput(id) | Ask::EndInput(id) | Ask::ResizeTerminal(id, _) => {
            access.with(Verb::Input, *id)
        }
        Ask::CreateWorkspace(_) => access.policy.may(who, Verb::Workspace, access.now),
        Ask::RemoveWorkspace(name, how) => {
            if how.is_some() {
                access.with_all_in(name).map_err(Refusal::Denied)?;
            }
            access.with_workspace(who, Verb::Workspace, name)
        }
    };
    allowed.map(|_| ()).map_err(Refusal::Denied)
}

/// Who asks, and what there is.
#[derive(Debug)]
struct Access<'a> {
    policy: &'a Policy,
    runner: &'a Runner,
    who: &'a AccessName,
    now: UnixMicros,
}

impl Access<'_> {
    fn may_start_as(&self, who: &AccessName, spec: &StartSpec) -> Result<&Role, Denial> {
        let Some(workspace) = &spec.process.workspace else {
            return self.policy.may(who, Verb::Start, self.now);
        };
        self.with_workspace(who, Verb::Start, workspace)
    }

    fn with(&self, verb: Verb, id: ProcessId) -> Result<&Role, Denial> {
        match self.runner.owner(id) {
            Some(owner) => self.policy.may_with(self.who, verb, owner, self.now),
            // That there is none is for who may ask.
            None => self.policy.may(self.who, verb, self.now),
        }
    }

    fn with_workspace(
        &self,
        who: &AccessName,
        verb: Verb,
        name: &WorkspaceName,
    ) -> Result<&Role, Denial> {
        let mut workspaces = self.runner.workspaces();
        match workspaces.find(|info| info.name == *name) {
            Some(info) => {
                let owner = info.created_by.as_ref();
                self.policy.may_with(who, verb, owner, self.now)
            }
            None => self.policy.may(who, verb, self.now),
        }
    }

    /// Whether all that live in a workspace may be stopped.
    fn with_all_in(&self, name: &WorkspaceName) -> Result<(), Denial> {
        self.runner.owners_in(name).try_for_each(|owner| {
            let may = self.policy.may_with(self.who, Verb::Stop, owner, self.now);
            may.map(|_| ())
        })
    }

    /// What is to be forgotten when it was read, who reads it may make forgotten.
    fn verb_to_forget(&self, id: ProcessId) -> Verb {
        let info = self.runner.info(id);
        if info.is_some_and(|info| info.spec.retention.until_read) {
            Verb::Output
        } else {
            Verb::Stop
        }
    }

    /// Whether a process may be changed so, and its limits.
    fn check_update(&self, id: ProcessId, update: &Update) -> Result<(), Refusal> {
        let is_own = self.runner.owner(id).flatten() == Some(self.who);
        for verb in verbs_of(update, is_own) {
            let role = self.with(verb, id).map_err(Refusal::Denied)?;
            check_ceilings(&role.ceilings, &update.limits)?;
        }
        Ok(())
    }
}
