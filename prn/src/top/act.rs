//! What is done to a process by a key.

use prn_client::{Client, ClientError, ProcessId, State, StopSignal, Target, Update};

use crate::failure::Failure;
use crate::output::{error_line, signal_name, still_alive};

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It is stopped.
    Stop,
    /// Its main process gets a signal.
    Signal(i32),
    /// It is held, or goes on.
    SetPaused(bool),
}

/// What became of it, for people.
#[derive(Debug)]
pub struct Outcome {
    /// In a line.
    pub text: String,
    /// It failed.
    pub is_bad: bool,
}

impl Act {
    /// Does it.
    pub async fn on(self, client: Option<Client>, id: ProcessId, name: String) -> Outcome {
        let Some(client) = client else {
            return Outcome {
                text: format!("{name}: the connection is lost"),
                is_bad: true,
            };
        };
        match self.done(&client, id, &name).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let failure = Failure::from(error);
                let why = error_line(&failure, failure.hint().as_deref());
                Outcome {
                    text: format!("{name}: {why}"),
                    is_bad: true,
                }
            }
        }
    }

    async fn done(
        self,
        client: &Client,
        id: ProcessId,
        name: &str,
    ) -> Result<Outcome, ClientError> {
        let good = |text| Outcome {
            text,
            is_bad: false,
        };
        match self {
            Self::Stop => {
                let process = client.stop(id, StopSignal::Term, None).await?;
                Ok(match process.status.state {
                    State::Stopped => good(format!("{name} was stopped")),
                    State::Running => Outcome {
                        text: still_alive(name, &process.status),
                        is_bad: true,
                    },
                })
            }
            Self::Signal(signal) => {
                client.signal_process(id, signal, Target::Main).await?;
                Ok(good(format!("{} was sent to {name}", signal_name(signal))))
            }
            Self::SetPaused(paused) => {
                let update = Update {
                    paused: Some(paused),
                    ..Update::default()
                };
                client.update_process(id, &update).await?;
                let does = if paused { "is paused" } else { "goes on" };
                Ok(good(format!("{name} {does}")))
            }
        }
    }
}
