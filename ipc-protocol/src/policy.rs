//! Who may do what: one pure function over the policy, what runs, and what is asked for.
//!
//! The supervisor decides by it before it acts. The frontend decides by it what a client gets to
//! see, and says early what the supervisor would refuse: that saves a way, and guards nothing.
//! Nothing is allowed that no role allows.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};

use serde::{Deserialize, Serialize};

use crate::message::{Profile, StartSpec};
use crate::types::{AccessName, Limits, UnixMicros};

/// Who may do what, as `prn server start` has read it from the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Who there is.
    pub principals: BTreeMap<AccessName, Principal>,
    /// What they may do.
    pub roles: BTreeMap<AccessName, Role>,
}

/// Somebody whom requests come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// What they may do.
    pub role: AccessName,
    /// Whom they share processes with ([`Reach::Group`]).
    pub group: Option<AccessName>,
    /// Nothing is theirs to ask for from then on.
    pub not_after: Option<UnixMicros>,
}

/// What somebody may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// What they may ask for.
    pub verbs: BTreeSet<Verb>,
    /// Whose processes and workspaces that is about.
    pub reach: Reach,
    /// What they may start.
    pub programs: Programs,
    /// The least that confines what they start.
    pub profile: Profile,
    /// Most that a process of theirs can ask for, which applies where it asks for nothing. Beside
    /// the server's own ceilings.
    pub ceilings: Limits,
    /// Limits of a process that asks for none, instead of the server's.
    pub defaults: Limits,
    /// Most processes of one of them at one time.
    pub processes_max: Option<u32>,
    /// Most output bytes that a process of theirs can ask to be kept.
    pub output_max: Option<u64>,
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// Start, and change the limits, labels and lease of, a process.
    Start,
    /// Stop a process, or forget one that is finished.
    Stop,
    /// Send a signal to a process, pause it or let it go on.
    Signal,
    /// Read a process's output.
    Output,
    /// Feed a process's input, and size its terminal.
    Input,
    /// See that a process is there, how it is and what it takes.
    List,
    /// Make and remove workspaces.
    Workspace,
    /// What the server says of itself and of others beyond all that.
    Admin,
}

/// All verbs, in the order in which they are shown.
pub const VERBS: [Verb; 8] = [
    Verb::Start,
    Verb::Stop,
    Verb::Signal,
    Verb::Output,
    Verb::Input,
    Verb::List,
    Verb::Workspace,
    Verb::Admin,
];

/// Whose processes and workspaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reach {
    /// One's own.
    Own,
    /// Those of all who have the same group.
    Group,
    /// Everybody's.
    All,
}

/// What may be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Programs {
    /// Anything.
    Any,
    /// What one of these rules describes, with no variables but these: a variable such as
    /// LD_PRELOAD would make another program of it.
    Ruled {
        /// The rules; the first that describes it counts.
        rules: Vec<Program>,
        /// Names of the variables that may be set.
        variables: BTreeSet<CString>,
    },
}

/// A program, and what it may be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Absolute path of the program: it is executed, whatever the request calls it.
    pub path: CString,
    /// Its arguments, without its name.
    pub words: Vec<CString>,
    /// Other words may follow.
    pub is_beginning: bool,
}

/// Why somebody may not do what they have asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denial {
    /// There is no such principal, or no longer.
    Unknown,
    /// The principal's time is over.
    Expired,
    /// The role has no such verb.
    Verb(Verb),
    /// The process or the workspace is of somebody whom the role does not reach.
    Reach(Verb),
    /// No rule of the role describes the program with its arguments.
    Program,
    /// Where programs are ruled the variable at this place may not be set.
    Variable(u16),
    /// Where programs are ruled a process starts in its own directory, sees the directories that
    /// all see, and is in no workspace.
    Place,
    /// A process is to be confined at least so.
    Profile(Profile),
    /// More output is to be kept than this.
    Output(u64),
    /// The principal has so many processes, which is the most.
    Processes(u32),
}

/// What may be started, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The role that allows it.
    pub role: &'a Role,
    /// The rule that describes its program, by its place. `None`: any may be started.
    pub rule: Option<usize>,
    /// What is executed. `None`: where the program is found.
    pub program: Option<&'a CStr>,
}

/// Of somebody who asks, what matters to a start beside what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Starter<'a> {
    /// Who.
    pub principal: &'a AccessName,
    /// How many processes of theirs there are.
    pub processes: u32,
    /// The time.
    pub now: UnixMicros,
}

impl Policy {
    /// What somebody's role is.
    ///
    /// # Errors
    /// `Unknown` or `Expired`.
    pub fn role(&self, who: &AccessName, now: UnixMicros) -> Result<&Role, Denial> {
        let principal = self.principals.get(who).ok_or(Denial::Unknown)?;
        if principal.not_after.is_some_and(|end| now >= end) {
            return Err(Denial::Expired);
        }
        self.roles.get(&principal.role).ok_or(Denial::Unknown)
    }

    /// Whether somebody may do something that is about nobody's process.
    ///
    /// # Errors
    /// Why not.
    pub fn may(&self, who: &AccessName, verb: Verb, now: UnixMicros) -> Result<&Role, Denial> {
        let role = self.role(who, now)?;
        if role.verbs.contains(&verb) {
            Ok(role)
        } else {
            Err(Denial::Verb(verb))
        }
    }

    /// Whether somebody may do something with a process or a workspace of this owner. `None`: it
    /// has none.
    ///
    /// # Errors
    /// Why not.
    pub fn may_with(
        &self,
        who: &AccessName,
        verb: Verb,
        owner: Option<&AccessName>,
        now: UnixMicros,
    ) -> Result<&Role, Denial> {
        let role = self.may(who, verb, now)?;
        if self.reaches(role.reach, who, owner) {
            Ok(role)
        } else {
            Err(Denial::Reach(verb))
        }
    }

    fn reaches(&self, reach: Reach, who: &AccessName, owner: Option<&AccessName>) -> bool {
        let is_own = owner == Some(who);
        match reach {
            Reach::All => true,
            Reach::Own => is_own,
            Reach::Group => is_own || self.share_group(who, owner),
        }
    }

    fn share_group(&self, one: &AccessName, other: Option<&AccessName>) -> bool {
        let group = |name| self.principals.get(name)?.group.as_ref();
        let theirs = other.and_then(group);
        theirs.is_some() && group(one) == theirs
    }

    /// Whether somebody may start this, whose program is looked for at these paths, in this order.
    /// Limits are compared with [`Role::ceilings`] by who sets them.
    ///
    /// # Errors
    /// Why not.
    pub fn may_start(
        &self,
        who: Starter<'_>,
        spec: &StartSpec,
        candidates: &[CString],
    ) -> Result<Grant<'_>, Denial> {
        let role = self.may(who.principal, Verb::Start, who.now)?;
        let process = &spec.process;
        let rule = match &role.programs {
            Programs::Any => None,
            Programs::Ruled { rules, variables } => {
                check_variables(variables, &spec.variables)?;
                let is_moved = process.working_directory.is_some()
                    || process.workspace.is_some()
                    || !process.paths.as_slice().is_empty();
                if is_moved {
                    return Err(Denial::Place);
                }
                let words = process.argv.as_slice().get(1..).unwrap_or_default();
                let rule = rules.iter().position(|rule| rule.is(candidates, words));
                Some((rules, rule.ok_or(Denial::Program)?))
            }
        };
        if strictness(process.profile) < strictness(role.profile) {
            return Err(Denial::Profile(role.profile));
        }
        if let Some(most) = role.output_max.filter(|most| process.output.max > *most) {
            return Err(Denial::Output(most));
        }
        if let Some(most) = role.processes_max.filter(|most| who.processes >= *most) {
            return Err(Denial::Processes(most));
        }
        let program = rule.and_then(|(rules, place)| rules.get(place));
        Ok(Grant {
            role,
            rule: rule.map(|(_, place)| place),
            program: program.map(|program| program.path.as_c_str()),
        })
    }
}

impl Program {
    fn is(&self, candidates: &[CString], words: &[CString]) -> bool {
        let has_words = if self.is_beginning {
            words.starts_with(&self.words)
        } else {
            *words == *self.words
        };
        has_words && candidates.contains(&self.path)
    }
}

fn check_variables(allowed: &BTreeSet<CString>, asked: &[CString]) -> Result<(), Denial> {
    let is_allowed = |variable: &CString| {
        let name = variable.to_bytes().split(|byte| *byte == b'=').next();
        allowed
            .iter()
            .any(|allowed| Some(allowed.to_bytes()) == name)
    };
    match asked.iter().position(|variable| !is_allowed(variable)) {
        None => Ok(()),
        Some(place) => Err(Denial::Variable(u16::try_from(place).unwrap_or(u16::MAX))),
    }
}

/// Profiles in the order of how much they forbid.
fn strictness(profile: Profile) -> u8 {
    match profile {
        Profile::None => 0,
        Profile::Default => 1,
        Profile::Strict => 2,
    }
}
