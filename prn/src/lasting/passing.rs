//! What of standard input is passed on to a process that is followed.

use prn_client::ProcessId;

use crate::failure::Failure;
use crate::input::detach::{DetachKeys, Watch};
use crate::input::local_input::Local;
use crate::input::terminal::Raw;
use crate::interrupts::Interrupts;
use crate::lasting::feeding::{Beginning, Feed, Screen};
use crate::lasting::following::Attached;
use crate::output;

/// What is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// Nothing, which nobody expects to be.
    Nothing,
    /// Nothing, for this reason.
    Refused(&'static str),
    /// Standard input, and its end.
    ToItsEnd,
    /// Standard input; the process is left alone at its end.
    KeptOpen,
    /// Standard input; the process is followed on at its end, which is not its own.
    Typed,
    /// This terminal, key by key.
    Terminal,
}

/// To whom, and how.
#[derive(Debug)]
pub struct Receiver {
    /// The process.
    pub id: ProcessId,
    /// Where what is passed on belongs.
    pub beginning: Beginning,
    /// Of a terminal.
    pub screen: Screen,
    /// Of a terminal as well.
    pub detach_keys: DetachKeys,
}

impl Passing {
    /// Begins to pass on. A terminal is the process's from now on, and `interrupts` are what ends
    /// that from outside.
    ///
    /// # Errors
    /// As [`Raw::enter`], [`Feed::begin`].
    pub fn begin(self, to: Receiver, interrupts: &mut Interrupts) -> Result<Attached, Failure> {
        let Receiver { id, beginning, .. } = to;
        let (raw, local) = match self {
            Self::Nothing => return Ok(Attached::default()),
            Self::Refused(why) => {
                output::notice(&format!(
                    "process {id}: {why}; its output is followed (-n says nothing of it)"
                ));
                return Ok(Attached::default());
            }
            Self::ToItsEnd => (None, Local::ToItsEnd),
            Self::KeptOpen | Self::Typed => (None, Local::KeptOpen),
            Self::Terminal => {
                interrupts.take_quit()?;
                let keys = Local::Keys(Watch::new(to.detach_keys));
                (Some(Raw::enter()?), keys)
            }
        };
        let feed = Feed::begin(id, beginning, local, to.screen)?;
        let feed = match self {
            Self::KeptOpen => feed.then_leave(),
            Self::Nothing | Self::Refused(_) | Self::ToItsEnd | Self::Typed | Self::Terminal => {
                feed
            }
        };
        Ok(Attached {
            feed: Some(feed),
            raw,
        })
    }
}
