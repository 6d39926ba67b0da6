//! Why a job waits, for programs and for people.

use std::time::Duration;

use prn_fleet::{Hindrance, JobView, Place, Unready, hindrance, v1};
use prn_proto::units::show_size;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::fleet::job_watch::JobWatch;
use crate::output;
use crate::which::fleet::OpenFleet;

/// Most hosts that are named one by one.
const NAMED_MAX: usize = 5;
/// Most time to find out whether a job that was submitted can run anywhere.
const ASK_TIME: Duration = Duration::from_secs(1);
/// For so long nobody wonders why a job waits.
const UNREMARKED: Duration = Duration::from_secs(2);
/// And then it is looked this often whether it is for another reason.
const LOOK_TIME: Duration = Duration::from_secs(10);

/// Why a job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Stable name of it.
    pub reason: String,
    /// For people.
    pub text: String,
}

/// Why a job waits, with the hosts that there are.
///
/// # Errors
/// etcd does not say which hosts there are.
pub async fn why_it_waits(open: &OpenFleet, waiting: &v1::Waiting) -> Result<Why, Failure> {
    let hosts = open.hosts().await?;
    let needs = waiting.needs.unwrap_or_default();
    Ok(why(&hindrance(waiting, &hosts), &needs))
}

/// Tells whoever has submitted a job that no announced host would ever take it. The job is there:
/// nobody waits for long to be told.
pub async fn tell_unplaceable(open: &OpenFleet, job: &v1::Job) {
    let asked = timeout(ASK_TIME, open.fleet.unplaceable(job)).await;
    open.tell_malformed();
    if let Ok(Ok(Some(hindrance))) = asked {
        tell(&why(&hindrance, &job.needs.unwrap_or_default()));
    }
}

fn tell(why: &Why) {
    output::notice(&format!("waiting: {}", why.text));
}

fn why(hindrance: &Hindrance, needs: &v1::Resources) -> Why {
    let (reason, text) = match hindrance {
        Hindrance::NoHosts => (
            "NO_HOST_ANNOUNCED",
            "no host is announced: is prn-agent running?".to_owned(),
        ),
        Hindrance::NoHostFits => (
            "NO_HOST_FITS",
            "no host has its name and labels: `prn fleet hosts` shows those that there are"
                .to_owned(),
        ),
        Hindrance::TooLarge => (
            "NO_HOST_LARGE_ENOUGH",
            format!("no host that fits is that large: it needs {}", shown(needs)),
        ),
        Hindrance::Unready(hosts) => ("NO_HOST_READY", unready(hosts)),
        Hindrance::Full => ("NO_ROOM", "all that fit are full".to_owned()),
        Hindrance::Turn => (
            "NO_TURN",
            "a host that fits has room: it waits for its turn".to_owned(),
        ),
        Hindrance::RefusedByAll { reason, why } => (reason.as_str(), why.clone()),
    };
    Why {
        reason: reason.to_owned(),
        text,
    }
}

/// What it needs of a host, in words.
fn shown(needs: &v1::Resources) -> String {
    let processes = match needs.processes {
        0 | 1 => "1 process".to_owned(),
        many => format!("{many} processes"),
    };
    let cpus = f64::from(u32::try_from(needs.cpu_millis).unwrap_or(u32::MAX)) / 1000.0;
    let memory =
        (needs.memory_bytes > 0).then(|| format!("{} of memory", show_size(needs.memory_bytes)));
    let cpus = (needs.cpu_millis > 0).then(|| format!("{cpus} CPUs"));
    let all: Vec<_> = [memory, cpus, Some(processes)]
        .into_iter()
        .flatten()
        .collect();
    all.join(", ")
}

fn unready(hosts: &[(String, Unready)]) -> String {
    let named = hosts.iter().take(NAMED_MAX).map(|(host, why)| match why {
        Unready::Drained(why) if why.is_empty() => format!("{host} fits, but is drained"),
        Unready::Drained(why) => format!("{host} fits, but is drained: {why}"),
        Unready::NoServer => format!("{host} fits, but its server does not answer its agent"),
        Unready::Away => format!("{host} fits, but its agent was ended"),
    });
    let mut named: Vec<_> = named.collect();
    if let more @ 1.. = hosts.len().saturating_sub(NAMED_MAX) {
        named.push(format!("and {more} more"));
    }
    named.join("; ")
}

/// Tells whoever waits for a job why that waits itself: once, and when it is for another reason.
#[derive(Debug, Default)]
pub struct WaitTelling {
    told: Option<String>,
}

impl WaitTelling {
    /// The next state of a job that was like this. Cancel safe.
    ///
    /// # Errors
    /// As [`JobWatch::next`].
    pub async fn next(
        &mut self,
        watch: &mut JobWatch<'_>,
        before: Option<&JobView>,
    ) -> Result<JobView, Failure> {
        let Some(Place::Waiting(waiting)) = before.map(|view| &view.place) else {
            return watch.next().await;
        };
        let (open, mut pause) = (watch.open(), UNREMARKED);
        let mut next = std::pin::pin!(watch.next());
        loop {
            if let Ok(next) = timeout(pause, &mut next).await {
                return next;
            }
            pause = LOOK_TIME;
            self.tell(open, waiting).await;
        }
    }

    /// Where etcd does not say which hosts there are, the job's own watch tells that.
    async fn tell(&mut self, open: &OpenFleet, waiting: &v1::Waiting) {
        let Ok(why) = why_it_waits(open, waiting).await else {
            return;
        };
        if self.told.as_ref() != Some(&why.text) {
            tell(&why);
            self.told = Some(why.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_which_host_it_is_and_what_is_needed() {
        let needs = v1::Resources {
            processes: 1,
            memory_bytes: 1 << 40,
            cpu_millis: 1500,
        };
        let large = why(&Hindrance::TooLarge, &needs);
        assert!(
            large.text.contains("of memory, 1.5 CPUs, 1 process"),
            "{large:?}"
        );
        let drained = Unready::Drained("disk".to_owned());
        let hosts = vec![
            ("web1".to_owned(), drained),
            ("web2".to_owned(), Unready::NoServer),
        ];
        let told = why(&Hindrance::Unready(hosts), &needs).text;
        let expected =
            "web1 fits, but is drained: disk; web2 fits, but its server does not answer its agent";
        assert_eq!(told, expected);
        let many = vec![("web".to_owned(), Unready::Away); 7];
        assert!(unready(&many).ends_with("; and 2 more"));
    }
}
