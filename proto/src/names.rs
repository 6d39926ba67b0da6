//! How what there is a fixed list of is called in text: in JSON, metrics, traces and the audit.

use tonic::Code;

use crate::v1::exit_cause::Kind;

/// Why a main process ended, as in `"cause": "oom-killed"` of JSON.
pub fn cause(cause: Kind) -> &'static str {
    match cause {
        Kind::Exited => "exited",
        Kind::Signalled => "signalled",
        Kind::OomKilled => "oom-killed",
        Kind::TimedOut => "timed-out",
        Kind::StoppedOnRequest => "stopped-on-request",
        Kind::OutputLimit => "output-limit",
        Kind::DiskLimit => "disk-limit",
        Kind::LeaseExpired => "lease-expired",
        Kind::ExecFailed => "exec-failed",
        Kind::Lost => "lost",
        Kind::Unspecified => "unknown",
    }
}

/// A status code as gRPC writes it (grpc.io/docs/guides/status-codes).
pub fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the schema spells it, which prost has from the descriptor.
    #[test]
    fn causes_are_called_as_in_the_schema() {
        let named = (1..).map_while(|number| Kind::try_from(number).ok());
        let mut count = 0;
        for kind in named {
            let name = kind.as_str_name().to_ascii_lowercase().replace('_', "-");
            assert_eq!(cause(kind), name);
            count += 1;
        }
        assert!(count >= 10, "{count}");
    }

    /// As tonic's variants, in the letters of gRPC.
    #[test]
    fn codes_are_called_as_grpc_does() {
        for number in 0..=16 {
            let name = code(Code::from(number));
            assert_eq!(
                name.replace('_', ""),
                format!("{:?}", Code::from(number)).to_uppercase()
            );
        }
    }
}
