//! What GetOutput asks for.

use prn_ipc_protocol::output::Stream;
use prn_ipc_protocol::types::{ProcessId, UnixMicros};
use prn_proto::{Tail, v1};

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::time::maybe;
use crate::convert::{enums, id};

/// What a client asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Which part of the output.
    pub part: Part,
    /// Gap, begin and end frames, offset and time of data, and what was skipped.
    pub control_frames: bool,
    /// End at what is there already.
    pub no_follow: bool,
    /// The process waits for this client, if it waits for any.
    pub is_follower: bool,
    /// End after so many bytes of data.
    pub max_bytes: Option<u64>,
}

/// What part of an output is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Not before this offset.
    pub from: u64,
    /// What was read at this time or later.
    pub since: Option<UnixMicros>,
    /// What was read before this time.
    pub until: Option<UnixMicros>,
    /// The end of what the other fields select.
    pub tail: Option<Tail>,
    /// This stream alone.
    pub only: Option<Stream>,
}

impl Part {
    /// Where it begins or ends has to be looked for.
    pub fn is_sought(&self) -> bool {
        self.since.is_some() || self.until.is_some() || self.tail.is_some()
    }
}

/// What a request of the time `now` asks for, and of which process.
pub fn wanted(
    raw: &v1::GetOutputRequest,
    now: UnixMicros,
) -> Result<(ProcessId, Wanted), Violations> {
    let mut violations = Violations::default();
    let wanted = part(raw, now, &mut violations).map(|part| Wanted {
        part,
        control_frames: raw.control_frames,
        no_follow: raw.no_follow,
        is_follower: raw.follower,
        max_bytes: raw.max_bytes,
    });
    let id = violations.check(id::named(raw.process_identifier.clone()));
    match (id, wanted) {
        (Some(id), Some(wanted)) => Ok((id, wanted)),
        _ => Err(violations),
    }
}

fn part(raw: &v1::GetOutputRequest, now: UnixMicros, violations: &mut Violations) -> Option<Part> {
    let since = violations.check(maybe(raw.since.as_ref(), "since", now));
    let until = violations.check(maybe(raw.until.as_ref(), "until", now));
    let since = since.and_then(|since| violations.check(check_since(since, now)));
    let until = until.and_then(|until| violations.check(check_until(until, since.flatten())));
    let tail = Tail::of(raw).map_err(|why| InvalidField::new("tail_bytes", why));
    let tail = violations.check(tail);
    let from = violations.check(check_from_offset(raw));
    let only = violations.check(enums::asked_stream(raw.only));
    Some(Part {
        from: from?,
        since: since?,
        until: until?,
        tail: tail?,
        only: only?,
    })
}

fn check_since(
    since: Option<UnixMicros>,
    now: UnixMicros,
) -> Result<Option<UnixMicros>, InvalidField> {
    if since.is_some_and(|since| since > now) {
        return Err(InvalidField::new(
            "since",
            "must not be in the future by the server's clock; `ago` needs no clock of the client's",
        ));
    }
    Ok(since)
}

fn check_until(
    until: Option<UnixMicros>,
    since: Option<UnixMicros>,
) -> Result<Option<UnixMicros>, InvalidField> {
    match (since, until) {
        (Some(since), Some(until)) if until <= since => {
            Err(InvalidField::new("until", "must be later than since"))
        }
        _ => Ok(until),
    }
}

fn check_from_offset(raw: &v1::GetOutputRequest) -> Result<u64, InvalidField> {
    let begins_elsewhere =
        raw.since.is_some() || raw.tail_lines.is_some() || raw.tail_bytes.is_some();
    if raw.from_offset > 0 && begins_elsewhere {
        let why = "must not stand together with since, tail_lines or tail_bytes; to go on after those, leave them out";
        return Err(InvalidField::new("from_offset", why));
    }
    Ok(raw.from_offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_proto::v1::output_time::At;

    fn asked(raw: v1::GetOutputRequest) -> Result<Part, Violations> {
        let process_identifier = Some(v1::ProcessIdentifier { id: "0".repeat(32) });
        let raw = v1::GetOutputRequest {
            process_identifier,
            ..raw
        };
        wanted(&raw, NOW).map(|(_, wanted)| wanted.part)
    }

    fn fields(raw: v1::GetOutputRequest) -> Vec<String> {
        let violations = asked(raw).unwrap_err();
        violations
            .fields()
            .map(|fault| fault.field.clone())
            .collect()
    }

    #[test]
    fn all_malformed_fields_of_a_subscription_are_named_at_once() {
        let raw = v1::GetOutputRequest {
            from_offset: 1,
            since: Some(v1::OutputTime::default()),
            tail_lines: Some(1),
            tail_bytes: Some(1),
            only: 9,
            ..Default::default()
        };
        assert_eq!(fields(raw), ["since", "tail_bytes", "from_offset", "only"]);
        assert_eq!(
            wanted(&v1::GetOutputRequest::default(), NOW)
                .unwrap_err()
                .fields()
                .count(),
            1
        );
    }

    const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);

    fn time(seconds: i64, nanos: i32) -> Option<v1::OutputTime> {
        Some(v1::OutputTime {
            at: Some(At::Time(prost_types::Timestamp { seconds, nanos })),
        })
    }

    fn ago(seconds: i64, nanos: i32) -> Option<v1::OutputTime> {
        Some(v1::OutputTime {
            at: Some(At::Ago(prost_types::Duration { seconds, nanos })),
        })
    }

    #[test]
    fn times_of_output_are_instants_or_spans_before_the_servers_now() {
        let since = |since| {
            asked(v1::GetOutputRequest {
                since,
                ..Default::default()
            })
            .unwrap()
            .since
        };
        assert_eq!(since(None), None);
        assert_eq!(
            since(time(1_600_000_000, 123_456_789)),
            Some(UnixMicros(1_600_000_000_123_456))
        );
        assert_eq!(since(time(-5, 0)), Some(UnixMicros(0)));
        assert_eq!(
            since(ago(600, 500_000_000)),
            Some(UnixMicros(1_699_999_399_500_000))
        );
        assert_eq!(since(ago(0, 0)), Some(NOW));
        assert_eq!(
            since(ago(315_576_000_000, 0)),
            Some(UnixMicros(0)),
            "longer ago than there are times"
        );
        let until = v1::GetOutputRequest {
            until: time(253_402_300_799, 0),
            ..Default::default()
        };
        assert_eq!(
            asked(until).unwrap().until,
            Some(UnixMicros(253_402_300_799_000_000))
        );
    }

    #[test]
    fn an_output_request_that_contradicts_itself_is_refused_by_field() {
        let base = v1::GetOutputRequest::default;
        let field = |raw: v1::GetOutputRequest| {
            let [field] = fields(raw).try_into().unwrap();
            field
        };
        assert_eq!(
            field(v1::GetOutputRequest {
                since: time(1_700_000_001, 0),
                ..base()
            }),
            "since"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                since: Some(v1::OutputTime::default()),
                ..base()
            }),
            "since"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                since: time(0, -1),
                ..base()
            }),
            "since.time"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                until: time(253_402_300_800, 0),
                ..base()
            }),
            "until.time"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                until: ago(-1, 0),
                ..base()
            }),
            "until.ago"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                since: ago(60, 0),
                until: ago(60, 0),
                ..base()
            }),
            "until"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                tail_lines: Some(1),
                tail_bytes: Some(1),
                ..base()
            }),
            "tail_bytes"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                from_offset: 1,
                tail_lines: Some(0),
                ..base()
            }),
            "from_offset"
        );
        assert_eq!(
            field(v1::GetOutputRequest {
                from_offset: 1,
                since: ago(1, 0),
                ..base()
            }),
            "from_offset"
        );
        assert_eq!(field(v1::GetOutputRequest { only: 3, ..base() }), "only");
        // What is sent to go on after a stream was cut off.
        let resumed = v1::GetOutputRequest {
            from_offset: 1,
            until: ago(1, 0),
            only: 2,
            ..base()
        };
        assert_eq!(asked(resumed).unwrap().only, Some(Stream::Stderr));
    }
}
