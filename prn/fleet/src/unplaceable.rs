//! Jobs that none of the hosts would ever take.

use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::hindrance::{Hindrance, hindrance};
use crate::job::waiting;
use crate::v1;

impl Fleet {
    /// Why none of the hosts that are announced would ever take a job, as long as they are what they are
    /// ([`Hindrance::is_lasting`]). `None`: one would. No more is read than tells that.
    ///
    /// # Errors
    /// [`FleetError::Etcd`].
    pub async fn lasting_hindrance(&self, job: &v1::Job) -> Result<Option<Hindrance>, FleetError> {
        let waiting = waiting(job, 0)?;
        let mut found = Hindrance::NoHosts;
        let mut pages = self.etcd().pages(&self.keys().host(""), 0);
        while let Some(items) = pages.next().await? {
            let hosts: Vec<_> = self.announced(&items).collect();
            let here = hindrance(&waiting, &hosts);
            if !here.is_lasting() {
                return Ok(None);
            }
            if here == Hindrance::TooLarge || found == Hindrance::NoHosts {
                found = here;
            }
        }
        Ok(Some(found))
    }
}
