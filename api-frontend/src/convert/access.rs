//! What CheckAccess asks, and what it is told.

use prn_ipc_protocol::message::{ProcessSpec, Profile, Startable};
use prn_ipc_protocol::policy::{Program, Programs, Reach, Role, VERBS, Verb};
use prn_ipc_protocol::types::{Millis, ProcessId, UnixMicros};
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::time::duration;
use crate::convert::{enums, id, limits, names};

/// What is asked.
#[derive(Debug, PartialEq)]
pub enum Question {
    /// What the role is.
    Role,
    /// Whether it allows this.
    Verb(Verb),
    /// Whether it allows this with a process.
    Process(Verb, ProcessId),
    /// Whether it allows this start.
    Start(Box<v1::StartRequest>),
}

/// What a request asks.
pub fn question(raw: v1::CheckAccessRequest) -> Result<Question, Violations> {
    let verb = asked_verb(raw.verb)?;
    match (raw.start, raw.process) {
        (Some(_), Some(_)) => {
            let why = "must be absent where there is a start";
            Err(InvalidField::new("process", why).into())
        }
        (Some(start), None) => match verb {
            None | Some(Verb::Start) => Ok(Question::Start(Box::new(start))),
            Some(_) => {
                let why = "must be VERB_START or absent where there is a start";
                Err(InvalidField::new("verb", why).into())
            }
        },
        (None, Some(process)) => match verb {
            Some(verb) => Ok(Question::Process(
                verb,
                id::parsed(&process.id, "process.id")?,
            )),
            None => {
                let why = "must be there where there is a process";
                Err(InvalidField::new("verb", why).into())
            }
        },
        (None, None) => Ok(verb.map_or(Question::Role, Question::Verb)),
    }
}

fn asked_verb(raw: i32) -> Result<Option<Verb>, InvalidField> {
    if raw == v1::Verb::Unspecified.into() {
        return Ok(None);
    }
    let verb = VERBS
        .into_iter()
        .find(|verb| i32::from(shown_verb(*verb)) == raw);
    verb.map(Some)
        .ok_or_else(|| InvalidField::new("verb", "is none that this server knows"))
}

fn shown_verb(verb: Verb) -> v1::Verb {
    match verb {
        Verb::Start => v1::Verb::Start,
        Verb::Stop => v1::Verb::Stop,
        Verb::Signal => v1::Verb::Signal,
        Verb::Output => v1::Verb::Output,
        Verb::Input => v1::Verb::Input,
        Verb::List => v1::Verb::List,
        Verb::Workspace => v1::Verb::Workspace,
        Verb::Admin => v1::Verb::Admin,
    }
}

/// What a role says beside them: when, which programs, and as whom.
pub fn bounded(role: &Role, now: UnixMicros) -> v1::CheckAccessResponse {
    let (any_program, programs) = match &role.programs {
        Programs::Any => (true, Vec::new()),
        Programs::Ruled { rules, .. } => (false, rules.iter().map(shown_rule).collect()),
    };
    v1::CheckAccessResponse {
        hours: role.hours.iter().map(ToString::to_string).collect(),
        outside_hours: role.closed(now).is_some(),
        any_program,
        programs,
        users: role.users.iter().map(ToString::to_string).collect(),
        ..v1::CheckAccessResponse::default()
    }
}

fn shown_rule(rule: &Program) -> String {
    let words = std::iter::once(&rule.path).chain(&rule.words);
    let mut words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    if rule.is_beginning {
        words.push("...".into());
    }
    words.join(" ")
}

/// A role's verbs, and its reach.
pub fn shown_role(role: &Role) -> (Vec<i32>, v1::Reach) {
    let verbs = VERBS.into_iter().filter(|verb| role.verbs.contains(verb));
    let reach = match role.reach {
        Reach::Own => v1::Reach::Own,
        Reach::Group => v1::Reach::Group,
        Reach::All => v1::Reach::All,
    };
    (verbs.map(|verb| shown_verb(verb).into()).collect(), reach)
}

/// What the frontend has filled in of a start.
#[derive(Debug, Clone, Copy)]
pub struct FilledIn {
    output_max: u64,
    stop_grace: Millis,
    profile: Profile,
}

impl From<&ProcessSpec> for FilledIn {
    fn from(spec: &ProcessSpec) -> Self {
        Self {
            output_max: spec.output.max,
            stop_grace: spec.stop_grace,
            profile: spec.profile,
        }
    }
}

/// What a start would come to.
pub fn startable(startable: &Startable, filled_in: FilledIn) -> v1::Startable {
    let candidates = startable.candidates.iter();
    v1::Startable {
        rule: startable.rule.map(u32::from),
        limits: Some(limits::shown(&startable.limits)),
        candidates: candidates
            .map(|path| path.to_string_lossy().into_owned())
            .collect(),
        working_directory: startable.working_directory.to_string_lossy().into_owned(),
        digest: startable.digest.to_string(),
        uid: startable.uid,
        output_max_bytes: filled_in.output_max,
        stop_grace: Some(duration(filled_in.stop_grace)),
        profile: enums::shown_profile(filled_in.profile).into(),
        user: names::shown_user(startable.user.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(verb: v1::Verb, process: Option<&str>, start: bool) -> Result<Question, Vec<String>> {
        let raw = v1::CheckAccessRequest {
            verb: verb.into(),
            process: process.map(|id| v1::ProcessIdentifier { id: id.to_owned() }),
            start: start.then(v1::StartRequest::default),
        };
        question(raw).map_err(|violations| {
            let fields = violations.fields();
            fields.map(|invalid| invalid.field.clone()).collect()
        })
    }

    #[test]
    fn what_is_asked_is_one_thing() {
        use v1::Verb as Api;
        let (id, bytes) = ("aa".repeat(16), ProcessId::from_bytes([0xaa; 16]));
        let start = || Ok(Question::Start(Box::default()));
        let invalid = |field: &str| Err(vec![field.to_owned()]);
        assert_eq!(asked(Api::Unspecified, None, false), Ok(Question::Role));
        for verb in VERBS {
            let expected = Ok(Question::Verb(verb));
            assert_eq!(asked(shown_verb(verb), None, false), expected);
        }
        let process = Ok(Question::Process(Verb::Stop, bytes));
        assert_eq!(asked(Api::Stop, Some(&id), false), process);
        assert_eq!(asked(Api::Unspecified, None, true), start());
        assert_eq!(asked(Api::Start, None, true), start());
        assert_eq!(asked(Api::Stop, None, true), invalid("verb"));
        assert_eq!(asked(Api::Unspecified, Some(&id), false), invalid("verb"));
        assert_eq!(asked(Api::Stop, Some("x"), false), invalid("process.id"));
        assert_eq!(asked(Api::Start, Some(&id), true), invalid("process"));
    }
}
