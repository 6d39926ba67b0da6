//! Which job is meant: its id, the beginning of it, or the name of its process.

use prn_fleet::JobView;

use crate::failure::Failure;
use crate::fleet::fault::FleetFault;
use crate::which::fleet::OpenFleet;
use crate::which::reference::Reference;

/// The id of the job that is meant. A whole id is not looked up.
///
/// # Errors
/// There is none, or there are several.
pub async fn resolve(open: &OpenFleet, reference: &Reference) -> Result<String, Failure> {
    let word = match reference {
        Reference::Id(id) => return Ok(id.to_string()),
        Reference::Word(word) => word,
    };
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if word.bytes().all(is_digit) {
        let keys = open.fleet.keys();
        let (all, prefix) = (keys.job(""), keys.job(word));
        let found = open.fleet.etcd().read_some(&prefix, &prefix, 2, 0).await;
        let found = found.map_err(FleetFault::from)?.items;
        let mut ids = found.iter().filter_map(|item| item.key.strip_prefix(&all));
        match (ids.next(), ids.next()) {
            (Some(only), None) => return Ok(only.to_owned()),
            (Some(_), Some(_)) => return Err(FleetFault::Ambiguous(word.clone()).into()),
            (None, _) => {}
        }
    }
    let jobs = open.fleet.jobs().await.map_err(FleetFault::from)?;
    let is_called = |view: &&JobView| {
        let first = view.job.attempts.first();
        first.is_some_and(|start| start.name == *word)
    };
    // The newest of that name.
    let found = jobs.iter().rev().find(is_called);
    let found = found.ok_or_else(|| FleetFault::NoJob(word.clone()))?;
    Ok(found.id.clone())
}
