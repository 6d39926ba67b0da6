//! Jobs that no announced host would ever take.

use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::hindrance::{Hindrance, hindrance};
use crate::job::waiting;
use crate::v1;

impl Fleet {
    /// Why none of the hosts that are announced would ever take a job
    /// ([`Hindrance::is_unplaceable`]). `None`: one would. No more is read than tells that.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn unplaceable(&self, job: &v1::Job) -> Result<Option<Hindrance>, FleetError> {
        let waiting = waiting(job, 0)?;
        let mut why = Hindrance::NoHosts;
        let mut pages = self.etcd().pages(&self.keys().host(""), 0);
        while let Some(items) = pages.next().await? {
            let hosts: Vec<_> = self.announced(&items).collect();
            why = why.nearest(hindrance(&waiting, &hosts));
            if !why.is_unplaceable() {
                return Ok(None);
            }
        }
        Ok(Some(why))
    }
}
