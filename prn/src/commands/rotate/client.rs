//! `prn rotate client`: on a client's machine, as its user.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use nix::unistd::Uid;
use prn_client::credentials::{CertificateSource, KeySource};
use prn_client::{Access, AccessQuestion};
use prn_proto::tls::{Certificate, KeyFingerprint};

use super::pair::{Pair, Stage};
use super::step::{Step, locked_pair, quoted};
use crate::context::config::Place;
use crate::context::settings::{Settings, Target, of_context};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::which::connection::{CallTimeout, Connection, Remote, sole};

/// Replace your own key and certificate
///
/// Three steps. Alone it makes the next ones, and prints what the server's operator has to type so
/// that the server lets you in by either. Then --finish connects with the next ones, to each server
/// whose context has these files, and puts them in their places if all of them let you in; it
/// prints what takes the old ones away.
#[derive(Debug, Args)]
pub struct RotateClient {
    /// Which step.
    #[command(flatten)]
    pub step: Step,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn rotate(args: RotateClient) -> Result<Exit, Failure> {
    let settings = match args.connection.target()? {
        Target::One(settings) => *settings,
        Target::Several(several) => sole(several)?,
    };
    let (certificate, key) = files(&settings)?;
    let pair = Pair::new(&certificate, &key)?;
    check_owner(&pair.key)?;
    let _lock = locked_pair(&pair)?;
    let client = Client {
        servers: sharing(settings, &pair)?,
        timeout: args.connection.call_timeout,
        pair,
    };
    if args.step.abort {
        return client.abort();
    }
    let stage = client.pair.stage()?;
    if args.step.finish {
        client.finish(&stage).await
    } else {
        client.begin(stage, args.step.days).await
    }
}

/// The files that settings name.
fn files(settings: &Settings) -> Result<(PathBuf, PathBuf), Failure> {
    let no_file = |what: &str, how: &str| {
        Failure::Usage(format!(
            "{what}, where nothing can be put in its place: {how}"
        ))
    };
    let certificate = match settings.client_cert()? {
        CertificateSource::File(path) => path.clone(),
        CertificateSource::Text { .. } => {
            return Err(no_file(
                "your certificate stands in the configuration itself",
                "write it to a file, and name that with client-cert",
            ));
        }
    };
    match settings.key()? {
        KeySource::File(path) => Ok((certificate, path.clone())),
        KeySource::Environment => Err(no_file(
            "your key is in PRN_TLS_KEY",
            "name its file with --tls-key",
        )),
        place @ (KeySource::Credential(_)
        | KeySource::Keyring(_)
        | KeySource::Command(_)
        | KeySource::Token(_)) => Err(no_file(
            &format!("your key is in {place}"),
            "have both certificates let in while the next key follows it there (docs/operate/keys.md)",
        )),
    }
}

/// Who else makes the next key would be the only one who can read it.
fn check_owner(key: &Path) -> Result<(), Failure> {
    let uid = key.metadata()?.uid();
    let own = Uid::effective().as_raw();
    if uid == own {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} belongs to user {uid}, and you are user {own}: its owner runs `prn rotate client`",
        key.display()
    )))
}

/// The settings, and those of all contexts that name the same files.
fn sharing(settings: Settings, pair: &Pair) -> Result<Vec<Settings>, Failure> {
    let mut all = vec![settings];
    let Ok(place) = Place::of_environment() else {
        return Ok(all);
    };
    let config = place.load()?;
    let first = all.first().and_then(|settings| settings.context.clone());
    for name in config.names() {
        let other = of_context(&config, &place, &name)?;
        let is_same = files(&other).is_ok_and(|(certificate, _)| {
            let paths = [certificate.canonicalize(), pair.certificate.canonicalize()];
            matches!(paths, [Ok(one), Ok(other)] if one == other)
        });
        if is_same && first.as_ref() != Some(&name) {
            all.push(other);
        }
    }
    Ok(all)
}

/// The user of a pair.
struct Client {
    /// All that it is for.
    servers: Vec<Settings>,
    timeout: CallTimeout,
    pair: Pair,
}

impl Client {
    async fn begin(&self, stage: Stage, days: u32) -> Result<Exit, Failure> {
        let next = self.pair.next();
        let certificate = match stage {
            Stage::Between => {
                return Err(Failure::Usage(
                    "the next key is in its place already, and its certificate is not: --finish goes on, --abort goes back"
                        .to_owned(),
                ));
            }
            Stage::Begun(certificate) => {
                output::notice(&format!(
                    "{} was made before, and is still to come",
                    next.certificate.display()
                ));
                certificate
            }
            Stage::Idle => {
                let made = self.pair.begin(days)?;
                let (certificate, key) = (next.certificate.display(), next.key.display());
                output::notice(&format!(
                    "made {certificate} and {key}; you go on with the present ones"
                ));
                made
            }
        };
        let fingerprint = of_key(&certificate);
        for server in &self.servers {
            // It may not be there now, and its operator knows the name.
            let access = self.asked(server, &self.pair).await;
            let name = access.map_or_else(|_| "NAME".to_owned(), |access| access.principal);
            output::print_line(&format!("prn pin add {name} {fingerprint}"))?;
            output::notice(&format!(
                "next, the operator of {} types this there, and reloads; or gives {} to `prn pin add` instead",
                shown(server),
                quoted(&next.certificate)
            ));
        }
        output::notice(
            "then: the same command with --finish, which tries it before anything changes",
        );
        Ok(exit::OK)
    }

    /// What the server says of who comes with this pair.
    async fn asked(&self, server: &Settings, pair: &Pair) -> Result<Access, Failure> {
        let mut settings = server.clone();
        if let Some(found) = &mut settings.client_cert {
            found.value = CertificateSource::File(pair.certificate.clone());
        }
        if let Some(found) = &mut settings.key {
            found.value = KeySource::File(pair.key.clone());
        }
        let remote = Remote::of(&settings, self.timeout)?;
        let client = remote.connect().await?;
        Ok(client.check_access(AccessQuestion::Anything).await?)
    }

    async fn finish(&self, stage: &Stage) -> Result<Exit, Failure> {
        let (next, old) = (self.pair.next(), self.pair.old());
        let (tried, before) = match stage {
            Stage::Begun(_) => (next, self.pair.load()?),
            Stage::Between => {
                let key = self.pair.key.clone();
                let certificate = next.certificate;
                (Pair { certificate, key }, self.pair.load()?)
            }
            // It was interrupted before it could say so, or is asked for again.
            Stage::Idle if self.pair.has_old() => (self.pair.clone(), old.load()?),
            Stage::Idle => return Ok(self.pair.finish(stage).map(|()| exit::OK)?),
        };
        let mut names = Vec::new();
        for server in &self.servers {
            let access = self.asked(server, &tried).await.inspect_err(|_| {
                output::notice(&format!(
                    "{} has not let in the next certificate, and nothing has changed: where it refuses it, its operator types what this command printed without --finish, and reloads",
                    shown(server)
                ));
            })?;
            names.push(access.principal);
        }
        if !matches!(stage, Stage::Idle) {
            self.pair.finish(stage)?;
        }
        let fingerprint = of_key(&before);
        for (server, name) in self.servers.iter().zip(names) {
            output::print_line(&format!("prn pin remove {name} {fingerprint}"))?;
            output::notice(&format!(
                "{} lets you in by the next certificate. Its operator takes the old one away with this, once no command runs that has begun before",
                shown(server)
            ));
        }
        output::notice(&format!(
            "what was before is in {} and {}: remove both then",
            old.certificate.display(),
            old.key.display()
        ));
        Ok(exit::OK)
    }

    fn abort(&self) -> Result<Exit, Failure> {
        let next = self.pair.next();
        let certificate = CertificateSource::File(next.certificate).load();
        if !self.pair.abort()? {
            output::print_line("nothing was to come")?;
            return Ok(exit::OK);
        }
        output::print_line("the next key and certificate are removed")?;
        if let Ok(certificate) = certificate {
            output::notice(&format!(
                "a server's operator who has let it in takes it away: `prn pin remove NAME {}`",
                of_key(&certificate)
            ));
        }
        Ok(exit::OK)
    }
}

fn of_key(certificate: &Certificate) -> KeyFingerprint {
    let [fingerprint, _] = certificate.key_fingerprints();
    fingerprint
}

/// A server as the user names it.
fn shown(server: &Settings) -> &str {
    let context = server.context.as_deref();
    context.unwrap_or(&server.address.value)
}
