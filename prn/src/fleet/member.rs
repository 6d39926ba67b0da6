//! A member of a fleet's etcd: where it is, and its configuration.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use prn_fleet::is_name;
use prn_proto::units::Address;

/// Where etcd listens for clients, by its own default.
const PORT: u16 = 2379;

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its machine: a name, or an address.
    pub host: String,
    port: u16,
    peer_port: u16,
}

/// What all members have in common.
#[derive(Debug)]
pub struct Cluster<'a> {
    /// The fleet.
    pub fleet: &'a str,
    /// All of them.
    pub members: &'a [Member],
    /// The folder that each one's own is in, on its machine.
    pub place: &'a Path,
    /// The folder that each one's data are in.
    pub data: &'a Path,
    /// Most bytes of data.
    pub quota: u64,
}

impl FromStr for Member {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "not a member: write NAME=HOST or NAME=HOST:PORT (etcd's members talk to each other on the next port), with a name of a-z, 0-9, '-' and '.'";
        let (name, at) = text.split_once('=').ok_or(FORM)?;
        let is_bare = !at.is_empty() && (!at.contains(':') || at.ends_with(']'));
        let text = if is_bare {
            format!("{at}:{PORT}")
        } else {
            at.to_owned()
        };
        let address: Address = text.parse().map_err(|_| FORM)?;
        let (host, port) = address.parts();
        let peer_port = port.checked_add(1).ok_or(FORM)?;
        if !is_name(name) || port == 0 {
            return Err(FORM);
        }
        Ok(Self {
            name: name.to_owned(),
            host: host.to_owned(),
            port,
            peer_port,
        })
    }
}

impl Member {
    /// Where clients reach it.
    pub fn address(&self) -> Address {
        Address(self.at(self.port))
    }

    fn at(&self, port: u16) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{port}", self.host),
            false => format!("{}:{port}", self.host),
        }
    }

    /// etcd listens at addresses, not at names: at all of the machine where it is known by a name.
    fn listens(&self, port: u16) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(_) => self.at(port),
            Err(_) => format!("0.0.0.0:{port}"),
        }
    }

    fn peer(&self) -> String {
        format!("https://{}", self.at(self.peer_port))
    }

    /// Its etcd.conf.yml.
    pub fn configuration(&self, cluster: &Cluster<'_>) -> String {
        let place = cluster.place.join(&self.name);
        let file = |name: &str| quoted(&place.join(name).display().to_string());
        let members = cluster.members.iter();
        let all: Vec<_> = members
            .map(|member| format!("{}={}", member.name, member.peer()))
            .collect();
        format!(
            "\
# Member {name} of the etcd of the fleet {fleet}. Its files are expected in {place}, readable by etcd's user alone:
#   etcd --config-file {place}/etcd.conf.yml
name: {name}
data-dir: {data}

# Agents of hosts, and whoever submits jobs: nobody without a certificate of the fleet's authority.
listen-client-urls: {listens}
advertise-client-urls: {client}
client-transport-security:
  cert-file: {cert}
  key-file: {key}
  trusted-ca-file: {authority}
  client-cert-auth: true

# The other members. They have an authority of their own: whoever is let in here can write anything.
listen-peer-urls: {listens_to_peers}
initial-advertise-peer-urls: {peer}
peer-transport-security:
  cert-file: {peer_cert}
  key-file: {peer_key}
  trusted-ca-file: {peers}
  client-cert-auth: true
initial-cluster: {all}
initial-cluster-token: {token}
initial-cluster-state: new

# What has been overwritten is kept for an hour, for watchers that are behind.
auto-compaction-mode: periodic
auto-compaction-retention: \"1h\"
# At this many bytes it takes no writes any more.
quota-backend-bytes: {quota}
# gRPC alone, with the certificate of whoever asks.
enable-grpc-gateway: false
enable-v2: false
logger: zap
",
            name = self.name,
            fleet = cluster.fleet,
            place = place.display(),
            data = quoted(&cluster.data.join(&self.name).display().to_string()),
            listens = quoted(&format!("https://{}", self.listens(self.port))),
            client = quoted(&format!("https://{}", self.at(self.port))),
            cert = file("member.pem"),
            key = file("member.key"),
            authority = file("authority.pem"),
            listens_to_peers = quoted(&format!("https://{}", self.listens(self.peer_port))),
            peer = quoted(&self.peer()),
            peer_cert = file("peer.pem"),
            peer_key = file("peer.key"),
            peers = file("peers.pem"),
            all = quoted(&all.join(",")),
            token = quoted(&format!("prn-{}", cluster.fleet)),
            quota = cluster.quota,
        )
    }
}

/// A text as YAML has it, which has those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_a_name_a_machine_and_two_ports() {
        for (text, client, peer, listens) in [
            (
                "m1=etcd1.example",
                "etcd1.example:2379",
                "https://etcd1.example:2380",
                "0.0.0.0:2379",
            ),
            (
                "m1=10.0.0.1:4000",
                "10.0.0.1:4000",
                "https://10.0.0.1:4001",
                "10.0.0.1:4000",
            ),
            ("m1=[::1]", "[::1]:2379", "https://[::1]:2380", "[::1]:2379"),
        ] {
            let member: Member = text.parse().unwrap();
            assert_eq!(member.address().0, client);
            assert_eq!(member.peer(), peer);
            assert_eq!(member.listens(member.port), listens);
        }
        for bad in [
            "m1",
            "m1=",
            "=a:1",
            "M=a:1",
            "m1=a:x",
            "m1=a:65535",
            "m1=a:0",
            "m1=::1",
        ] {
            assert!(bad.parse::<Member>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_quoted_as_yaml_wants_it() {
        assert_eq!(quoted("/a b/\"c\""), r#""/a b/\"c\"""#);
    }
}
