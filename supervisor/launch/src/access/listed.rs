//! Who is let in, while it is put together.

use std::collections::BTreeMap;

use prn_ipc_protocol::config::User;
use prn_ipc_protocol::policy::Policy;
use prn_ipc_protocol::types::{AccessName, UserName};
use prn_proto::tls::{AuthorityCertificate, Peer, RevocationList};

use super::tables::Place;

/// Who is let in, and what for.
#[derive(Debug)]
pub struct Access {
    /// Who may do what.
    pub policy: Policy,
    /// Users of the machine's that processes may run as.
    pub users: BTreeMap<UserName, Listed>,
    /// Each client with what it is known by.
    pub known: Vec<(AccessName, Peer)>,
    /// Who signs certificates of those that are known by names.
    pub authorities: Vec<AuthorityCertificate>,
    /// What these have revoked.
    pub revocations: Vec<RevocationList>,
    /// Where their tables are. Those of `client-cert` are not in it.
    pub clients: BTreeMap<AccessName, Place>,
    /// Where the tables of roles are. Those that need not be written down are not in it.
    pub roles: BTreeMap<AccessName, Place>,
}

/// A user of the machine's, and where the configuration names it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// As the machine's accounts are.
    pub user: User,
    /// Where.
    pub place: Place,
}
