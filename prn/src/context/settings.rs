//! Where each part of a connection comes from: flags, the environment, a context, or a default.
//!
//! | | |
//! |---|---|
//! | first | the flags for single parts: `--address`, `--server-cert` and its kin, `--client-cert`, `--tls-key` |
//! | then | the context that `--context` names |
//! | then | the environment: `PRN_ADDRESS`, `PRN_SERVER_CERT`, `PRN_CLIENT_CERT`, `PRN_TLS_KEY`, `PRN_TLS_KEY_FILE` |
//! | then | the context that `PRN_CONTEXT` names, else the current one |
//! | last | of a context: the key and the certificate beside the configuration; the address of this machine |
//!
//! So what is typed wins over what is set, and the environment of a shell never leads a command
//! that names its context to another server.

use std::fmt;
use std::path::PathBuf;

use prn_client::credentials::{
    CertificateSource, KEY_FILE_VARIABLE, KEY_VARIABLE, KeyFingerprint, KeySource, ServerSource,
};
use prn_proto::defaults::ADDRESS;
use prn_proto::units::{Address, InvalidUnit};

use super::config::{Config, Context, KEY_OF_ENVIRONMENT, Place, Texts};
use super::error::ContextError;
use super::name::Patterns;

/// The variable that names a context.
const CONTEXT_VARIABLE: &str = "PRN_CONTEXT";

/// Parts that were given one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Where the server is.
    pub address: Option<String>,
    /// What it is known by.
    pub server: GivenServer,
    /// The user's own certificate.
    pub client_cert: Option<PathBuf>,
    /// The user's key.
    pub key: Option<KeySource>,
}

/// What a server is known by, as it is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenServer {
    /// Its certificates.
    pub certificates: Vec<PathBuf>,
    /// Fingerprints of its keys.
    pub fingerprints: Vec<KeyFingerprint>,
    /// Authorities that sign its certificates.
    pub authorities: Vec<PathBuf>,
    /// Its name in these.
    pub name: Option<String>,
}

impl GivenServer {
    /// The first flag of it.
    fn flag(&self) -> Option<&'static str> {
        if !self.certificates.is_empty() {
            Some("--server-cert")
        } else if !self.fingerprints.is_empty() {
            Some("--server-fingerprint")
        } else if !self.authorities.is_empty() {
            Some("--server-ca")
        } else {
            None
        }
    }

    fn source(&self, address: &str) -> ServerSource {
        let files =
            |paths: &[PathBuf]| paths.iter().cloned().map(CertificateSource::File).collect();
        ServerSource {
            certificates: files(&self.certificates),
            fingerprints: self.fingerprints.clone(),
            authorities: files(&self.authorities),
            name: self.name.clone().unwrap_or_else(|| host(address)),
        }
    }
}

/// The host of an address.
fn host(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

impl Given {
    /// Those that the environment gives. An empty variable says nothing.
    fn of_environment() -> Result<Self, ContextError> {
        let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let address = named("PRN_ADDRESS").map(|value| {
            let text = value.to_string_lossy();
            let address = text.parse();
            address.map_err(|error: InvalidUnit| ContextError::Setting {
                what: "PRN_ADDRESS",
                why: format!("has {text:?} in it: {error}"),
            })
        });
        Ok(Self {
            address: address.transpose()?.map(|Address(address)| address),
            server: GivenServer {
                certificates: named("PRN_SERVER_CERT")
                    .map(PathBuf::from)
                    .into_iter()
                    .collect(),
                ..GivenServer::default()
            },
            client_cert: named("PRN_CLIENT_CERT").map(PathBuf::from),
            key: KeySource::from_environment(),
        })
    }

    /// Which of the parts that belong to one server are here, as flags name them.
    fn of_one_server(&self) -> Option<&'static str> {
        if self.address.is_some() {
            return Some("--address");
        }
        // An authority may be that of several.
        match self.server.flag() {
            Some("--server-ca") => self.server.name.as_ref().map(|_| "--server-name"),
            flag => flag,
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was typed.
    Flag(&'static str),
    /// The environment.
    Variable(&'static str),
    /// The context.
    Context,
    /// The configuration's folder.
    Folder,
    /// Nothing says another one.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag(name) | Self::Variable(name) => name,
            Self::Context => "context",
            Self::Folder => "beside the configuration",
            Self::Default => "default",
        })
    }
}

/// A value, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// It.
    pub value: T,
    /// From where.
    pub origin: Origin,
}

/// All parts of a connection to one server, as far as anything says them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The context's name.
    pub context: Option<String>,
    /// Where the server is.
    pub address: Found<String>,
    /// What it is known by.
    pub server: Option<Found<ServerSource>>,
    /// The user's own certificate.
    pub client_cert: Option<Found<CertificateSource>>,
    /// The user's key.
    pub key: Option<Found<KeySource>>,
    /// All that is started is signed.
    pub signs: bool,
    /// Where the configuration is.
    place: Option<Place>,
}

impl Settings {
    /// What the server is known by.
    ///
    /// # Errors
    /// [`ContextError::Setting`].
    pub fn server(&self) -> Result<&ServerSource, ContextError> {
        let found = self.server.as_ref().map(|found| &found.value);
        found.ok_or_else(|| {
            let what = "name the server's certificate with it or with PRN_SERVER_CERT, or its context with --context (`prn context add` makes one)";
            missing("--server-cert", what)
        })
    }

    /// The user's own certificate.
    ///
    /// # Errors
    /// [`ContextError::Setting`].
    pub fn client_cert(&self) -> Result<&CertificateSource, ContextError> {
        let found = self.client_cert.as_ref().map(|found| &found.value);
        found.ok_or_else(|| {
            let what = "name your own certificate with it or with PRN_CLIENT_CERT";
            self.missing("--client-cert", what)
        })
    }

    /// The user's key.
    ///
    /// # Errors
    /// [`ContextError::Setting`].
    pub fn key(&self) -> Result<&KeySource, ContextError> {
        let found = self.key.as_ref().map(|found| &found.value);
        found.ok_or_else(|| {
            let what = format!(
                "name your key's file with it or with {KEY_FILE_VARIABLE}, or set {KEY_VARIABLE} to the key's PEM text"
            );
            self.missing("--tls-key", &what)
        })
    }

    /// With what makes it, where a context says all else.
    fn missing(&self, flag: &'static str, what: &str) -> ContextError {
        let made = match (&self.context, &self.place) {
            (Some(_), Some(place)) => format!("{what}, or make both: {}", own_keygen(place)),
            _ => what.to_owned(),
        };
        missing(flag, &made)
    }
}

fn missing(what: &'static str, how: &str) -> ContextError {
    ContextError::Setting {
        what,
        why: format!("is missing: {how}"),
    }
}

/// What makes the key and certificate that contexts use that name none.
pub fn own_keygen(place: &Place) -> String {
    let folder = place.folder().to_string_lossy();
    let folder = shlex::try_quote(&folder).unwrap_or_default();
    format!("`prn keygen --name client --out-dir {folder}`")
}

/// The servers that a command is for.
#[derive(Debug)]
pub enum Target {
    /// The one.
    One(Box<Settings>),
    /// Those that a list or a pattern of contexts means.
    Several(Vec<Settings>),
}

/// Finds them. The configuration is read only if it is needed.
///
/// # Errors
/// If a context is named that is not there, or flags contradict each other; as [`Place::load`].
pub fn target(contexts: &[String], flags: &Given) -> Result<Target, ContextError> {
    let environment = Given::of_environment()?;
    let variable = std::env::var(CONTEXT_VARIABLE).unwrap_or_default();
    let (rank, patterns) = if contexts.iter().any(|context| !context.is_empty()) {
        let patterns = patterns("--context", contexts.iter().map(String::as_str))?;
        (Rank::AboveEnvironment, patterns)
    } else {
        let patterns = patterns(CONTEXT_VARIABLE, [variable.as_str()])?;
        (Rank::BelowEnvironment, patterns)
    };
    if patterns.is_empty() && is_complete(flags, &environment) {
        return Ok(Target::One(Box::new(settings(flags, &environment, None))));
    }
    let place = match Place::of_environment() {
        Ok(place) => place,
        // Nobody has asked for a context.
        Err(_) if patterns.is_empty() => {
            return Ok(Target::One(Box::new(settings(flags, &environment, None))));
        }
        Err(error) => return Err(error),
    };
    let config = place.load()?;
    let of = |name: &str| -> Result<Settings, ContextError> {
        let context = config.contexts.get(name);
        let chosen = Chosen {
            name,
            context: context.ok_or_else(|| config.unknown(name))?,
            place: &place,
            rank,
        };
        Ok(settings(flags, &environment, Some(chosen)))
    };
    let sole = patterns.sole().or_else(|| {
        let current = config.current.as_deref();
        current.filter(|_| patterns.is_empty())
    });
    if let Some(name) = sole {
        return Ok(Target::One(Box::new(of(name)?)));
    }
    if patterns.is_empty() {
        return Ok(Target::One(Box::new(settings(flags, &environment, None))));
    }
    refuse_one_servers(flags, &environment, rank)?;
    let names = patterns
        .choose(&config.names())
        .map_err(|item| config.unknown(&item))?;
    let several = names
        .iter()
        .map(|name| of(name))
        .collect::<Result<_, _>>()?;
    Ok(Target::Several(several))
}

/// The contexts that are used where none is named: those of the environment, else the current one.
///
/// # Errors
/// If the environment names none that there is.
pub fn in_force(config: &Config) -> Result<Vec<String>, ContextError> {
    in_force_of(config, &std::env::var(CONTEXT_VARIABLE).unwrap_or_default())
}

fn in_force_of(config: &Config, variable: &str) -> Result<Vec<String>, ContextError> {
    let patterns = patterns(CONTEXT_VARIABLE, [variable])?;
    if patterns.is_empty() {
        return Ok(config.current.iter().cloned().collect());
    }
    patterns
        .choose(&config.names())
        .map_err(|item| ContextError::Setting {
            what: CONTEXT_VARIABLE,
            why: format!("names no context: {item}"),
        })
}

/// The settings of one context by its name, as `--context` finds them.
///
/// # Errors
/// [`ContextError::Unknown`].
pub fn of_context(config: &Config, place: &Place, name: &str) -> Result<Settings, ContextError> {
    let context = config.contexts.get(name);
    let chosen = Chosen {
        name,
        context: context.ok_or_else(|| config.unknown(name))?,
        place,
        rank: Rank::AboveEnvironment,
    };
    Ok(settings(
        &Given::default(),
        &Given::of_environment()?,
        Some(chosen),
    ))
}

fn patterns<'a>(
    what: &'static str,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Patterns, ContextError> {
    Patterns::of(texts).map_err(|error| ContextError::Setting {
        what,
        why: format!("has {error}"),
    })
}

/// Nothing is left for a context to say.
fn is_complete(flags: &Given, environment: &Given) -> bool {
    let has = |part: fn(&Given) -> bool| part(flags) || part(environment);
    has(|given| given.address.is_some())
        && has(|given| given.server.flag().is_some())
        && has(|given| given.client_cert.is_some())
        && has(|given| given.key.is_some())
}

/// One server's address or certificate would be taken for that of each.
fn refuse_one_servers(flags: &Given, environment: &Given, rank: Rank) -> Result<(), ContextError> {
    let variable = match (environment.of_one_server(), rank) {
        (Some("--address"), Rank::BelowEnvironment) => Some("PRN_ADDRESS"),
        (Some(_), Rank::BelowEnvironment) => Some("PRN_SERVER_CERT"),
        _ => None,
    };
    match flags.of_one_server().or(variable) {
        Some(what) => Err(ContextError::Setting {
            what,
            why: "is of one server, and a pattern or list of contexts is of several".to_owned(),
        }),
        None => Ok(()),
    }
}

/// Whether a context comes before the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    AboveEnvironment,
    BelowEnvironment,
}

/// A context, and how it was chosen.
#[derive(Debug, Clone, Copy)]
struct Chosen<'a> {
    name: &'a str,
    context: &'a Context,
    place: &'a Place,
    rank: Rank,
}

impl Chosen<'_> {
    fn certificate(&self, text: &str, whose: &str) -> CertificateSource {
        let name = format!("{whose} context {}", self.name);
        self.place.certificate(text, name)
    }
}

/// What a context knows its server by.
fn server_of(chosen: Chosen<'_>, address: &str) -> Option<ServerSource> {
    let context = chosen.context;
    let certificates = |texts: Option<&Texts>, whose: &str| {
        let texts = texts.map_or(&[][..], Texts::as_slice);
        let sources = texts.iter().map(|text| chosen.certificate(text, whose));
        sources.collect::<Vec<_>>()
    };
    let source = ServerSource {
        certificates: certificates(context.server_cert.as_ref(), "of the server of"),
        fingerprints: context.server_fingerprint.clone().unwrap_or_default().0,
        authorities: certificates(context.server_ca.as_ref(), "of the authority of"),
        name: context.server_name.clone().unwrap_or_else(|| host(address)),
    };
    let is_empty = source.certificates.is_empty()
        && source.fingerprints.is_empty()
        && source.authorities.is_empty();
    (!is_empty).then_some(source)
}

/// The first value that there is, in order.
fn settings(flags: &Given, environment: &Given, chosen: Option<Chosen<'_>>) -> Settings {
    let rank = chosen.map_or(Rank::BelowEnvironment, |chosen| chosen.rank);
    let file = |path: &PathBuf| CertificateSource::File(path.clone());
    let beside = |path: fn(&Place) -> PathBuf| {
        let path = path(chosen?.place);
        path.exists().then_some(path)
    };
    let address = Ranked {
        flag: ("--address", flags.address.clone()),
        variable: ("PRN_ADDRESS", environment.address.clone()),
        context: chosen.and_then(|chosen| Some(chosen.context.address.as_ref()?.0.clone())),
        beside: None,
    };
    let address = address.first(rank).unwrap_or_else(|| Found {
        value: ADDRESS.to_owned(),
        origin: Origin::Default,
    });
    let given = |given: &GivenServer| given.flag().map(|_| given.source(&address.value));
    let server = Ranked {
        flag: (
            flags.server.flag().unwrap_or_default(),
            given(&flags.server),
        ),
        variable: ("PRN_SERVER_CERT", given(&environment.server)),
        context: chosen.and_then(|chosen| server_of(chosen, &address.value)),
        beside: None,
    };
    let client_cert = Ranked {
        flag: ("--client-cert", flags.client_cert.as_ref().map(file)),
        variable: (
            "PRN_CLIENT_CERT",
            environment.client_cert.as_ref().map(file),
        ),
        context: chosen.and_then(|chosen| {
            let text = chosen.context.client_cert.as_ref()?;
            Some(chosen.certificate(text, "of your own of"))
        }),
        beside: beside(Place::own_certificate).as_ref().map(file),
    };
    let key = key(flags, environment, chosen, beside(Place::own_key));
    Settings {
        context: chosen.map(|chosen| chosen.name.to_owned()),
        address,
        server: server.first(rank),
        client_cert: client_cert.first(rank),
        key: key.first(rank),
        signs: chosen.is_some_and(|chosen| chosen.context.sign),
        place: chosen.map(|chosen| chosen.place.clone()),
    }
}

/// The user's key, as each place says it.
fn key(
    flags: &Given,
    environment: &Given,
    chosen: Option<Chosen<'_>>,
    beside: Option<PathBuf>,
) -> Ranked<KeySource> {
    let variable = match &environment.key {
        Some(KeySource::Environment) | None => KEY_VARIABLE,
        Some(_) => KEY_FILE_VARIABLE,
    };
    Ranked {
        flag: ("--tls-key", flags.key.clone()),
        variable: (variable, environment.key.clone()),
        context: chosen.and_then(|chosen| key_of(chosen, environment)),
        beside: beside.map(KeySource::File),
    }
}

/// The key that a context names. None if that is the one of the environment: that has its own rank.
fn key_of(chosen: Chosen<'_>, environment: &Given) -> Option<KeySource> {
    if let Some(command) = &chosen.context.key_command {
        return Some(KeySource::Command(command.clone()));
    }
    let text = chosen.context.tls_key.as_ref()?;
    let is_there = text == KEY_OF_ENVIRONMENT && environment.key.is_some();
    (!is_there).then(|| chosen.place.key(text))
}

/// A part as each place says it.
#[derive(Debug)]
struct Ranked<T> {
    flag: (&'static str, Option<T>),
    variable: (&'static str, Option<T>),
    context: Option<T>,
    beside: Option<T>,
}

impl<T> Ranked<T> {
    fn first(self, rank: Rank) -> Option<Found<T>> {
        let found = |value: Option<T>, origin| value.map(|value| Found { value, origin });
        let flag = found(self.flag.1, Origin::Flag(self.flag.0));
        let variable = found(self.variable.1, Origin::Variable(self.variable.0));
        let context = found(self.context, Origin::Context);
        let set = match rank {
            Rank::AboveEnvironment => context.or(variable),
            Rank::BelowEnvironment => variable.or(context),
        };
        flag.or(set).or(found(self.beside, Origin::Folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            path: "/nowhere/prn/config.toml".into(),
        }
    }

    fn context() -> Context {
        Context {
            address: Some("c:1".parse().unwrap()),
            server_cert: Some(Texts::One("c.pem".to_owned())),
            ..Context::default()
        }
    }

    fn given(address: &str) -> Given {
        Given {
            address: Some(address.to_owned()),
            ..Given::default()
        }
    }

    fn address(flags: &Given, environment: &Given, rank: Option<Rank>) -> (String, Origin) {
        let (place, context) = (place(), context());
        let chosen = rank.map(|rank| Chosen {
            name: "c",
            context: &context,
            place: &place,
            rank,
        });
        let found = settings(flags, environment, chosen).address;
        (found.value, found.origin)
    }

    #[test]
    fn what_is_typed_wins_over_what_is_set_and_a_named_context_over_the_environment() {
        use Rank::{AboveEnvironment, BelowEnvironment};
        let (none, flag, variable) = (Given::default(), given("f:1"), given("e:1"));
        let said = |text: &str, origin| (text.to_owned(), origin);
        for rank in [None, Some(AboveEnvironment), Some(BelowEnvironment)] {
            let expected = said("f:1", Origin::Flag("--address"));
            assert_eq!(address(&flag, &variable, rank), expected, "{rank:?}");
        }
        assert_eq!(
            address(&none, &variable, Some(AboveEnvironment)),
            said("c:1", Origin::Context)
        );
        assert_eq!(
            address(&none, &variable, Some(BelowEnvironment)),
            said("e:1", Origin::Variable("PRN_ADDRESS"))
        );
        assert_eq!(
            address(&none, &none, Some(BelowEnvironment)),
            said("c:1", Origin::Context)
        );
        assert_eq!(address(&none, &none, None), said(ADDRESS, Origin::Default));
    }

    #[test]
    fn one_servers_address_is_not_taken_for_several() {
        use Rank::{AboveEnvironment, BelowEnvironment};
        let none = Given::default();
        let refused = |flags: &Given, environment: &Given, rank| {
            refuse_one_servers(flags, environment, rank)
                .err()
                .map(|error| error.to_string())
        };
        assert!(
            refused(&given("f:1"), &none, AboveEnvironment)
                .unwrap()
                .contains("--address")
        );
        assert!(
            refused(&none, &given("e:1"), BelowEnvironment)
                .unwrap()
                .contains("PRN_ADDRESS")
        );
        assert_eq!(refused(&none, &given("e:1"), AboveEnvironment), None);
        assert_eq!(refused(&none, &none, BelowEnvironment), None);
    }

    #[test]
    fn the_environments_context_is_in_force_before_the_current_one() {
        let mut config = Config {
            current: Some("a".to_owned()),
            ..Config::default()
        };
        for name in ["a", "b1", "b2"] {
            config.contexts.insert(name.to_owned(), context());
        }
        assert_eq!(in_force_of(&config, "").unwrap(), ["a"]);
        assert_eq!(in_force_of(&config, "b1").unwrap(), ["b1"]);
        assert_eq!(in_force_of(&config, "b*").unwrap(), ["b1", "b2"]);
        let error = in_force_of(&config, "c").unwrap_err().to_string();
        assert!(error.contains("PRN_CONTEXT names no context"), "{error}");
    }

    #[test]
    fn a_context_may_leave_the_key_to_the_environment() {
        let (place, mut context) = (place(), context());
        context.tls_key = Some(KEY_OF_ENVIRONMENT.to_owned());
        let key = |context: &Context, environment: Option<KeySource>| {
            let chosen = Chosen {
                name: "c",
                context,
                place: &place,
                rank: Rank::AboveEnvironment,
            };
            let environment = Given {
                key: environment,
                ..Given::default()
            };
            settings(&Given::default(), &environment, Some(chosen)).key
        };
        let of_environment = KeySource::File("/e.key".into());
        let found = key(&context, Some(of_environment.clone())).unwrap();
        assert_eq!(found.value, of_environment);
        assert_eq!(found.origin, Origin::Variable(KEY_FILE_VARIABLE));
        context.tls_key = Some("c.key".to_owned());
        let found = key(&context, Some(of_environment)).unwrap();
        assert_eq!(found.value, KeySource::File("/nowhere/prn/c.key".into()));
        context.tls_key = None;
        assert_eq!(key(&context, None), None);
    }
}
