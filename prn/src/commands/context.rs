//! `prn context`: servers by name, in the user's configuration.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use prn_client::Client;
use prn_client::credentials::{CertificateSource, KeyFingerprint, KeySource, ServerSource};
use prn_proto::tls::{AuthorityCertificate, Certificate};
use prn_proto::units::Address;

use crate::context::config::{
    Config, Context as Known, Fingerprints, KEY_OF_ENVIRONMENT, Place, Texts,
};
use crate::context::edit::{self, Existing};
use crate::context::error::ContextError;
use crate::context::line::{ServerLine, is_line};
use crate::context::name::{Name, Patterns};
use crate::context::settings::{Found, Origin, Settings, Target, in_force, of_context, own_keygen};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::lasting::skew;
use crate::output::format::{Format, FormatFlag};
use crate::output::{self, CheckedContext, KnownContext, ShownContext, ShownSetting};
use crate::which::connection::{Connection, Remote, of_certificate};
use crate::which::hosts::{Host, Hosts};

/// Columns of a PEM text (RFC 7468).
const PEM_COLUMNS: usize = 64;

/// Servers by name: add them once, then name them with --context
///
/// Contexts are in ~/.config/prn/config.toml ($XDG_CONFIG_HOME, PRN_CONFIG), which you may also
/// write by hand. What is typed wins over what is set: first --address, --server-cert,
/// --client-cert and
/// --tls-key, then the context of --context, then the environment (PRN_ADDRESS and the like), then
/// the context of PRN_CONTEXT, then the one of `prn context use`.
///
/// A pattern (--context 'web*'), a list (web1,web2) or --context given again means several servers,
/// for `list`, `status`, `logs`, `events`, `stats`, `top`, `wait`, `stop`, `kill`, `start`, `run`,
/// `exec`, `workspace list`, `version` and `health`.
#[derive(Debug, Args)]
pub struct Context {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What is done with contexts.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Add(Add),
    Use(Use),
    #[command(visible_alias = "ls")]
    List(List),
    Show(Show),
    #[command(visible_alias = "rm")]
    Remove(Remove),
    Check(Check),
}

/// Add a server
///
/// It needs an address, and what the server is known by: its certificate, its key's fingerprint, or
/// an authority that has signed its certificate. That comes from a line that `prn context show
/// --line` has printed, from a file with such a line or with the keys of a context, or from flags,
/// which win. The server's certificate is copied into the configuration. Your own certificate and
/// key are those of the flags, else client.pem and client.key beside the configuration.
///
/// The first context becomes the current one.
#[derive(Debug, Args)]
pub struct Add {
    /// Its name: up to 64 letters, digits, and . _ - behind the first of them
    pub name: Name,
    /// The line (prn1:…), a file with it or with the keys of a context (address, server-cert, …),
    /// or - for standard input
    #[arg(value_name = "LINE|FILE|-")]
    pub from: Option<String>,
    /// Where the server listens
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<Address>,
    /// The server's certificate (PEM). Repeatable, while a new one follows an old one
    #[arg(long, value_name = "FILE")]
    pub server_cert: Vec<PathBuf>,
    /// Or its key's fingerprint (SHA256:… or sha256//…). Repeatable
    #[arg(long, value_name = "FINGERPRINT")]
    pub server_fingerprint: Vec<KeyFingerprint>,
    /// Or the certificate (PEM) of an authority that signs the server's. Repeatable
    #[arg(long, value_name = "FILE")]
    pub server_ca: Vec<PathBuf>,
    /// The server's name in a certificate that --server-ca has signed [default: the host of the
    /// address]
    #[arg(long, value_name = "NAME", requires = "server_ca")]
    pub server_name: Option<String>,
    /// Your own certificate (PEM), for this server
    #[arg(long, value_name = "FILE")]
    pub client_cert: Option<PathBuf>,
    /// Your private key (PKCS#8, PEM), for this server: a file, or keyring:NAME, credential:NAME or
    /// pkcs11:URI; or env, for the one in PRN_TLS_KEY
    #[arg(long, visible_alias = "key", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// A command that prints your private key instead, with its arguments; give it last
    #[arg(
        long,
        value_name = "COMMAND",
        num_args = 1..,
        allow_hyphen_values = true,
        conflicts_with = "tls_key"
    )]
    pub key_command: Option<Vec<String>>,
    /// Sign all that you start there (prn start --sign)
    #[arg(long)]
    pub sign: bool,
    /// Replace the context of this name, if there is one. A line says nothing of your own
    /// certificate and key, so they stay what they were
    #[arg(short, long)]
    pub force: bool,
    /// Make it the current one
    #[arg(long = "use")]
    pub is_used: bool,
}

/// Make a context the current one: that of commands that name none
#[derive(Debug, Args)]
pub struct Use {
    /// Its name
    pub name: Name,
}

/// List all contexts, by name
#[derive(Debug, Args)]
pub struct List {
    /// Names alone, one a line
    #[arg(short, long, conflicts_with = "output")]
    pub quiet: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
}

/// Show which server would be talked to, and where each part of that comes from
#[derive(Debug, Args)]
pub struct Show {
    /// Of this context, as --context would mean it
    #[arg(conflicts_with = "context")]
    pub name: Option<Name>,
    /// Print it as one line for `prn context add`: address and certificate of the server, no secret
    #[arg(long, conflicts_with = "output")]
    pub line: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Remove contexts
#[derive(Debug, Args)]
pub struct Remove {
    /// Which
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
}

/// Connect, and say which version answers, how fast, and until when the certificates are valid that
/// are known
///
/// The exit code is the highest of what each alone would give.
#[derive(Debug, Args)]
pub struct Check {
    /// Contexts, or patterns of them [default: the one that would be talked to]
    #[arg(value_name = "NAME", conflicts_with_all = ["all", "context"])]
    pub names: Vec<String>,
    /// All contexts
    #[arg(short, long, conflicts_with = "context")]
    pub all: bool,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

pub async fn context(args: Context) -> Result<Exit, Failure> {
    match args.verb {
        Verb::Add(args) => add(args),
        Verb::Use(args) => make_current(&args),
        Verb::List(args) => list(args),
        Verb::Show(args) => show(args),
        Verb::Remove(args) => remove(&args),
        Verb::Check(args) => check(args).await,
    }
}

fn add(args: Add) -> Result<Exit, Failure> {
    let place = Place::of_environment()?;
    let source = Source::of(args.from.as_deref())?;
    let address = source.address(&args)?;
    let server = source.server(&args)?;
    let own = |flag: Option<&Path>, said: Option<String>| match flag {
        Some(path) if path == Path::new(KEY_OF_ENVIRONMENT) => Ok(Some(KEY_OF_ENVIRONMENT.into())),
        Some(path) => absolute(path).map(Some),
        None => Ok(said),
    };
    let key = args.tls_key.as_deref().map(Path::as_os_str);
    let key = key.map(|key| KeySource::try_from(key.to_owned()));
    let place_of_key = key
        .transpose()
        .map_err(|error| Failure::Usage(format!("--tls-key: {error}")))?;
    let key_said = source.known.tls_key.filter(|_| args.key_command.is_none());
    let tls_key = match place_of_key {
        Some(place) if place.file().is_none() => Some(place.to_string()),
        Some(_) | None => own(args.tls_key.as_deref(), key_said)?,
    };
    let command_said = source.known.key_command.filter(|_| args.tls_key.is_none());
    let context = Known {
        address: Some(address),
        server_cert: Texts::of(server.certificates),
        server_fingerprint: Some(server.fingerprints)
            .filter(|all| !all.is_empty())
            .map(Fingerprints),
        server_ca: Texts::of(server.authorities),
        server_name: server.name,
        client_cert: own(args.client_cert.as_deref(), source.known.client_cert)?,
        tls_key,
        key_command: args.key_command.clone().or(command_said),
        sign: args.sign || source.known.sign,
    };
    let existing = if args.force {
        Existing::Replaced
    } else {
        Existing::Kept
    };
    let is_of_line = source.line.is_some();
    let becomes_current = edit::change(&place, |document| {
        let before = known(&place, &document.to_string())?;
        let before = before.contexts.get(args.name.as_str());
        let context = match before.filter(|_| is_of_line) {
            Some(before) => with_own(context, before),
            None => context,
        };
        let is_first = edit::add(document, &args.name, &context, existing)?;
        if args.is_used {
            edit::set_current(document, args.name.as_str());
        }
        Ok(is_first || args.is_used)
    })?;
    output::print_line(args.name.as_str())?;
    if becomes_current {
        output::notice(&format!("context {} is the current one", args.name));
    }
    let settings = of_context(&place.load()?, &place, args.name.as_str())?;
    output::notice(&next_step(&settings, &place));
    Ok(exit::OK)
}

/// With the certificate and the key that the user has there already, where it names none, and
/// signing where that was asked for.
fn with_own(context: Known, before: &Known) -> Known {
    Known {
        sign: context.sign || before.sign,
        client_cert: context.client_cert.or_else(|| before.client_cert.clone()),
        tls_key: match &context.key_command {
            Some(_) => None,
            None => context.tls_key.clone().or_else(|| before.tls_key.clone()),
        },
        key_command: match &context.tls_key {
            Some(_) => None,
            None => context.key_command.or_else(|| before.key_command.clone()),
        },
        ..context
    }
}

/// What an added context was made of.
#[derive(Debug, Default)]
struct Source {
    known: Known,
    line: Option<ServerLine>,
    /// What paths in it are meant from.
    folder: Option<Place>,
}

impl Source {
    fn of(from: Option<&str>) -> Result<Self, Failure> {
        let Some(from) = from else {
            return Ok(Self::default());
        };
        if is_line(from) {
            return Self::of_text(from, Path::new("the line"));
        }
        if from == "-" {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .map_err(Failure::LocalInput)?;
            return Self::of_text(&text, Path::new("-"));
        }
        let path = Path::new(from);
        let text = std::fs::read_to_string(path).map_err(|source| ContextError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::of_text(&text, path)
    }

    /// A line, or the keys of a context.
    fn of_text(text: &str, path: &Path) -> Result<Self, Failure> {
        if is_line(text.trim()) {
            let line = text.parse().map_err(ContextError::from)?;
            return Ok(Self {
                line: Some(line),
                ..Self::default()
            });
        }
        let folder = Place {
            path: std::path::absolute(path)?,
        };
        let mut known = Known::parse(text).map_err(|(line, what)| ContextError::Parse {
            path: path.to_owned(),
            line,
            what,
        })?;
        let named = |text: String| match folder.certificate(&text, String::new()) {
            CertificateSource::File(path) => path.to_string_lossy().into_owned(),
            CertificateSource::Text { pem, .. } => pem,
        };
        known.client_cert = known.client_cert.map(named);
        known.tls_key = known.tls_key.map(|text| match folder.key(&text).file() {
            Some(path) if text != KEY_OF_ENVIRONMENT => path.to_string_lossy().into_owned(),
            Some(_) | None => text,
        });
        Ok(Self {
            known,
            line: None,
            folder: Some(folder),
        })
    }

    fn address(&self, args: &Add) -> Result<Address, Failure> {
        let line = self.line.as_ref();
        let address = (args.address.clone())
            .or_else(|| self.known.address.clone())
            .or_else(|| line.map(|line| line.address.clone()));
        address.ok_or_else(|| missing("--address", "where the server listens"))
    }

    /// What the server is known by, by flags or by this.
    fn server(&self, args: &Add) -> Result<Server, Failure> {
        let file = |path: &PathBuf| CertificateSource::File(path.clone());
        let flags = ServerSource {
            certificates: args.server_cert.iter().map(file).collect(),
            fingerprints: args.server_fingerprint.clone(),
            authorities: args.server_ca.iter().map(file).collect(),
            name: String::new(),
        };
        if flags != ServerSource::default() {
            return Server::of(&flags, args.server_name.clone());
        }
        if let (Some(folder), known) = (&self.folder, &self.known) {
            let sources = |texts: &Option<Texts>| {
                let texts = texts.as_ref().map_or(&[][..], Texts::as_slice);
                let each = texts
                    .iter()
                    .map(|text| folder.certificate(text, "in it".to_owned()));
                each.collect::<Vec<_>>()
            };
            let said = ServerSource {
                certificates: sources(&known.server_cert),
                fingerprints: known.server_fingerprint.clone().unwrap_or_default().0,
                authorities: sources(&known.server_ca),
                name: String::new(),
            };
            if said != ServerSource::default() {
                return Server::of(&said, known.server_name.clone());
            }
        }
        let line = self.line.as_ref();
        let line = line.ok_or_else(|| missing("--server-cert", "the server's certificate"))?;
        Ok(Server {
            certificates: line.certificates.iter().map(|one| pem(one.der())).collect(),
            ..Server::default()
        })
    }
}

/// What a server is known by, as a context has it: with the certificates themselves.
#[derive(Debug, Default)]
struct Server {
    certificates: Vec<String>,
    fingerprints: Vec<KeyFingerprint>,
    authorities: Vec<String>,
    name: Option<String>,
}

impl Server {
    fn of(source: &ServerSource, name: Option<String>) -> Result<Self, Failure> {
        let certificate = |file: &CertificateSource| {
            let loaded = file.load().map_err(|error| of_certificate(error, source))?;
            Ok::<_, Failure>(pem(loaded.der()))
        };
        let authority = |file: &CertificateSource| {
            let loaded = file.load_as(AuthorityCertificate::from_pem)?;
            Ok::<_, Failure>(pem(loaded.der()))
        };
        Ok(Self {
            certificates: source
                .certificates
                .iter()
                .map(certificate)
                .collect::<Result<_, _>>()?,
            fingerprints: source.fingerprints.clone(),
            authorities: source
                .authorities
                .iter()
                .map(authority)
                .collect::<Result<_, _>>()?,
            name,
        })
    }
}

fn missing(what: &'static str, why: &str) -> Failure {
    let why = format!("is missing: {why}; or give a line that `prn context show --line` printed");
    Failure::Context(ContextError::Setting { what, why })
}

/// A path that means the same from every folder.
fn absolute(path: &Path) -> Result<String, Failure> {
    Ok(std::path::absolute(path)?.to_string_lossy().into_owned())
}

/// A certificate in PEM form.
pub fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while let Some((line, further)) = rest.split_at_checked(PEM_COLUMNS.min(rest.len()))
        && !line.is_empty()
    {
        pem.push_str(line);
        pem.push('\n');
        rest = further;
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// What to do before the server lets this user in, as far as this side can tell.
fn next_step(settings: &Settings, place: &Place) -> String {
    let on_server = |path: &str| {
        format!(
            "the server lets you in once its configuration knows you: by a copy of {path} (--client-cert, client-cert, or cert of a [[client]]), by its key's fingerprint, or by an authority and a name"
        )
    };
    let check = settings.context.as_deref().unwrap_or_default();
    let check = format!("then `prn context check {check}`");
    match (settings.client_cert(), settings.key()) {
        (Ok(certificate), Ok(_)) => format!("{}; {check}", on_server(&certificate.to_string())),
        (Err(_), Err(_)) => {
            let own = place.own_certificate();
            let pinned = on_server(&own.to_string_lossy());
            format!(
                "you have no key and certificate yet: {} makes both; {pinned}; {check}",
                own_keygen(place)
            )
        }
        (Err(error), _) | (_, Err(error)) => format!("{error}; {check}"),
    }
}

fn make_current(args: &Use) -> Result<Exit, Failure> {
    let place = Place::of_environment()?;
    let name = args.name.as_str();
    edit::change(&place, |document| {
        let config = known(&place, &document.to_string())?;
        if !config.contexts.contains_key(name) {
            return Err(config.unknown(name));
        }
        edit::set_current(document, name);
        Ok(())
    })?;
    output::print_line(name)?;
    Ok(exit::OK)
}

fn known(place: &Place, text: &str) -> Result<Config, ContextError> {
    crate::context::config::parse(text).map_err(|(line, what)| place.refused(line, what))
}

fn list(mut args: List) -> Result<Exit, Failure> {
    if args.quiet {
        args.format.output = Format::Name;
    }
    let place = Place::of_environment()?;
    let config = place.load()?;
    let in_force = in_force(&config).unwrap_or_else(|error| {
        output::notice(&error.to_string());
        Vec::new()
    });
    let all = config.contexts.keys().map(|name| {
        let settings = of_context(&config, &place, name)?;
        let context = config.contexts.get(name);
        Ok(KnownContext {
            name: name.clone(),
            current: in_force.contains(name),
            address: context.and_then(|context| Some(context.address.as_ref()?.0.clone())),
            server_certificate_not_after: end_of_server(&settings),
            client_certificate_not_after: end_of(settings.client_cert.as_ref()),
        })
    });
    let all = all.collect::<Result<Vec<_>, ContextError>>()?;
    output::contexts(&all, &args.format)?;
    Ok(exit::OK)
}

/// What stands in a line: the server's certificates.
fn certificates(settings: &Settings) -> Result<Vec<Certificate>, Failure> {
    let sources = &settings.server()?.certificates;
    if sources.is_empty() {
        return Err(Failure::Context(ContextError::Setting {
            what: "--line",
            why: "is made of the server's certificate: name that with --server-cert".to_owned(),
        }));
    }
    let loaded = sources.iter().map(CertificateSource::load);
    Ok(loaded.collect::<Result<_, _>>()?)
}

/// Until when the server's certificate is valid: the last of them, if it is known by any.
fn end_of_server(settings: &Settings) -> Option<SystemTime> {
    let certificates = &settings.server.as_ref()?.value.certificates;
    let ends = certificates
        .iter()
        .map(|source| source.load().ok().and_then(not_after));
    ends.max().flatten()
}

/// Until when a certificate is valid, as far as it can be read.
fn end_of(certificate: Option<&Found<CertificateSource>>) -> Option<SystemTime> {
    certificate?.value.load().ok().and_then(not_after)
}

fn not_after(certificate: Certificate) -> Option<SystemTime> {
    Some(UNIX_EPOCH + certificate.not_after()?)
}

fn show(args: Show) -> Result<Exit, Failure> {
    let mut connection = args.connection;
    connection
        .context
        .extend(args.name.map(|name| name.to_string()));
    let settings = match connection.target()? {
        Target::One(settings) => *settings,
        Target::Several(several) => crate::which::connection::sole(several)?,
    };
    if args.line {
        let line = ServerLine {
            address: settings
                .address
                .value
                .parse()
                .map_err(|error| Failure::Usage(format!("{error}")))?,
            certificates: certificates(&settings)?,
        };
        output::print_line(&line.to_string())?;
        return Ok(exit::OK);
    }
    let configuration = Place::of_environment().ok().map(|place| place.path);
    let shown = ShownContext {
        context: settings.context.clone(),
        configuration: configuration.map(|path| path.to_string_lossy().into_owned()),
        settings: std::iter::once(shown_address(&settings.address))
            .chain(shown_server(settings.server.as_ref()))
            .chain([
                shown_certificate("client-cert", settings.client_cert.as_ref()),
                shown_key(settings.key.as_ref()),
            ])
            .chain(settings.signs.then(|| {
                shown_setting(
                    "sign",
                    Some(("true".to_owned(), Origin::Context.to_string())),
                )
            }))
            .collect(),
    };
    output::shown_context(&shown, &args.format)?;
    Ok(exit::OK)
}

fn shown_setting(name: &'static str, found: Option<(String, String)>) -> ShownSetting {
    let (value, origin) = found.unzip();
    ShownSetting {
        name,
        value,
        origin,
        fingerprint: None,
        not_after: None,
        error: None,
    }
}

fn shown_address(address: &Found<String>) -> ShownSetting {
    let found = (address.value.clone(), address.origin.to_string());
    shown_setting("address", Some(found))
}

/// What the server is known by: each by itself.
fn shown_server(found: Option<&Found<ServerSource>>) -> Vec<ShownSetting> {
    let Some(Found { value, origin }) = found else {
        return vec![shown_setting("server-cert", None)];
    };
    let of = |source: &CertificateSource| Found {
        value: source.clone(),
        origin: *origin,
    };
    let text = |name, value: String| shown_setting(name, Some((value, origin.to_string())));
    let certificates = value.certificates.iter();
    let certificates = certificates.map(|one| shown_certificate("server-cert", Some(&of(one))));
    let fingerprints = value.fingerprints.iter();
    let fingerprints = fingerprints.map(|one| text("server-fingerprint", one.to_string()));
    let authorities = value.authorities.iter();
    let authorities = authorities.map(|one| shown_authority(&of(one)));
    let name = (!value.authorities.is_empty()).then(|| text("server-name", value.name.clone()));
    let shown = certificates.chain(fingerprints).chain(authorities);
    shown.chain(name).collect()
}

fn shown_authority(found: &Found<CertificateSource>) -> ShownSetting {
    let shown = shown_setting("server-ca", Some(said(found)));
    match found.value.load_as(AuthorityCertificate::from_pem) {
        Ok(authority) => ShownSetting {
            fingerprint: Some(authority.fingerprint().to_string()),
            ..shown
        },
        Err(error) => ShownSetting {
            error: Some(output::error_line(&error, None)),
            ..shown
        },
    }
}

/// Where a certificate is, and what says so.
fn said(found: &Found<CertificateSource>) -> (String, String) {
    let value = match &found.value {
        CertificateSource::File(path) => path.to_string_lossy().into_owned(),
        CertificateSource::Text { .. } => "in the configuration".to_owned(),
    };
    (value, found.origin.to_string())
}

fn shown_certificate(name: &'static str, found: Option<&Found<CertificateSource>>) -> ShownSetting {
    let shown = shown_setting(name, found.map(said));
    match found.map(|found| found.value.load()) {
        Some(Ok(certificate)) => ShownSetting {
            fingerprint: Some(certificate.fingerprint().to_string()),
            not_after: not_after(certificate),
            ..shown
        },
        Some(Err(error)) => ShownSetting {
            error: Some(output::error_line(&error, None)),
            ..shown
        },
        None => shown,
    }
}

fn shown_key(found: Option<&Found<KeySource>>) -> ShownSetting {
    let said = found.map(|found| (found.value.to_string(), found.origin.to_string()));
    let error = found.and_then(|found| found.value.load().err());
    ShownSetting {
        error: error.map(|error| output::error_line(&error, None)),
        ..shown_setting("tls-key", said)
    }
}

fn remove(args: &Remove) -> Result<Exit, Failure> {
    let place = Place::of_environment()?;
    let names: Vec<_> = args.names.iter().map(Name::to_string).collect();
    let was_current = edit::change(&place, |document| {
        let config = known(&place, &document.to_string())?;
        match names
            .iter()
            .find(|name| !config.contexts.contains_key(*name))
        {
            Some(name) => Err(config.unknown(name)),
            None => Ok(edit::remove(document, &names)),
        }
    })?;
    if was_current {
        output::notice("no context is the current one now: `prn context use NAME` makes one it");
    }
    Ok(exit::OK)
}

async fn check(args: Check) -> Result<Exit, Failure> {
    let mut connection = args.connection;
    if args.all {
        connection.context.push("*".to_owned());
    }
    Patterns::of(args.names.iter().map(String::as_str)).map_err(|error| ContextError::Setting {
        what: "NAME",
        why: format!("has {error}"),
    })?;
    connection.context.extend(args.names);
    let hosts = Hosts::new(
        match connection.target()? {
            Target::One(settings) => vec![*settings],
            Target::Several(several) => several,
        },
        connection.call_timeout,
    );
    let answers = hosts.each(ask).await;
    let exits = answers.iter().map(|answer| match answer {
        Ok(_) => exit::OK,
        Err(failure) => failure.exit(),
    });
    let exit = exits.fold(exit::OK, Exit::highest);
    let checked = hosts.all().iter().zip(answers);
    let checked: Vec<_> = checked
        .map(|(host, answer)| checked_context(host, answer))
        .collect();
    output::checked_contexts(&checked, &args.format)?;
    Ok(exit)
}

/// What a server has answered.
#[derive(Debug)]
struct Answer {
    version: Option<String>,
    latency_usec: u64,
}

async fn ask(_: &Host, _: &Remote, client: Client) -> Result<Answer, Failure> {
    // The first call has the handshake's last part in it.
    let server = skew::server(&client).await?;
    let since = Instant::now();
    skew::server(&client).await?;
    Ok(Answer {
        version: server.map(|server| server.version),
        latency_usec: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
    })
}

fn checked_context(host: &Host, answer: Result<Answer, Failure>) -> CheckedContext {
    let settings = &host.settings;
    let (answer, error) = match answer {
        Ok(answer) => (Some(answer), None),
        Err(failure) => (None, Some(output::error_line(&failure, None))),
    };
    CheckedContext {
        name: host.name.clone(),
        address: settings.address.value.clone(),
        ok: answer.is_some(),
        latency_usec: answer.as_ref().map(|answer| answer.latency_usec),
        version: answer.and_then(|answer| answer.version),
        server_certificate_not_after: end_of_server(settings),
        client_certificate_not_after: end_of(settings.client_cert.as_ref()),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_becomes_the_text_that_it_was() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let made = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        let certificate = Certificate::from_der(made.der().to_vec()).unwrap();
        let text = pem(certificate.der());
        assert_eq!(text, made.pem().replace("\r\n", "\n"));
    }
}
