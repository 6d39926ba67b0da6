//! Where in etcd what is: `v1/fleet.proto` has the list.

use std::time::{Duration, SystemTime};

use crate::error::FleetError;

/// Most characters of a name.
pub const NAME_MAX: usize = 63;

/// Most characters of a key: more than two names, an id and what is between them.
pub(crate) const KEY_MAX: usize = 256;

/// How keys of all fleets begin.
const PREFIX: &str = "/prn/";

/// Of what a key is, in any fleet: "jobs", "queue" and so on.
pub(crate) fn kind(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)?.split('/').nth(1)
}

/// Whether this can be the name of a fleet or of a host: 1 to 63 lower-case letters, digits, '-' and
/// '.', first a letter or a digit.
pub fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let first = text.bytes().next().is_some_and(is_plain);
    let others = |byte: u8| is_plain(byte) || byte == b'-' || byte == b'.';
    first && text.len() <= NAME_MAX && text.bytes().all(others)
}

/// The keys of one fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Of the fleet of this name.
    ///
    /// # Errors
    /// [`FleetError::Name`].
    pub fn new(fleet: &str) -> Result<Self, FleetError> {
        if !is_name(fleet) {
            return Err(FleetError::Name(fleet.to_owned()));
        }
        Ok(Self {
            prefix: format!("{PREFIX}{fleet}/"),
        })
    }

    /// The fleet's name.
    pub fn fleet(&self) -> &str {
        let name = self.prefix.strip_prefix(PREFIX);
        name.and_then(|name| name.strip_suffix('/'))
            .unwrap_or_default()
    }

    /// How all of them begin.
    pub fn all(&self) -> &str {
        &self.prefix
    }

    /// Of a host. Of all, without a name.
    pub fn host(&self, name: &str) -> String {
        format!("{}hosts/{name}", self.prefix)
    }

    /// Of the wish that a host takes no more.
    pub fn drain(&self, name: &str) -> String {
        format!("{}drain/{name}", self.prefix)
    }

    /// Of the agent that looks after what others have lost.
    pub fn keeper(&self) -> String {
        format!("{}keeper", self.prefix)
    }

    /// Of what the fleet was set up with.
    pub fn settings(&self) -> String {
        format!("{}settings", self.prefix)
    }

    /// Of a job. Of all, without an id.
    pub fn job(&self, id: &str) -> String {
        format!("{}jobs/{id}", self.prefix)
    }

    /// Of a job that waits. Of all, without an id.
    pub fn waiting(&self, id: &str) -> String {
        format!("{}queue/{id}", self.prefix)
    }

    /// Of a claim. Of all, without an id.
    pub fn claim(&self, id: &str) -> String {
        format!("{}claims/{id}", self.prefix)
    }

    /// Of what became of a host's claim. Of all of the host's, without an id.
    pub fn outcome(&self, host: &str, id: &str) -> String {
        format!("{}outcomes/{host}/{id}", self.prefix)
    }

    /// Of all outcomes.
    pub fn outcomes(&self) -> String {
        format!("{}outcomes/", self.prefix)
    }

    /// Of what a host knows of a claim that was taken from it.
    pub fn late(&self, host: &str, id: &str) -> String {
        format!("{}late/{host}/{id}", self.prefix)
    }

    /// Of all of these.
    pub fn lates(&self) -> String {
        format!("{}late/", self.prefix)
    }

    /// The host and the job's id, by the key of an outcome: what is beside those keys is not prn's.
    pub fn of_outcome<'a>(&self, key: &'a str) -> Option<(&'a str, &'a str)> {
        hosts_job(key.strip_prefix(&self.outcomes())?)
    }

    /// The same by the key of what a host knows late.
    pub fn of_late<'a>(&self, key: &'a str) -> Option<(&'a str, &'a str)> {
        hosts_job(key.strip_prefix(&self.lates())?)
    }

    /// The job's id, by the key of one that waits, likewise.
    pub fn of_waiting<'a>(&self, key: &'a str) -> Option<&'a str> {
        let id = key.strip_prefix(&self.waiting(""))?;
        (!id.contains('/')).then_some(id)
    }

    /// Of the end of a job, by its time.
    pub fn finished(&self, at: SystemTime, id: &str) -> String {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let micros = since.unwrap_or_default().as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        format!("{}finished/{micros:016x}-{id}", self.prefix)
    }

    /// Of all ends.
    pub fn all_finished(&self) -> String {
        format!("{}finished/", self.prefix)
    }

    /// When a job ended and which, by the key of its end.
    pub fn of_finished<'a>(&self, key: &'a str) -> Option<(SystemTime, &'a str)> {
        let name = key.strip_prefix(&self.all_finished())?;
        let (micros, id) = name.split_once('-')?;
        let since = Duration::from_micros(u64::from_str_radix(micros, 16).ok()?);
        Some((SystemTime::UNIX_EPOCH.checked_add(since)?, id))
    }
}

/// HOST/ID.
fn hosts_job(text: &str) -> Option<(&str, &str)> {
    let (host, id) = text.split_once('/')?;
    (is_name(host) && !id.contains('/')).then_some((host, id))
}

/// What comes behind the last slash: a host's name, or a job's id.
pub fn last(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_keys_and_no_others() {
        for good in ["a", "web-1.example", "9"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "-a", ".a", "a/b", "a b", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_host_is_named_by_its_own_keys_alone() {
        let keys = Keys::new("prod").unwrap();
        assert_eq!(
            keys.of_outcome(&keys.outcome("web1", "a")),
            Some(("web1", "a"))
        );
        assert_eq!(keys.of_late(&keys.late("web1", "a")), Some(("web1", "a")));
        assert_eq!(keys.of_waiting(&keys.waiting("a")), Some("a"));
        // What the role of web2's agent may write as well.
        assert_eq!(keys.of_outcome(&keys.outcome("web2/web1", "a")), None);
        assert_eq!(keys.of_outcome(&keys.outcome("web2", "web1/a")), None);
        assert_eq!(keys.of_late(&keys.outcome("web1", "a")), None);
        assert_eq!(keys.of_waiting(&keys.waiting("x/a")), None);
    }

    #[test]
    fn an_end_is_found_by_its_time() {
        let keys = Keys::new("prod").unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        assert_eq!(keys.fleet(), "prod");
        let key = keys.finished(at, "abc");
        assert_eq!(keys.of_finished(&key), Some((at, "abc")));
        assert!(key < keys.finished(at + Duration::from_secs(1), "abb"));
        assert_eq!(keys.of_finished("/prn/other/finished/00-x"), None);
    }
}
