//! What a client may do.

use std::fmt;
use std::time::Duration;

use prn_proto::id::ProcessId;
use prn_proto::v1;

use crate::choices::Profile;
use crate::client::Client;
use crate::error::ClientError;
use crate::limits::Limits;
use crate::server::SignedStarts;
use crate::start::StartSpec;
use crate::wire::from_wire_duration;

/// Something that a client's role allows or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Verb {
    /// Start processes, and change the limits, labels and lease of one
    Start,
    /// Stop processes, and remove finished ones
    Stop,
    /// Send signals to processes, pause and resume them
    Signal,
    /// Read the output of processes
    Output,
    /// Feed the input of processes, and size their terminals
    Input,
    /// See processes and workspaces, and what they take of the machine
    List,
    /// Make and remove workspaces
    Workspace,
    /// See what the server says of itself and of others beyond that
    Admin,
}

/// Verbs as they are called, and as they are sent.
const VERBS: [(Verb, &str, v1::Verb); 8] = [
    (Verb::Start, "start", v1::Verb::Start),
    (Verb::Stop, "stop", v1::Verb::Stop),
    (Verb::Signal, "signal", v1::Verb::Signal),
    (Verb::Output, "output", v1::Verb::Output),
    (Verb::Input, "input", v1::Verb::Input),
    (Verb::List, "list", v1::Verb::List),
    (Verb::Workspace, "workspace", v1::Verb::Workspace),
    (Verb::Admin, "admin", v1::Verb::Admin),
];

impl Verb {
    fn to_wire(self) -> v1::Verb {
        let known = VERBS.into_iter().find(|(verb, ..)| *verb == self);
        known.map_or(v1::Verb::Unspecified, |(.., wire)| wire)
    }

    fn from_wire(raw: i32) -> Option<Self> {
        let known = VERBS.into_iter().find(|(.., wire)| i32::from(*wire) == raw);
        known.map(|(verb, ..)| verb)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = VERBS.into_iter().find(|(verb, ..)| verb == self);
        f.write_str(known.map_or("", |(_, name, _)| name))
    }
}

/// Whose processes and workspaces a role is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Reach {
    /// The client's own.
    Own,
    /// Those of all clients of its group.
    Group,
    /// All.
    All,
}

/// What is asked: whether the client may do it.
#[derive(Debug, Clone, Copy)]
pub enum AccessQuestion<'a> {
    /// Anything at all.
    Anything,
    /// This, with what its role is about.
    Verb(Verb),
    /// This, with a process.
    Process(Verb, ProcessId),
    /// Start this.
    Start(&'a StartSpec),
}

/// What the client may do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Access {
    /// It may do what was asked.
    pub allowed: bool,
    /// The name that the server knows the client by.
    pub principal: String,
    /// The name of its role.
    pub role: String,
    /// What that allows.
    pub verbs: Vec<Verb>,
    /// Of whose processes and workspaces.
    pub reach: Option<Reach>,
    /// Why it may not.
    pub why: Option<String>,
    /// The same for programs: the reason of the error that the call itself would have.
    pub reason: Option<String>,
    /// What a start that it may make would come to.
    pub start: Option<Startable>,
    /// How its starts are signed, if the server says.
    pub signed_starts: Option<SignedStarts>,
    /// When its role lets it change something, in UTC: "Mon-Fri 08:00-18:00". Empty: at any time,
    /// or the server does not say.
    pub hours: Vec<String>,
    /// It is none of these now: it may list, read output and stop.
    pub outside_hours: bool,
    /// What it may start: each a path and its words, "..." where others may follow. `None`:
    /// anything, or the server does not say.
    pub programs: Option<Vec<String>>,
    /// Users of the server's machine that it may start something as.
    pub users: Vec<String>,
}

/// What a start would come to. Whether the program is there, and may be executed by its user, is found
/// only when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Startable {
    /// The rule of the role that describes the program, by its place in the server's configuration, from
    /// 0. `None`: the role allows all programs.
    pub rule: Option<u32>,
    /// The limits that the process would have.
    pub limits: Limits,
    /// Where the program would be looked for, in this order.
    pub candidates: Vec<String>,
    /// Where it would start.
    pub working_directory: String,
    /// The digest of all that, for [`StartSpec::expect_digest`], if the server says.
    pub digest: Option<String>,
    /// The numeric user id of its workspace, or of its user. `None`: one of its own.
    pub uid: Option<u32>,
    /// The user of the server's machine that it would run as.
    pub user: Option<String>,
    /// Most bytes of its output that would be kept, if the server says.
    pub output_max_bytes: Option<u64>,
    /// The time between SIGTERM and SIGKILL when it is stopped, if the server says.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::span"))]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub stop_grace: Option<Duration>,
    /// What would confine it, if the server says.
    pub profile: Option<Profile>,
}

/// Most characters of a client's name.
const NAME_MAX: usize = 64;

/// Whether it can be a client's name. Some are printed for an operator to type: what a server
/// that was taken over makes up must not get there.
fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(is_part)
        && text.len() <= NAME_MAX
}

impl TryFrom<v1::CheckAccessResponse> for Access {
    type Error = ClientError;

    fn try_from(raw: v1::CheckAccessResponse) -> Result<Self, ClientError> {
        if !is_name(&raw.principal) {
            return Err(ClientError::Protocol(
                "the server knows you by what is no client's name",
            ));
        }
        let reach = match raw.reach() {
            v1::Reach::Unspecified => None,
            v1::Reach::Own => Some(Reach::Own),
            v1::Reach::Group => Some(Reach::Group),
            v1::Reach::All => Some(Reach::All),
        };
        let said = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Self {
            allowed: raw.allowed,
            principal: raw.principal,
            role: raw.role,
            verbs: raw.verbs.into_iter().filter_map(Verb::from_wire).collect(),
            reach,
            why: said(raw.why),
            reason: said(raw.reason),
            start: raw.start.map(Startable::from),
            signed_starts: raw.signed_starts.map(SignedStarts::from),
            hours: raw.hours,
            outside_hours: raw.outside_hours,
            programs: Some(raw.programs).filter(|some| !raw.any_program && !some.is_empty()),
            users: raw.users,
        })
    }
}

impl From<v1::Startable> for Startable {
    fn from(raw: v1::Startable) -> Self {
        Self {
            rule: raw.rule,
            limits: raw.limits.map(Limits::from).unwrap_or_default(),
            candidates: raw.candidates,
            working_directory: raw.working_directory,
            digest: Some(raw.digest).filter(|digest| !digest.is_empty()),
            uid: raw.uid,
            user: Some(raw.user).filter(|name| !name.is_empty()),
            output_max_bytes: Some(raw.output_max_bytes).filter(|bytes| *bytes > 0),
            stop_grace: raw.stop_grace.and_then(from_wire_duration),
            profile: Profile::from_wire(raw.profile),
        }
    }
}

impl Client {
    /// What this client may do, and why it may not. Nothing is started, and nothing changes.
    ///
    /// # Errors
    /// As any call; for a process that is named, as [`Client::status`]. A server of before there was
    /// this call: [`ClientError::Refused`] with
    /// [`Code::Unimplemented`](crate::Code::Unimplemented).
    pub async fn check_access(&self, question: AccessQuestion<'_>) -> Result<Access, ClientError> {
        let of = |verb: Verb| v1::CheckAccessRequest {
            verb: verb.to_wire().into(),
            ..v1::CheckAccessRequest::default()
        };
        let request = match question {
            AccessQuestion::Anything => v1::CheckAccessRequest::default(),
            AccessQuestion::Verb(verb) => of(verb),
            AccessQuestion::Process(verb, id) => v1::CheckAccessRequest {
                process: Some(id.into()),
                ..of(verb)
            },
            AccessQuestion::Start(spec) => v1::CheckAccessRequest {
                start: Some(spec.try_into()?),
                ..of(Verb::Start)
            },
        };
        let response = self
            .repeatable(
                self.call_timeout,
                request,
                |mut service, request| async move { service.check_access(request).await },
            )
            .await?;
        response.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_of_the_api_has_a_name() {
        let sent = (0..).map_while(|raw| v1::Verb::try_from(raw).ok());
        for wire in sent.skip(1) {
            let verb = Verb::from_wire(wire.into()).unwrap();
            assert_eq!(verb.to_wire(), wire);
            let name = wire.as_str_name().strip_prefix("VERB_").unwrap();
            assert_eq!(verb.to_string(), name.to_lowercase());
        }
    }
}
