//! `prn fleet invite` and `prn fleet dismiss`: who takes part.

use std::io;
use std::path::PathBuf;

use clap::Args;
use prn_client::credentials::load_certificate;
use prn_fleet::Fleet;

use crate::commands::keygen::Pair;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::authority::Leaf;
use crate::fleet::error::SetupError;
use crate::fleet::fault::FleetFault;
use crate::fleet::folder::{Folder, OPERATOR, OfFolder, PRIVATE, READABLE, put_instead, put_new};
use crate::fleet::invitation::{AGENT, Invitation, Submitter};
use crate::output;

/// Let a host take part in a fleet, or somebody submit jobs
///
/// Makes a user of etcd, whose role says what it may do, and one file for `prn fleet join`, with a
/// certificate and its key: take it there by a way that nobody else reads. Again for one who is let in
/// already: another certificate, and the earlier one counts as well.
#[derive(Debug, Args)]
pub struct Invite {
    /// The host's name in the fleet; with --client, somebody's
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Let somebody submit jobs and look at them
    #[arg(long)]
    pub client: bool,
    /// The file that is made [default: NAME.invite]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Days until the certificate expires
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Which fleet.
    #[command(flatten)]
    pub of: OfFolder,
}

/// Let a host, or somebody, in no longer
///
/// Its certificates count no more in etcd, at once, and a host is announced no longer. What runs on
/// the host goes on. Servers let the agent, or who submitted jobs, in still: `prn pin remove` there
/// ends that, as it is printed. A watch of etcd that is open goes on, and tells what changes, until
/// its connection ends: where that matters, restart the members of etcd one after the other.
#[derive(Debug, Args)]
pub struct Dismiss {
    /// The host's name in the fleet; with --client, somebody's
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Somebody who submits jobs
    #[arg(long)]
    pub client: bool,
    /// Which fleet.
    #[command(flatten)]
    pub of: OfFolder,
}

pub async fn invite(args: Invite) -> Result<Exit, Failure> {
    let folder = args.of.open()?;
    let fleet = folder.as_root()?;
    let user = user(&fleet, &args.name, args.client)?;
    if args.client && args.name == OPERATOR {
        let path = folder.at(&format!("{}.pem", Folder::client(OPERATOR)));
        let instead = "that is whoever has made the fleet: use another name";
        return Err(FleetFault::from(SetupError::Exists { path, instead }).into());
    }
    let is_set_up = fleet.require_set_up().await;
    is_set_up.map_err(FleetFault::from)?;
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| format!("{}.invite", args.name).into());
    let leaf = Leaf {
        name: user,
        hosts: Vec::new(),
        days: args.days,
    };
    let pair = folder.authority()?.issue(&leaf)?;
    let invitation = invitation(&args, &folder, &pair)?;
    // Before anybody is let in: a file that cannot be written is of no use.
    put_new(&out, &invitation.text(), PRIVATE).map_err(FleetFault::from)?;
    let admitted = if args.client {
        fleet.admit_client(&args.name).await
    } else {
        fleet.admit_agent(&args.name).await
    };
    if let Err(error) = admitted {
        // It would be taken for one that counts.
        let _absent = std::fs::remove_file(&out);
        return Err(FleetFault::from(error).into());
    }
    output::print_line(&output::escaped(&out.display().to_string()))?;
    if args.client {
        keep_client(&args, &folder, &pair)?;
        let [fingerprint, _] = pair.made.key_fingerprints();
        output::notice(&format!(
            "on each host that is there already: `prn pin add {} {fingerprint} --role operator`, and `prn server reload`: it sees, reads and stops all processes of the host then, of others too",
            args.name
        ));
        output::notice("take the file to whom it is for: `prn fleet join FILE`");
    } else {
        output::notice("take the file to the host, and there, as root: `prn fleet join FILE`");
    }
    Ok(exit::OK)
}

fn user(fleet: &Fleet, name: &str, is_client: bool) -> Result<String, FleetFault> {
    let user = if is_client {
        fleet.keys().client_user(name)
    } else {
        fleet.keys().agent_user(name)
    };
    Ok(user?)
}

fn invitation(args: &Invite, folder: &Folder, pair: &Pair) -> Result<Invitation, Failure> {
    let mut submitter = Vec::new();
    if !args.client {
        for (name, path) in folder.clients().map_err(FleetFault::from)? {
            let [fingerprint, _] = load_certificate(&path)?.key_fingerprints();
            let fingerprint = fingerprint.to_string();
            submitter.push(Submitter { name, fingerprint });
        }
    }
    let name = Some(args.name.clone());
    Ok(Invitation {
        fleet: folder.name.clone(),
        host: name.clone().filter(|_| !args.client),
        client: name.filter(|_| args.client),
        store: folder.store.clone(),
        authority: folder.authority_certificate()?,
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
        submitter,
    })
}

/// Hosts that join later let the client in by this.
fn keep_client(args: &Invite, folder: &Folder, pair: &Pair) -> Result<(), FleetFault> {
    let path = folder.at(&format!("{}.pem", Folder::client(&args.name)));
    Ok(put_instead(&path, &pair.certificate, READABLE)?)
}

pub async fn dismiss(args: Dismiss) -> Result<Exit, Failure> {
    let folder = args.of.open()?;
    let fleet = folder.as_root()?;
    let name = &args.name;
    let dismissed = if args.client {
        fleet.dismiss_client(name).await
    } else {
        fleet.dismiss_agent(name).await
    };
    dismissed.map_err(FleetFault::from)?;
    output::print_line(&output::escaped(name))?;
    let (left, who) = if args.client {
        ("on each host, whose server lets it in still", name.as_str())
    } else {
        ("on the host, whose server lets its agent in still", AGENT)
    };
    output::notice(&format!(
        "{left}: `prn pin remove {who}`, and `prn server reload`"
    ));
    output::notice(
        "a watch of etcd that it has open goes on until its connection ends: restart the members of etcd one after the other where that matters",
    );
    if args.client {
        forget_client(&folder, name)?;
    }
    Ok(exit::OK)
}

/// Hosts that join later do not let it in.
fn forget_client(folder: &Folder, name: &str) -> Result<(), FleetFault> {
    let path = folder.at(&format!("{}.pem", Folder::client(name)));
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(SetupError::Remove { path, source }.into())
        }
        // It may never have been there.
        Ok(()) | Err(_) => Ok(()),
    }
}
