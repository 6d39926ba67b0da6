//! `prn update` and `prn renew`.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;
use prn_client::{Label, Limits, NewLease, ProcessStatus, State, Update};
use prn_proto::units::{InvalidUnit, Time};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::typed::fields;
use crate::which::connection::{Connection, Remote};
use crate::which::targets::{Target, Targets};

/// Change limits, lease and labels of processes while they run
///
/// What is not named stays as it is: of several changes of labels at once none takes back another one.
#[derive(Debug, Args)]
pub struct Change {
    /// Which processes.
    #[command(flatten)]
    pub targets: Targets,
    /// The limits from now on.
    #[command(flatten)]
    pub limits: Limits,
    /// Stop the process when nobody has followed it, nor renewed the lease, for this long from now;
    /// `none` ends its lease
    #[arg(long, value_name = "TIME", value_parser = parse_lease)]
    pub lease: Option<NewLease>,
    /// Set a label, or remove it with a dash behind its key. Repeatable
    #[arg(long = "label", value_name = "KEY=VALUE|KEY-")]
    pub labels: Vec<LabelChange>,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Begin the leases of processes anew: each as long as it was
#[derive(Debug, Args)]
pub struct Renew {
    /// Which processes.
    #[command(flatten)]
    pub targets: Targets,
    /// This long, from now on
    #[arg(long, value_name = "TIME")]
    pub lease: Option<Time>,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// What becomes of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelChange {
    /// It is set.
    Set(Label),
    /// It is removed.
    Unset(String),
}

impl FromStr for LabelChange {
    type Err = InvalidUnit;

    /// A dash behind the key, as kubectl has it.
    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        match text.strip_suffix('-') {
            Some(key) if !text.contains('=') => {
                let Label { key, .. } = Label::of_user(&format!("{key}="))?;
                Ok(Self::Unset(key))
            }
            Some(_) | None => Label::of_user(text).map(Self::Set),
        }
    }
}

fn parse_lease(text: &str) -> Result<NewLease, String> {
    if text == "none" {
        return Ok(NewLease::Ended);
    }
    let Time(time) = text
        .parse()
        .map_err(|error: InvalidUnit| format!("{error}, or none for no lease"))?;
    Ok(time.into())
}

pub async fn update(args: Change) -> Result<Exit, Failure> {
    let update = Update {
        limits: args.limits,
        lease: args.lease,
        label_changes: changes_of(args.labels),
        ..Update::default()
    };
    if update == Update::default() {
        let why = "nothing is to be changed: name a limit (--memory …), --lease or --label";
        return Err(Failure::Usage(why.to_owned()));
    }
    changed(&args.targets, args.connection, update).await
}

pub async fn renew(args: Renew) -> Result<Exit, Failure> {
    let lease = args.lease.map_or(NewLease::Same, |Time(time)| time.into());
    let update = Update {
        lease: Some(lease),
        ..Update::default()
    };
    changed(&args.targets, args.connection, update).await
}

async fn changed(
    targets: &Targets,
    connection: Connection,
    update: Update,
) -> Result<Exit, Failure> {
    let client = Remote::new(connection)?.connect().await?;
    let found = targets.find(&client, Some(State::Running)).await?;
    let limits = update.limits;
    let change = |target: Target| {
        let (client, update) = (client.clone(), update.clone());
        async move { Ok(client.update_process(target.id, &update).await?) }
    };
    let done = |target: &Target, status: ProcessStatus| {
        if let Some(warning) = warning(&limits, &status.limits.not_enforced) {
            output::notice(&format!("{}: {warning}", target.shown));
        }
        output::told(&target.shown)
    };
    found.each(change, done).await
}

/// What is to be said of those of the limits that are not enforced now. Others were told of when they were
/// set.
fn warning(limits: &Limits, not_enforced: &[String]) -> Option<String> {
    let Limits {
        cpu_millis,
        memory_bytes,
        io_read_bytes_per_second,
        io_write_bytes_per_second,
        pids,
    } = limits;
    let is_set = |name: &&String| {
        let value = match name.as_str() {
            "cpu_millis" => cpu_millis,
            "memory_bytes" => memory_bytes,
            "io_read_bytes_per_second" => io_read_bytes_per_second,
            "io_write_bytes_per_second" => io_write_bytes_per_second,
            "pids" => pids,
            _ => return true,
        };
        value.is_some()
    };
    let has_limits = *limits != Limits::default();
    fields::not_enforced(
        not_enforced
            .iter()
            .filter(|name| has_limits && is_set(name)),
    )
}

/// Of a key that is named twice, the last one counts.
fn changes_of(labels: Vec<LabelChange>) -> BTreeMap<String, Option<String>> {
    let change = |change| match change {
        LabelChange::Set(Label { key, value }) => (key, Some(value)),
        LabelChange::Unset(key) => (key, None),
    };
    labels.into_iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn labels_are_set_and_removed_as_kubectl_does() {
        let labels = ["b=2", "c=x-", "a-", "d=1", "d-", "e-", "e="];
        let labels = labels.iter().map(|text| text.parse().unwrap());
        let shown = changes_of(labels.collect())
            .into_iter()
            .map(|(key, value)| value.map_or(format!("{key}-"), |value| format!("{key}={value}")));
        let shown: Vec<_> = shown.collect();
        assert_eq!(shown, ["a-", "b=2", "c=x-", "d-", "e="]);
        for bad in ["", "-", "a", "=b", "a b-", "prn.io/a=b", "prn.io/a-"] {
            assert!(bad.parse::<LabelChange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_that_are_set_and_not_enforced_are_told_of() {
        let limits = Limits {
            memory_bytes: Some(1),
            ..Limits::default()
        };
        let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let said = warning(&limits, &named(&["memory_bytes", "pids"])).unwrap();
        assert!(said.ends_with("NOT enforce memory"), "{said}");
        assert_eq!(warning(&limits, &named(&["pids"])), None);
        assert_eq!(warning(&Limits::default(), &named(&["memory_bytes"])), None);
    }

    #[test]
    fn a_lease_is_a_time_or_none() {
        assert_eq!(parse_lease("none"), Ok(NewLease::Ended));
        assert_eq!(parse_lease("0"), Ok(NewLease::Ended));
        assert_eq!(
            parse_lease("5m"),
            Ok(NewLease::Of(Duration::from_secs(300)))
        );
        assert!(parse_lease("x").unwrap_err().contains("none"));
    }
}
