//! What is in JSON and in no type of the client library.

use prn_launch::Finding;
use serde::Serialize;

/// What `prn server check` has found.
#[derive(Debug, Serialize)]
pub struct CheckJson<'a> {
    pub can_start: bool,
    pub findings: &'a [Finding],
}

#[cfg(test)]
mod tests {
    use prn_client::{ExitKind, Process};
    use prn_proto::v1;

    fn process(id: &str, command: &str, status: v1::ProcessStatus) -> Process {
        let status = v1::ProcessStatus {
            command: command.to_owned(),
            ..status
        };
        Process::try_from(v1::Process {
            id: Some(v1::ProcessIdentifier { id: id.to_owned() }),
            status: Some(status),
        })
        .unwrap()
    }

    #[test]
    fn causes_have_one_name_in_json_and_elsewhere() {
        for kind in [
            ExitKind::Exited,
            ExitKind::Signalled,
            ExitKind::OomKilled,
            ExitKind::TimedOut,
            ExitKind::StoppedOnRequest,
            ExitKind::OutputLimit,
            ExitKind::DiskLimit,
            ExitKind::LeaseExpired,
            ExitKind::Unknown,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn json_has_times_cause_and_limits() {
        let status = v1::ProcessStatus {
            state: v1::ProcessState::Stopped.into(),
            exit_cause: Some(v1::ExitCause {
                kind: v1::exit_cause::Kind::OomKilled.into(),
                signal: 9,
                ..Default::default()
            }),
            main_exited: true,
            tree_empty: true,
            started_at: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 500_000_000,
            }),
            ..Default::default()
        };
        let value = process("fcd2310e7b9a462a5d88c3a0ff4e2d9b", "stress", status);
        let json = serde_json::to_value(&value).unwrap();
        assert_eq!(json["started_at"], "2023-11-14T22:13:20.5Z");
        assert_eq!(json["exit"]["cause"], "oom-killed");
        assert_eq!(json["exit"]["status"], 137);
        assert_eq!(json["exit"]["code"], serde_json::Value::Null);
        assert_eq!(json["state"], "stopped");
        assert_eq!(json["limits"]["memory_bytes"], serde_json::Value::Null);
    }
}
