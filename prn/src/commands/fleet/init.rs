//! `prn fleet init`: all files of a new fleet, before its etcd runs.

use std::path::{Path, PathBuf};

use clap::Args;
use prn_fleet::Keys;
use prn_fleet::etcd::ROOT;
use prn_proto::units::Size;

use crate::context::config::Place;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::authority::{Authority, DAYS, Leaf};
use crate::fleet::fault::FleetFault;
use crate::fleet::folder::{self, AUTHORITY, Folder, OPERATOR, PEERS};
use crate::fleet::member::{Cluster, Member};
use crate::fleet::section::{self, Section};
use crate::output;

/// Make a new fleet's authorities, the configuration of its etcd, and your own certificate
///
/// Writes one folder, and [fleet.NAME] of your configuration. Nothing is asked of any machine: what to do
/// next is printed, and `prn fleet enable` goes on when etcd runs. Whoever has the folder can do
/// anything with the fleet: keep it.
#[derive(Debug, Args)]
pub struct Init {
    /// The fleet's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A member of its etcd, by its name and where it is. 1, 3 or 5 of them: more than half have to
    /// run. Repeatable
    #[arg(long, value_name = "NAME=HOST[:PORT]", required = true)]
    pub member: Vec<Member>,
    /// The folder that is made [default: fleets/NAME beside your configuration]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Folder of the members' machines that each member's files are put into, under its name
    #[arg(long, value_name = "DIR", default_value = "/etc/prn-etcd")]
    pub place: PathBuf,
    /// Folder there of their data
    #[arg(long, value_name = "DIR", default_value = "/var/lib/prn-etcd")]
    pub data: PathBuf,
    /// Most data that etcd keeps: then it takes no writes any more
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    pub quota: Size,
}

pub fn init(args: &Init) -> Result<Exit, Failure> {
    let keys = Keys::new(&args.name).map_err(FleetFault::from)?;
    let user = keys.client_user(OPERATOR).map_err(FleetFault::from)?;
    check(args)?;
    let place = Place::of_environment()?;
    section::is_new(&place, &args.name)?;
    let path = args.dir.clone();
    let path = path.unwrap_or_else(|| folder::usual(&place, &args.name));
    let store = args.member.iter().map(Member::address).collect();
    let made = Folder::make(&path, &args.name, store).map_err(FleetFault::from)?;
    let authority = made.make_authority(AUTHORITY)?;
    let peers = made.make_authority(PEERS)?;
    issue(&made, &authority, ROOT, ROOT.to_owned())?;
    let own = Folder::client(OPERATOR);
    issue(&made, &authority, &own, user)?;
    for member in &args.member {
        write_member(args, &made, (&authority, &peers), member)?;
    }
    let file = |name: String| made.at(&name);
    let section = Section {
        name: &made.name,
        store: &made.store,
        authority: &file(format!("{AUTHORITY}.pem")),
        certificate: &file(format!("{own}.pem")),
        key: &file(format!("{own}.key")),
    };
    section::add(&place, &section)?;
    tell(args, &made)
}

fn check(args: &Init) -> Result<(), Failure> {
    let usage = |what: &str| Err(Failure::Usage(what.to_owned()));
    if ![1, 3, 5].contains(&args.member.len()) {
        return usage(
            "--member: 1, 3 or 5 members, as more than half of them have to run; 3 is right for most",
        );
    }
    let all = || args.member.iter().enumerate();
    let is_twice = |(at, member): (usize, &Member)| {
        let before = args.member.iter().take(at);
        let is_same =
            |other: &Member| other.name == member.name || other.address() == member.address();
        before.into_iter().any(is_same)
    };
    if all().any(is_twice) {
        return usage("--member: two members have one name, or one address and port");
    }
    if !args.place.is_absolute() || !args.data.is_absolute() {
        return usage("--place and --data are absolute paths, of the members' machines");
    }
    Ok(())
}

/// Writes NAME.pem and NAME.key for a user of etcd.
fn issue(folder: &Folder, by: &Authority, file: &str, user: String) -> Result<(), Failure> {
    let pair = by.issue(&Leaf {
        name: user,
        hosts: Vec::new(),
        days: DAYS,
    })?;
    Ok(folder.put_pair(file, &pair).map_err(FleetFault::from)?)
}

fn write_member(
    args: &Init,
    folder: &Folder,
    (authority, peers): (&Authority, &Authority),
    member: &Member,
) -> Result<(), Failure> {
    let below = format!("members/{}", member.name);
    folder.subfolder(&below).map_err(FleetFault::from)?;
    let leaf = Leaf {
        // No user of etcd.
        name: format!("prn:{}:member:{}", folder.name, member.name),
        hosts: vec![member.host.clone()],
        days: DAYS,
    };
    for (file, by) in [("member", authority), ("peer", peers)] {
        let pair = by.issue(&leaf)?;
        let put = folder.put_pair(&format!("{below}/{file}"), &pair);
        put.map_err(FleetFault::from)?;
    }
    for kind in [AUTHORITY, PEERS] {
        let file = format!("{kind}.pem");
        let copied = folder::read(&folder.at(&file))
            .and_then(|pem| folder.put(&format!("{below}/{file}"), &pem, folder::READABLE));
        copied.map_err(FleetFault::from)?;
    }
    let cluster = Cluster {
        fleet: &folder.name,
        members: &args.member,
        place: &args.place,
        data: &args.data,
        quota: args.quota.0,
    };
    let text = member.configuration(&cluster);
    let put = folder.put(&format!("{below}/etcd.conf.yml"), &text, folder::READABLE);
    Ok(put.map_err(FleetFault::from)?)
}

/// What to do next.
fn tell(args: &Init, folder: &Folder) -> Result<Exit, Failure> {
    let shown = |path: &Path| output::escaped(&path.display().to_string());
    output::print_line(&shown(&folder.at("")))?;
    for member in &args.member {
        let place = args.place.join(&member.name);
        let from = folder.at(&format!("members/{}", member.name));
        output::notice(&format!(
            "on {}: copy {} to {}, make it the user's alone that etcd runs as, and start `etcd --config-file {}/etcd.conf.yml`",
            member.host,
            shown(&from),
            shown(&place),
            shown(&place),
        ));
    }
    output::notice(&format!("then, here: `prn fleet enable{}`", of(args)));
    Ok(exit::OK)
}

/// How further commands name the fleet.
fn of(args: &Init) -> String {
    let dir = args.dir.as_ref();
    let dir = dir.map(|dir| format!(" --dir {}", output::escaped(&dir.display().to_string())));
    dir.unwrap_or_else(|| format!(" --fleet {}", args.name))
}
