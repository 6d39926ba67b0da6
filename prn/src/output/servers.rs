//! How the server of this machine is, on standard output.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use prn_proto::units::show_size;
use serde::Serialize;

use super::data::print_data;
use super::descriptor::line;
use super::moments::{age_of, ago, local, rfc3339};
use super::rows::Rows;
use super::shown::escaped;
use crate::output::format::FormatFlag;

/// What `prn server status` tells.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServerStatus {
    /// The version of the supervisor that runs.
    pub version: String,
    /// The version of the program that asks.
    pub installed_version: &'static str,
    /// The supervisor's process number. `null`: it is in another PID namespace.
    pub pid: Option<i32>,
    /// When it was started, by this machine's clock.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub started_at: Option<SystemTime>,
    /// Seconds since then.
    pub uptime_seconds: Option<u64>,
    /// This run of the server: 32 hexadecimal digits.
    pub epoch: String,
    /// Its state folder.
    pub state_dir: PathBuf,
    /// Where it listens. `null`: it is another build than the program that asks, and so below.
    pub address: Option<String>,
    /// What is in force.
    pub configuration: StatusConfiguration,
    /// Who talks to clients.
    pub frontend: StatusFrontend,
    /// Processes that live, of as many as may.
    pub processes: Budget,
    /// Finished processes that are remembered, of as many as are.
    pub finished: Budget,
    /// Workspaces, of as many as there may be.
    pub workspaces: Budget,
    /// Bytes of output in memory that are kept or set aside, of all that may be.
    pub output_memory: Budget,
    /// The same, on disk.
    pub output_disk: Budget,
    /// Why a restart is pending: a program that runs is not the one that is installed. `null`: it
    /// is not.
    pub restart_pending: Option<String>,
}

/// Which configuration is in force.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StatusConfiguration {
    /// Its number: that of the start was 1.
    pub number: u32,
    /// When it was handed over.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub since: Option<SystemTime>,
}

/// The half that talks to clients.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StatusFrontend {
    /// One is there that has said that it serves.
    pub serves: bool,
    /// Its process number, if it is there.
    pub pid: Option<i32>,
    /// How many have ended unasked, and were replaced.
    pub ended: u32,
    /// When the last one of these did.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub last_ended_at: Option<SystemTime>,
    /// Why that one did.
    pub last_ended_why: Option<String>,
}

/// How much is in use of what there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Budget {
    /// So much is.
    pub used: u64,
    /// So much may be.
    pub max: Option<u64>,
}

impl Budget {
    fn shown(self, number: impl Fn(u64) -> String) -> String {
        let used = number(self.used);
        self.max
            .map_or_else(|| used.clone(), |max| format!("{used} of {}", number(max)))
    }
}

impl StatusFrontend {
    fn shown(&self, now: SystemTime) -> String {
        let mut text = match (self.serves, self.pid) {
            (true, Some(pid)) => format!("has said that it serves (process {pid})"),
            (true, None) => "has said that it serves".to_owned(),
            (false, _) => "DOES NOT SERVE: another one comes, and the log says why".to_owned(),
        };
        if self.ended > 0 {
            text.push_str(&format!("; {} ended unasked", self.ended));
        }
        if let (Some(at), Some(why)) = (self.last_ended_at, &self.last_ended_why) {
            text.push_str(&format!(", the last one {}: {why}", ago(at, now)));
        }
        text
    }
}

/// Prints how the server is.
pub fn server_status(status: &ServerStatus, format: &FormatFlag) -> io::Result<()> {
    if print_data(status, &format.output)? {
        return Ok(());
    }
    line(&text(status, SystemTime::now()))
}

fn text(status: &ServerStatus, now: SystemTime) -> String {
    let mut rows = Rows::default();
    let number = |number: u64| number.to_string();
    let pid = status.pid.map(|pid| format!(" (process {pid})"));
    let up = status
        .uptime_seconds
        .map(|up| format!(", up {}", age_of(Duration::from_secs(up))));
    let server = format!(
        "prn {}{}{}",
        status.version,
        pid.unwrap_or_default(),
        up.unwrap_or_default()
    );
    rows.add("server", escaped(&server));
    rows.add("up since", status.started_at.map(local));
    rows.add("listens at", status.address.as_deref().map(escaped));
    rows.add(
        "state folder",
        escaped(&status.state_dir.display().to_string()),
    );
    rows.add("epoch", status.epoch.clone());
    let configuration = &status.configuration;
    let since = configuration
        .since
        .map(|since| format!("{}, in force since {}", configuration.number, local(since)));
    rows.add(
        "configuration",
        since.unwrap_or_else(|| configuration.number.to_string()),
    );
    rows.add("frontend", escaped(&status.frontend.shown(now)));
    rows.add("alive", status.processes.shown(number));
    rows.add("finished", status.finished.shown(number));
    rows.add("workspaces", status.workspaces.shown(number));
    rows.add("output in memory", status.output_memory.shown(show_size));
    if status.output_disk.max != Some(0) {
        rows.add("output on disk", status.output_disk.shown(show_size));
    }
    if let Some(why) = &status.restart_pending {
        rows.add("restart pending", escaped(why));
    }
    rows.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> ServerStatus {
        let used = |used, max| Budget { used, max };
        ServerStatus {
            version: "0.1.0".into(),
            installed_version: "0.2.0",
            pid: Some(7),
            started_at: None,
            uptime_seconds: Some(90_000),
            epoch: "00".into(),
            state_dir: "/var/lib/prn".into(),
            address: None,
            configuration: StatusConfiguration {
                number: 3,
                since: None,
            },
            frontend: StatusFrontend {
                serves: false,
                pid: None,
                ended: 2,
                last_ended_at: Some(SystemTime::UNIX_EPOCH),
                last_ended_why: Some("it\x1bhangs".into()),
            },
            processes: used(1, Some(100)),
            finished: used(5, None),
            workspaces: used(0, Some(10)),
            output_memory: used(1024, Some(2048)),
            output_disk: used(0, Some(0)),
            restart_pending: Some("it was replaced".into()),
        }
    }

    #[test]
    fn a_server_is_told_in_lines_without_what_is_not_known() {
        let text = text(&status(), SystemTime::UNIX_EPOCH + Duration::from_secs(60));
        for line in [
            "server             prn 0.1.0 (process 7), up 1d1h",
            "configuration      3",
            "alive              1 of 100",
            "finished           5",
            "output in memory   1 KiB of 2 KiB",
            "restart pending    it was replaced",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(text.contains("DOES NOT SERVE"), "{text}");
        assert!(
            text.contains("2 ended unasked, the last one 60s ago: it"),
            "{text}"
        );
        assert!(
            !text.contains('\x1b') && !text.contains("listens at"),
            "{text}"
        );
        assert!(!text.contains("on disk"), "there is none: {text}");
    }
}
