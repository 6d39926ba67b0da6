//! Which processes a command is about, where it is about many.

use clap::Args;
use prn_client::{LabelIs, LabelMatch, LabelSelector, Outcome, Selector, State};
use prn_proto::units::{ProcessName, Workspace};

use crate::which::internal::INTERNAL;

/// Which processes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct Selection {
    /// Those that run alone
    #[arg(long, conflicts_with_all = ["finished", "failed", "succeeded"])]
    pub running: bool,
    /// Those that have ended alone
    #[arg(long)]
    pub finished: bool,
    /// Those alone that ended in any other way than by themselves with code 0
    #[arg(long, conflicts_with = "succeeded")]
    pub failed: bool,
    /// Those alone that ended by themselves with code 0
    #[arg(long)]
    pub succeeded: bool,
    /// Those of this name alone; of one of these, if it stands several times
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub name: Vec<String>,
    /// Those alone that were started in this workspace
    #[arg(long, value_name = "NAME")]
    pub workspace: Option<Workspace>,
    /// Those alone that this principal has started, by the name that the server knows it by
    #[arg(long, value_name = "NAME")]
    pub started_by: Option<String>,
    /// Those alone whose labels are like this: key=value, key!=value, key (is there), !key (is not),
    /// with commas between; a comma of a value is \,
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Vec<LabelSelector>,
}

fn parse_name(text: &str) -> Result<String, String> {
    let name: Result<ProcessName, _> = text.parse();
    let why = |error| format!("{error}; there are no patterns, -l selects several by a label");
    name.map(|ProcessName(name)| name).map_err(why)
}

impl Selection {
    /// As the server takes it.
    pub fn selector(&self) -> Selector {
        let mut selector = Selector::default();
        selector.state = match (self.running, self.finished) {
            (true, _) => Some(State::Running),
            (false, true) => Some(State::Stopped),
            (false, false) => None,
        };
        selector.outcome = match (self.failed, self.succeeded) {
            (true, _) => Some(Outcome::Failed),
            (false, true) => Some(Outcome::Succeeded),
            (false, false) => None,
        };
        selector.names.clone_from(&self.name);
        selector.workspace = self.workspace.clone().map(|Workspace(name)| name);
        selector.started_by.clone_from(&self.started_by);
        let labels = self
            .selector
            .iter()
            .flat_map(|LabelSelector(labels)| labels);
        selector.labels = labels.cloned().collect();
        selector
    }

    /// The same without prn's own processes, unless it speaks of them itself.
    pub fn of_users(&self) -> Selector {
        let mut selector = self.selector();
        let speaks_of_them = selector.labels.iter().any(|label| label.key == INTERNAL);
        if !speaks_of_them {
            selector.labels.push(LabelMatch {
                key: INTERNAL.to_owned(),
                is: LabelIs::Unset,
            });
        }
        selector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_pattern() {
        assert_eq!(parse_name("web-1.a").as_deref(), Ok("web-1.a"));
        for bad in ["web*", "we b", "", "a/b"] {
            let error = parse_name(bad).unwrap_err();
            assert!(error.contains("no patterns"), "{bad}: {error}");
        }
    }

    #[test]
    fn own_processes_are_left_out_unless_they_are_asked_for() {
        let mut selection = Selection::default();
        assert_eq!(selection.selector(), Selector::default());
        assert_eq!(selection.of_users().labels.len(), 1);
        selection.selector = vec!["a=b,!c".parse().unwrap(), INTERNAL.parse().unwrap()];
        let labels = selection.of_users().labels;
        assert_eq!(labels.len(), 3);
        assert_eq!(labels[2].is, LabelIs::Set);
    }
}
