//! Changes of processes on one of several servers.

use prn_client::{Change, Client, Watch, WatchRequest};

use crate::lasting::several::{Feed, Left, Tell};

/// A watch of one server, which goes on where it was on the next connection.
#[derive(Debug)]
pub struct Changes<'a> {
    request: &'a WatchRequest,
    /// The last one, to go on from.
    watch: Option<Watch>,
}

/// A change, and where the watch is then.
#[derive(Debug)]
pub struct Step {
    /// What has changed.
    pub change: Change,
    /// As [`Watch::cursor`].
    pub cursor: Option<String>,
    /// As [`Watch::boot_epoch`].
    pub boot_epoch: Option<String>,
}

impl<'a> Changes<'a> {
    /// One that has not begun.
    pub fn new(request: &'a WatchRequest) -> Self {
        Self {
            request,
            watch: None,
        }
    }
}

impl Feed for Changes<'_> {
    type Piece = Step;

    async fn tell(&mut self, client: &Client, to: &mut Tell<Step>) -> Result<(), Left> {
        let watch = match &self.watch {
            Some(ended) => client.resume_watch(ended).await?,
            None => client.watch(self.request).await?,
        };
        let watch = self.watch.insert(watch);
        to.connected().await?;
        while let Some(change) = watch.next().await? {
            to.told(Step {
                change,
                cursor: watch.cursor().map(str::to_owned),
                boot_epoch: watch.boot_epoch().map(str::to_owned),
            })
            .await?;
        }
        Ok(())
    }
}
