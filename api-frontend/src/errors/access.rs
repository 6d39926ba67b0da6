//! What the policy says no to.

use prn_ipc_protocol::message::Profile;
use prn_ipc_protocol::policy::{Denial, Verb};
use prn_proto::reason::{self, metadata as key};
use tonic::{Code, Status};

use crate::errors::build::{bad_field, error};

/// Who asks may not do that.
pub fn denied(denial: Denial) -> Status {
    match denial {
        Denial::Unknown => principal("the server's operator has taken this client off its list"),
        Denial::Expired => {
            principal("the server's operator let this client in until a time that has passed")
        }
        Denial::Verb(verb) => not_allowed(verb, "this client's role does not allow it"),
        Denial::Reach(verb) => not_allowed(
            verb,
            "this client's role allows it for processes and workspaces of its own or its group's alone",
        ),
        Denial::Hours(next) => {
            let message = format!(
                "outside the hours of this client's role: {next} next; what there is can be listed, read and stopped meanwhile"
            );
            error(
                Code::PermissionDenied,
                reason::OUTSIDE_HOURS,
                message,
                &[],
                |_| {},
            )
        }
        Denial::Program => of_start(
            "args",
            "no rule of this client's role describes this program with these arguments",
        ),
        Denial::Variable(place) => of_start(
            &format!("environment[{place}]"),
            "this client's role, which rules what it may start, does not let this variable be set",
        ),
        Denial::Directory => of_start(
            "working_directory",
            "this client's role, which rules what it may start, allows no other directory than the process's own",
        ),
        Denial::Workspace => of_start(
            "workspace",
            "this client's role, which rules what it may start, allows no workspace",
        ),
        Denial::Paths => of_start(
            "paths",
            "this client's role, which rules what it may start, allows no directory to be seen in another way",
        ),
        Denial::Profile(least) => {
            let least = match least {
                Profile::None => "none",
                Profile::Default => "default",
                Profile::Strict => "strict",
            };
            let why = format!("this client's role wants profile {least} at least");
            of_start("profile", &why)
        }
        Denial::User => of_start(
            "user",
            "this client's role does not allow this user of the server's machine: `users` of the role names those that it \
             does",
        ),
        Denial::Output(most) => of_start(
            "output_max_bytes",
            &format!("this client's role lets {most} bytes be kept at most"),
        ),
        Denial::Processes(most) => {
            let message = format!(
                "this client has {most} processes, which is the most that its role allows: stop one, or wait for its end"
            );
            let metadata = [(key::MAX, most.to_string())];
            error(
                Code::ResourceExhausted,
                reason::TOO_MANY_PROCESSES,
                message,
                &metadata,
                |_| {},
            )
        }
    }
}

fn principal(why: &str) -> Status {
    let message = format!("{why}: it needs a [[client]] there, or a later not-after");
    error(
        Code::PermissionDenied,
        reason::NOT_ALLOWED,
        message,
        &[],
        |_| {},
    )
}

fn not_allowed(verb: Verb, why: &str) -> Status {
    let message = format!("{verb}: {why}; `prn can-i` says what it does allow");
    let metadata = [(key::VERB, verb.to_string())];
    error(
        Code::PermissionDenied,
        reason::NOT_ALLOWED,
        message,
        &metadata,
        |_| {},
    )
}

fn of_start(field: &str, why: &str) -> Status {
    bad_field(
        Code::PermissionDenied,
        reason::START_NOT_ALLOWED,
        field,
        why,
        &[],
    )
}
