//! `prn fleet join`: a host's agent, or somebody's configuration, from an invitation.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use prn_client::Label;
use prn_launch::access::check;
use prn_launch::access::types::AccessName;
use prn_launch::options::{Options, Reload};
use prn_proto::units::Address;
use toml_edit::{Array, DocumentMut, Item, value};

use crate::commands::pin::CONFIG;
use crate::commands::pin::guest::{Admission, Guest, how_to_let_in, let_in};
use crate::commands::policy;
use crate::commands::server;
use crate::context::config::Place;
use crate::context::edit::replace;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::fleet::error::SetupError;
use crate::fleet::fault::FleetFault;
use crate::fleet::folder::{self, PRIVATE, READABLE, put_instead, put_new};
use crate::fleet::invitation::{AGENT, Invitation, Submitter};
use crate::fleet::section::{self, Section};
use crate::output;

/// What the agent may do there: start processes, and see how all are. A signed job's is its signer's.
const AGENT_ROLE: &str = "fleet-agent";
/// The verbs of that role.
const AGENT_VERBS: &[&str] = &["start", "list"];
/// What those may do there who submit jobs: look at processes, read their output and stop them. All
/// of the host, since those of unsigned jobs are the agent's.
const CLIENT_ROLE: &str = "operator";

/// An agent's files, beside the server's configuration.
const TOML: &str = "agent.toml";
const CERTIFICATE: &str = "agent.pem";
const KEY: &str = "agent.key";
/// The certificate of the authority that signs those of etcd's members.
const AUTHORITY: &str = "agent-store.pem";

/// Take part in a fleet: with an invitation of `prn fleet invite`
///
/// With a host's, as root: writes agent.toml beside the server's configuration, with the agent's
/// certificate and its key, has the server let the agent in (role fleet-agent: it starts processes,
/// and sees how all are) and those who submit jobs (role operator: they see, read and stop all
/// processes of the host), and take what is signed for the fleet. With somebody's own: writes
/// [fleet.NAME] of the configuration.
///
/// Where it takes part already, under the same name: another certificate and key, in place of the
/// earlier ones, before those expire. All else stays as it is. Nobody who submits jobs is let in by
/// that: for each whose key the host's server does not know, the command that does it is printed. A
/// certificate that ends earlier than the one that is there is refused.
#[derive(Debug, Args)]
pub struct Join {
    /// The invitation
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The server's configuration, of a host
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// Where clients find the host's server [default: the configuration's address]
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<Address>,
    /// A label of the host, for jobs that want it. Repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<Label>,
}

pub fn join(args: &Join) -> Result<Exit, Failure> {
    let invitation = Invitation::open(&args.file).map_err(FleetFault::from)?;
    match (&invitation.host, &invitation.client) {
        (Some(host), _) => join_host(args, &invitation, host),
        (None, _) => join_client(&invitation),
    }
}

/// Files beside the server's configuration.
struct Files {
    folder: PathBuf,
}

impl Files {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether the agent is that of this host of this fleet, by the certificate and the key that
    /// `prn fleet join` has written.
    fn has_joined_as(&self, fleet: &str, host: &str) -> bool {
        let text = fs::read_to_string(self.at(TOML)).unwrap_or_default();
        let Ok(known) = text.parse::<DocumentMut>() else {
            return false;
        };
        let is = |key: &str, value: &str| known.get(key).and_then(Item::as_str) == Some(value);
        is("fleet", fleet)
            && is("host", host)
            && is("client-cert", CERTIFICATE)
            && is("tls-key", KEY)
    }
}

/// Another certificate and key of an agent. Repeated, it ends at the same. Of others, whom the host
/// lets in by now is the host's matter.
fn renew_host(args: &Join, invitation: &Invitation, files: &Files) -> Result<Exit, Failure> {
    if args.address.is_some() || !args.label.is_empty() {
        let toml = files.at(TOML);
        return Err(Failure::Usage(format!(
            "this host takes part already: its address and labels stay as they are in {}, change them there",
            toml.display()
        )));
    }
    let replaced = invitation.check_replaces(&files.at(CERTIFICATE));
    replaced.map_err(FleetFault::from)?;
    let draft = files.at(&format!("{CERTIFICATE}.{}.draft", std::process::id()));
    let mut drafts = Written::default();
    drafts.put(&draft, &invitation.certificate, READABLE)?;
    if let_agent_in(args, &draft)? == Admission::Refused {
        return Ok(exit::ERROR);
    }
    for (name, text, mode) in [
        (KEY, &*invitation.key, PRIVATE),
        (CERTIFICATE, &invitation.certificate, READABLE),
        (AUTHORITY, &invitation.authority, READABLE),
    ] {
        put_instead(&files.at(name), text, mode).map_err(FleetFault::from)?;
    }
    output::print_line(&output::escaped(
        &files.at(CERTIFICATE).display().to_string(),
    ))?;
    reload(args);
    output::notice(
        "the agent has another certificate and key: start it again (`systemctl restart prn-agent`), its jobs go on",
    );
    for submitter in &invitation.submitter {
        if let Some(how) = how_to_let_in(&args.config, &guest(submitter)?)? {
            output::notice(&format!(
                "{} submits jobs, and this host's server does not know its key: {how}, and `prn server reload`",
                submitter.name
            ));
        }
    }
    Ok(exit::OK)
}

fn join_host(args: &Join, invitation: &Invitation, host: &str) -> Result<Exit, Failure> {
    let folder = std::path::absolute(&args.config)?;
    let folder = folder.parent().unwrap_or(Path::new("/")).to_owned();
    let files = Files { folder };
    let toml = files.at(TOML);
    if files.has_joined_as(&invitation.fleet, host) {
        return renew_host(args, invitation, &files);
    }
    for name in [TOML, CERTIFICATE, KEY, AUTHORITY] {
        let path = files.at(name);
        if path.symlink_metadata().is_ok() {
            let instead = "this host takes part in a fleet already, or under another name; to begin anew, remove agent.toml, agent.pem, agent.key and agent-store.pem";
            return Err(FleetFault::from(SetupError::Exists { path, instead }).into());
        }
    }
    // What the server is known by, and where: refused before anything is written.
    let line = server::invitation(&args.config, args.address.as_ref())?;
    let text = agent_toml(args, invitation, host, &line.address)?;
    let mut written = Written::default();
    written.put(&files.at(KEY), &invitation.key, PRIVATE)?;
    let certificate = files.at(CERTIFICATE);
    written.put(&certificate, &invitation.certificate, READABLE)?;
    written.put(&files.at(AUTHORITY), &invitation.authority, READABLE)?;
    if !let_submitters_in(args, invitation)?
        || let_agent_in(args, &certificate)? == Admission::Refused
    {
        return Ok(exit::ERROR);
    }
    take_signed(&args.config, &invitation.fleet)?;
    written.put(&toml, &text, READABLE)?;
    written.is_whole = true;
    output::print_line(&output::escaped(&toml.display().to_string()))?;
    reload(args);
    warn_of_loopback(&line.address);
    let is_packaged = args.config == Path::new(CONFIG);
    output::notice(&if is_packaged {
        "then: `systemctl enable --now prn-agent`".to_owned()
    } else {
        format!("then: `prn-agent --config {}`", toml.display())
    });
    Ok(exit::OK)
}

/// What was written so far: taken away again where the rest fails, so that it can be tried again.
#[derive(Default)]
struct Written {
    paths: Vec<PathBuf>,
    is_whole: bool,
}

impl Written {
    fn put(&mut self, path: &Path, text: &str, mode: u32) -> Result<(), FleetFault> {
        put_new(path, text, mode)?;
        self.paths.push(path.to_owned());
        Ok(())
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        for path in self.paths.iter().filter(|_| !self.is_whole) {
            let _absent = fs::remove_file(path);
        }
    }
}

/// Files are named from its own folder, wherever that is: a unit has copies of them in another one.
fn agent_toml(
    args: &Join,
    invitation: &Invitation,
    host: &str,
    announced: &Address,
) -> Result<String, Failure> {
    let options = prn_launch::options::merged(Options::default(), Some(&args.config), &|_| {});
    let options = options.map_err(prn_launch::ServerError::from)?;
    let beside = args.config.parent().unwrap_or(Path::new(""));
    let certificate = options.server_cert.unwrap_or_default();
    let certificate = certificate.strip_prefix(beside).unwrap_or(&certificate);
    let listens = options.address.unwrap_or_else(|| announced.clone());
    let mut document = DocumentMut::new();
    document.insert("fleet", value(invitation.fleet.as_str()));
    document.insert("host", value(host));
    let store: Array = invitation.store.iter().map(|at| at.0.as_str()).collect();
    document.insert("store", value(store));
    let one = |text: &str| value(Array::from_iter([text]));
    document.insert("store-ca", one(AUTHORITY));
    document.insert("client-cert", value(CERTIFICATE));
    document.insert("tls-key", value(KEY));
    document.insert("address", value(from_here(&listens)));
    document.insert("announce", value(announced.0.as_str()));
    document.insert("server-cert", one(&certificate.display().to_string()));
    if !args.label.is_empty() {
        let labels = args.label.iter();
        let labels: Array = labels.map(|l| format!("{}={}", l.key, l.value)).collect();
        document.insert("label", value(labels));
    }
    Ok(format!(
        "# prn-agent(8), by `prn fleet join`. More keys are in `prn-agent --help`: label, processes, memory, cpus.\n{document}"
    ))
}

/// Where the agent reaches a server that listens at all addresses.
fn from_here(listens: &Address) -> String {
    let (host, port) = listens.parts();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => format!("127.0.0.1:{port}"),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => format!("[::1]:{port}"),
        Ok(_) | Err(_) => listens.0.clone(),
    }
}

fn named(name: &str) -> Result<AccessName, Failure> {
    policy::name(name).map_err(|error| Failure::Usage(error.to_owned()))
}

fn guest(submitter: &Submitter) -> Result<Guest, Failure> {
    Ok(Guest {
        name: named(&submitter.name)?,
        what: submitter.fingerprint.clone(),
        role: named(CLIENT_ROLE)?,
        verbs: &[],
        is_renewed: false,
    })
}

/// Those who submit jobs. False: what there is to do was said.
fn let_submitters_in(args: &Join, invitation: &Invitation) -> Result<bool, Failure> {
    for submitter in &invitation.submitter {
        match let_in(&args.config, guest(submitter)?)? {
            Admission::AsAsked => output::notice(&format!(
                "{} submits jobs, and is let in: with the role {CLIENT_ROLE}, which sees, reads and stops all processes of this host",
                submitter.name
            )),
            Admission::OtherRole => {}
            Admission::Refused => return Ok(false),
        }
    }
    Ok(true)
}

fn let_agent_in(args: &Join, certificate: &Path) -> Result<Admission, Failure> {
    let agent = Guest {
        name: named(AGENT)?,
        what: certificate.display().to_string(),
        role: named(AGENT_ROLE)?,
        verbs: AGENT_VERBS,
        is_renewed: true,
    };
    let_in(&args.config, agent)
}

/// The server takes what is signed for the fleet.
fn take_signed(config: &Path, fleet: &str) -> Result<(), Failure> {
    let text = folder::read(config).map_err(FleetFault::from)?;
    let refused = |why: &str| Failure::Usage(format!("{}: {why}", config.display()));
    let parsed: Result<DocumentMut, toml_edit::TomlError> = text.parse();
    let mut document = parsed.map_err(|error| refused(error.message()))?;
    let fleets = document.entry("fleet").or_insert(value(Array::new()));
    let fleets = fleets
        .as_array_mut()
        .ok_or_else(|| refused("fleet is no list of names"))?;
    if fleets.iter().any(|known| known.as_str() == Some(fleet)) {
        return Ok(());
    }
    fleets.push(fleet);
    replace_checked(config, &document.to_string())
}

/// Replaces the server's configuration, if the server would take what it is then.
fn replace_checked(config: &Path, text: &str) -> Result<(), Failure> {
    let beside = config.with_extension(format!("toml.{}.draft", std::process::id()));
    let mut draft = Written::default();
    draft.put(&beside, text, PRIVATE)?;
    check(&beside, &|_| {})?;
    let write = || {
        let mode = fs::metadata(config)?.permissions().mode() & 0o777;
        replace(config, text, mode)
    };
    let path = config.to_owned();
    let written = write().map_err(|source| SetupError::Write { path, source });
    Ok(written.map_err(FleetFault::from)?)
}

/// What fails here is said, and all is written: it is in force when the server is started.
fn reload(args: &Join) {
    let reloaded = server::reload(Reload {
        config: Some(args.config.clone()),
        check: false,
        options: Box::default(),
    });
    if let Err(failure) = reloaded {
        let hint = failure.hint();
        output::notice(&output::error_line(&failure, hint.as_deref()));
        output::notice("the server does not know it yet: `prn server reload`, or start it");
    }
}

fn warn_of_loopback(address: &Address) {
    let (host, _) = address.parts();
    let is_loopback = host
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    if is_loopback || host == "localhost" {
        output::notice(&format!(
            "warning: the server listens at {} alone, where no other machine finds it: what jobs print can be read here alone",
            address.0
        ));
    }
}

fn join_client(invitation: &Invitation) -> Result<Exit, Failure> {
    let place = Place::of_environment()?;
    let path = std::path::absolute(folder::usual(&place, &invitation.fleet))?;
    let at = |name: &str| path.join(name);
    let section = Section {
        name: &invitation.fleet,
        store: &invitation.store,
        authority: &at("authority.pem"),
        certificate: &at("client.pem"),
        key: &at("client.key"),
    };
    if section.is_known(&place)? {
        return renew_client(&place, invitation, &section);
    }
    section::is_new(&place, &invitation.fleet)?;
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path);
    made.map_err(|source| SetupError::Write {
        path: path.clone(),
        source,
    })
    .map_err(FleetFault::from)?;
    let mut written = Written::default();
    written.put(section.key, &invitation.key, PRIVATE)?;
    written.put(section.certificate, &invitation.certificate, READABLE)?;
    written.put(section.authority, &invitation.authority, READABLE)?;
    section::add(&place, &section)?;
    written.is_whole = true;
    output::print_line(&output::escaped(&place.path.display().to_string()))?;
    output::notice(&format!(
        "then: `prn submit --fleet={} -- COMMAND`",
        invitation.fleet
    ));
    Ok(exit::OK)
}

/// Another certificate and key of somebody's, where `prn fleet join` has written the earlier ones.
fn renew_client(
    place: &Place,
    invitation: &Invitation,
    section: &Section<'_>,
) -> Result<Exit, Failure> {
    let replaced = invitation.check_replaces(section.certificate);
    replaced.map_err(FleetFault::from)?;
    let own = invitation.own();
    let own = own.map_err(|why| Failure::Usage(why.to_owned()))?;
    let [fingerprint, _] = own.key_fingerprints();
    let put =
        |path: &Path, text: &str, mode| put_instead(path, text, mode).map_err(FleetFault::from);
    put(section.key, &invitation.key, PRIVATE)?;
    put(section.certificate, &invitation.certificate, READABLE)?;
    put(section.authority, &invitation.authority, READABLE)?;
    output::print_line(&output::escaped(&place.path.display().to_string()))?;
    let name = invitation.client.as_deref().unwrap_or_default();
    output::notice(&format!(
        "another certificate and key: each host lets them in after `prn pin add {name} {fingerprint}` and `prn server reload` there"
    ));
    Ok(exit::OK)
}
