//! What the supervisor says no to of workspaces.

use prn_ipc_protocol::types::WorkspaceName;
use prn_proto::reason::{self, metadata as key};
use tonic::{Code, Status};

use crate::errors::build::{error, precondition, quota};
use crate::workspaces::Workspace;

/// A name of no workspace.
pub fn workspace_not_found(name: &WorkspaceName) -> Status {
    let message = format!("no workspace has the name {name}");
    let why = "never created, or removed";
    of_workspace(
        Code::NotFound,
        reason::WORKSPACE_NOT_FOUND,
        message,
        name,
        why,
    )
}

/// The name is taken, by what is known of it.
pub fn exists(name: &WorkspaceName, known: Option<&Workspace>) -> Status {
    let is_leaving = known.is_some_and(|workspace| workspace.info.is_leaving);
    let (message, why) = if is_leaving {
        (
            format!(
                "the workspace {name} is still being removed: its name is free when nothing of it is left"
            ),
            "it is being removed",
        )
    } else {
        (
            format!("a workspace has the name {name}"),
            "it is there already",
        )
    };
    let code = Code::AlreadyExists;
    of_workspace(code, reason::WORKSPACE_EXISTS, message, name, why)
}

/// Nothing starts in it any more.
pub fn leaving(name: &WorkspaceName) -> Status {
    let why = "it is being removed, and nothing starts in it";
    precondition(
        reason::WORKSPACE_LEAVING,
        ("WORKSPACE", name.as_str()),
        why,
        format!("workspace {name}: {why}"),
        &[(key::WORKSPACE, name.to_string())],
    )
}

/// So many processes live in it.
pub fn in_use(name: &WorkspaceName, processes: u32) -> Status {
    let why = match processes {
        1 => "1 process lives in it; stop_processes stops it first".to_owned(),
        more => format!("{more} processes live in it; stop_processes stops them first"),
    };
    precondition(
        reason::WORKSPACE_IN_USE,
        ("WORKSPACE", name.as_str()),
        &why,
        format!("workspace {name}: {why}"),
        &[
            (key::WORKSPACE, name.to_string()),
            (key::PROCESSES, processes.to_string()),
        ],
    )
}

/// There are as many as may be.
pub fn too_many(max: u32) -> Status {
    let message = match max {
        0 => "this server has no workspaces: --max-workspaces of prn server start is 0, or its machine allows none (`prn \
              server check` there says so)"
            .to_owned(),
        max => format!(
            "there are {max} workspaces, which is the server's limit: remove one, or --max-workspaces of prn server \
             start raises it"
        ),
    };
    let metadata = [
        (key::LIMIT, "max-workspaces".to_owned()),
        (key::MAX, max.to_string()),
    ];
    quota(
        reason::TOO_MANY_WORKSPACES,
        "max-workspaces",
        message,
        &metadata,
    )
}

fn of_workspace(
    code: Code,
    reason: &str,
    message: String,
    name: &WorkspaceName,
    why: &str,
) -> Status {
    let metadata = [(key::WORKSPACE, name.to_string())];
    error(code, reason, message, &metadata, |details| {
        details.set_resource_info("proto.v1.Workspace", name.to_string(), "", why);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspaces::tests::{name, workspace};
    use std::sync::Arc;

    #[test]
    fn a_taken_name_says_whether_it_will_be_free() {
        let known = |is_leaving| {
            let mut info = workspace("w");
            info.is_leaving = is_leaving;
            let info = Arc::new(info);
            exists(&name("w"), Some(&Workspace { info, processes: 0 }))
        };
        assert_eq!(known(false).message(), "a workspace has the name w");
        assert!(known(true).message().contains("still being removed"));
        assert_eq!(known(true).code(), Code::AlreadyExists);
    }

    #[test]
    fn where_there_may_be_no_workspace_none_is_to_be_removed() {
        assert!(too_many(2).message().contains("remove one"));
        let none = too_many(0);
        assert!(!none.message().contains("remove one"));
        assert!(none.message().contains("prn server check"));
    }

    #[test]
    fn who_is_in_the_way_is_counted() {
        let said = |processes| in_use(&name("w"), processes).message().to_owned();
        assert!(said(1).contains("1 process lives in it; stop_processes "));
        assert!(said(20).contains("20 processes live in it"));
    }
}
