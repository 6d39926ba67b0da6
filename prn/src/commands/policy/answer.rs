//! What the root half would say to a client, by the function that it decides with.

use std::ffi::CString;

use prn_launch::access::message::{
    Input, Keeping, OutputStore, Overflow, ProcessSpec, Profile, Retention, StartSpec,
};
use prn_launch::access::policy::{Denial, Policy, Role, Starter, Verb};
use prn_launch::access::search;
use prn_launch::access::types::{
    AccessName, Argv, Invalid, Labels, Limits, Millis, Paths, ProcessId, UnixMicros, UserName,
};

/// The least output that can be asked to be kept.
const OUTPUT: u64 = 65_536;

/// What is said.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The role that decides. `None`: there is no such client.
    pub role: Option<(&'a AccessName, &'a Role)>,
    /// The place of the rule that describes the program, or why the answer is no.
    pub decision: Result<Option<usize>, Denial>,
}

/// Decides now, for a client that has no process yet. A command sets no variable, asks for no
/// limit, and starts in a directory of its own.
///
/// # Errors
/// The command is none that a process could have.
pub fn answer<'a>(
    policy: &'a Policy,
    client: &AccessName,
    verb: Verb,
    owner: &AccessName,
    command: Vec<CString>,
    user: Option<UserName>,
) -> Result<Answer<'a>, Invalid> {
    let now = UnixMicros::now();
    let principal = policy.principals.get(client);
    let role = principal.and_then(|principal| policy.roles.get_key_value(&principal.role));
    let decision = if command.is_empty() {
        policy
            .may_with(client, verb, Some(owner), now)
            .map(|_| None)
    } else {
        let starter = Starter {
            principal: client,
            processes: 0,
            now,
        };
        let name = command.first().map_or(&[][..], |name| name.to_bytes());
        let candidates = search::candidates(name, &[]).unwrap_or_default();
        let least = role.map_or(Profile::Default, |(_, role)| role.profile);
        let spec = spec(command, user, least)?;
        let may = policy.may_start(starter, &spec, &candidates);
        may.map(|grant| grant.rule)
    };
    Ok(Answer { role, decision })
}

/// A start that asks for nothing but this, as that user, confined as the role wants it at least.
fn spec(argv: Vec<CString>, user: Option<UserName>, least: Profile) -> Result<StartSpec, Invalid> {
    Ok(StartSpec {
        id: ProcessId::from_bytes([0; 16]),
        process: ProcessSpec {
            argv: Argv::try_from(argv)?,
            working_directory: None,
            limits: Limits::default(),
            best_effort_limits: false,
            input: Input::Nothing,
            output: Keeping {
                max: OUTPUT,
                overflow: Overflow::DropOldest,
                store: OutputStore::Memory,
            },
            timeout: None,
            stop_grace: Millis::try_from(0)?,
            linger: false,
            profile: match least {
                Profile::None | Profile::Default => Profile::Default,
                Profile::Strict => Profile::Strict,
            },
            paths: Paths::default(),
            user,
            workspace: None,
            name: None,
            labels: Labels::default(),
            deadline: None,
            lease: None,
            retention: Retention::default(),
        },
        variables: Vec::new(),
        expect: None,
        signature: None,
        requested: None,
    })
}
