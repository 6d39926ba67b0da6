//! Flags of `prn server start`, which are also the keys of its configuration file, and of `prn
//! server check`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStr, OsStringValueParser, Resettable, TypedValueParser};
use prn_ipc_protocol::types::{AccessName, UserName};
use prn_proto::credentials::KeySource;
use prn_proto::tls::{KeyKinds, TlsError};
use prn_proto::units::{Address, Cpu, Size, SizeOrZero, Time};
use serde::Deserialize;
use toml::Spanned;

use crate::access::tables::{ClientTable, Draft, RoleTable, Source, line_and_message};
use crate::audit::Target;
use crate::owner::check_owner;
use crate::paths::{self, Table};
use crate::warning::Warning;

/// Default of `--first-uid`: far above what distributions, containers and user namespaces hand out.
pub const FIRST_UID: u32 = 2_000_000_000;

/// Default of `--uids`.
pub const UIDS: u32 = 4096;

/// Default of `--state-dir`.
pub const STATE_DIR: &str = "/var/lib/prn";

/// Why flags and configuration were not taken.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not one of this form.
    #[error("the configuration {} is refused, line {line}: {what}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Why, on one line.
        what: String,
    },
    /// A file cannot be read that somebody else has made.
    #[error("cannot read {}, which --{key} names", path.display())]
    Unread {
        /// What names it.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// Something must be given.
    #[error("--{0} is missing: give it as a flag or in the configuration")]
    Missing(&'static str),
    /// Nobody could connect.
    #[error(
        "no client certificate is pinned, so nobody could connect: give at least one --client-cert, or a [[client]] in the configuration"
    )]
    NoClients,
    /// An authority alone says who somebody is, and not what for.
    #[error(
        "--client-ca lets nobody in by itself: say whose its certificates are, with san in a [[client]] of the configuration"
    )]
    NoNames,
    /// A list is refused.
    #[error("the revocation list {} is refused", .0.display())]
    List(PathBuf, #[source] TlsError),
    /// Two lists, of which one would not be looked into.
    #[error(
        "the revocation lists {} and {} are of one issuer: give the newest one alone",
        .0.display(),
        .1.display()
    )]
    SecondList(PathBuf, PathBuf),
    /// Lists of nobody.
    #[error("--client-crl is of the authorities of --client-ca, and there is none")]
    NoAuthorities,
}

/// The variable that says where the server listens. It has no name in common with a client's: on a
/// machine that has both, that of the one would bind the other to its port.
const LISTEN_VARIABLE: &str = "PRN_LISTEN";

/// The client's variable, which says where the server is that it talks to.
const CLIENT_VARIABLE: &str = "PRN_ADDRESS";

/// The variable, unless it says nothing.
fn listen_variable() -> Resettable<OsStr> {
    if says_something(LISTEN_VARIABLE) || std::env::var_os(LISTEN_VARIABLE).is_none() {
        Resettable::Value(LISTEN_VARIABLE.into())
    } else {
        Resettable::Reset
    }
}

fn says_something(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn fleet_name(text: &str) -> Result<AccessName, String> {
    AccessName::try_from(text.to_owned())
        .map_err(|why| format!("{why}: write letters, digits, '-', '_', '.' and '@'"))
}

/// `prn server start`.
#[derive(Debug, Args)]
pub struct Start {
    /// Configuration file (TOML): each key is a flag below without its dashes, all but
    /// --log-format; what processes may see of the machine's directories (hidden, bind,
    /// bind-read-only) is in its table "paths" alone, and which clients may do what in its tables
    /// "client" and "role" (prn policy)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// All else.
    #[command(flatten)]
    pub options: Box<Options>,
}

/// `prn server reload`.
#[derive(Debug, Args)]
pub struct Reload {
    /// The configuration file of prn server start [default: /etc/prn/prn.toml if it is there, and
    /// neither a flag nor the environment says anything of a server; else what these say is all]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check all of it, say what would change, and change nothing
    #[arg(long)]
    pub check: bool,
    /// All else.
    #[command(flatten)]
    pub options: Box<Options>,
}

/// `prn server check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Check as for `prn server start --allow-missing-limits`
    #[arg(long)]
    pub allow_missing_limits: bool,
    /// Check as for `prn server start --delegated-cgroup`
    #[arg(long)]
    pub delegated_cgroup: bool,
    /// Check for these working directories [default: /var/lib/prn]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// First user id of processes [default: 2000000000]
    #[arg(long, value_name = "UID")]
    pub first_uid: Option<u32>,
    /// Number of user ids for processes [default: 4096]
    #[arg(long, value_name = "NUMBER")]
    pub uids: Option<u32>,
    /// Check for output on the disk of the working directories
    #[arg(long, value_name = "SIZE")]
    pub output_disk: Option<SizeOrZero>,
}

/// Everything but the configuration file's own name. `None`: not given.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// The server's certificate (PEM); behind it, those of its issuers, for clients that know it by
    /// an authority
    #[arg(
        long,
        value_name = "FILE",
        env = "PRN_SERVER_CERT",
        hide_env_values = true
    )]
    pub server_cert: Option<PathBuf>,
    /// Certificate (PEM) of a client that is let in, and may do everything. Repeatable. Who may do
    /// less stands in a table "client" of the configuration instead
    #[arg(long, value_name = "FILE")]
    pub client_cert: Vec<PathBuf>,
    /// Certificate (PEM) of an authority that signs clients' certificates; whose they are by their
    /// names stands in a table "client" of the configuration. Repeatable
    #[arg(long, value_name = "FILE")]
    pub client_ca: Vec<PathBuf>,
    /// List (PEM) of what such an authority has revoked. Where there is one, each authority between
    /// a client and that of --client-ca must have one too, and none may have expired. Repeatable
    #[arg(long, value_name = "FILE")]
    pub client_crl: Vec<PathBuf>,
    /// Take P-256 keys beside Ed25519 ones, of clients and for the server itself: TLS libraries
    /// made of BoringSSL have no others
    #[arg(long)]
    pub allow_p256: bool,
    /// Tell clients the API's schema when they ask for it (gRPC server reflection), as grpcurl does
    #[arg(long)]
    pub reflection: bool,
    /// The server's private key (PKCS#8, PEM): a file that its owner alone can read;
    /// credential:NAME, of the service manager's; keyring:NAME, of the kernel's; or pkcs11:URI, in
    /// a token. Without this flag: the text in PRN_TLS_KEY, else what PRN_TLS_KEY_FILE names, else
    /// the configuration file's tls-key, or what its key-command prints
    #[arg(long, value_name = "FILE", value_parser = key_source())]
    pub tls_key: Option<KeySource>,
    /// A command that prints the key, in the file alone.
    #[arg(skip)]
    pub key_command: Option<Spanned<Vec<String>>>,
    /// Where to listen [default: 127.0.0.1:50051]
    #[arg(long, value_name = "HOST:PORT", env = listen_variable(), hide_env_values = true)]
    pub address: Option<Address>,
    /// Folder of the processes' working directories [default: /var/lib/prn]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Name of this server on its machine, [a-z0-9-] [default: prn]
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// Where what was decided is written to, one line each: file:/PATH, in a folder of its writer's
    /// own; journal, that of systemd; fd:NUMBER, a pipe or socket that was passed; none [default:
    /// none]
    #[arg(long, value_name = "TARGET")]
    pub audit: Option<Target>,
    /// Use the cgroup that the service manager has delegated (Delegate=yes), instead of one named
    /// after the instance
    #[arg(long)]
    pub delegated_cgroup: bool,
    /// Start although cgroup controllers are missing: limits that need them are then NOT enforced
    #[arg(long)]
    pub allow_missing_limits: bool,
    /// Let clients ask for profile none: processes without system call filter of their own and
    /// without Landlock
    #[arg(long)]
    pub allow_profile_none: bool,
    /// User id of the frontend [default: that of user prn, else 1999999999]
    #[arg(long, value_name = "UID", help_heading = "Processes")]
    pub frontend_uid: Option<u32>,
    /// First user id of processes; each running one has its own [default: 2000000000]
    #[arg(long, value_name = "UID", help_heading = "Processes")]
    pub first_uid: Option<u32>,
    /// Number of these ids, and so the most processes at one time [default: 4096]
    #[arg(long, value_name = "NUMBER", help_heading = "Processes")]
    pub uids: Option<u32>,
    /// Time between SIGTERM and SIGKILL, by default and at shutdown [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = "Processes")]
    pub stop_grace: Option<Time>,
    /// Most finished processes that are remembered, 64 at least [default: 1000]
    #[arg(long, value_name = "NUMBER", help_heading = "Processes")]
    pub max_finished: Option<u32>,
    /// For how long finished processes are remembered at most [default: as long as there is room]
    #[arg(long, value_name = "TIME", help_heading = "Processes")]
    pub max_finished_age: Option<Time>,
    /// Take no start that its client has not signed (prn start --sign): then who has taken over the
    /// frontend starts nothing
    #[arg(long, help_heading = "Signed starts")]
    pub require_signed_starts: bool,
    /// Longest time for which a signature counts, 1s to 24h [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "Signed starts")]
    pub signed_start_window: Option<Time>,
    /// A name that this server has in common with others: what is signed for it may start once on
    /// each of them. Repeatable
    #[arg(long, value_name = "NAME", value_parser = fleet_name, help_heading = "Signed starts")]
    pub fleet: Vec<AccessName>,
    /// Most workspaces at one time; each has one of the user ids [default: 64]
    #[arg(long, value_name = "NUMBER", help_heading = "Processes")]
    pub max_workspaces: Option<u32>,
    /// Most bytes of disk that a workspace can ask for; it also has no more by default [default:
    /// none]
    #[arg(long, value_name = "SIZE", help_heading = "Processes")]
    pub max_workspace_disk: Option<Size>,
    /// CPU time of a process that asks for no limit (1.5, 150%) [default: unlimited]
    #[arg(long, value_name = "CPUS", help_heading = "Limits")]
    pub default_cpu: Option<Cpu>,
    /// Memory of a process that asks for no limit [default: unlimited]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub default_memory: Option<Size>,
    /// Bytes read a second from each disk, of a process that asks for no limit [default: unlimited]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub default_io_read: Option<Size>,
    /// Bytes written a second to each disk, of a process that asks for no limit [default:
    /// unlimited]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub default_io_write: Option<Size>,
    /// Tasks of a process that asks for no limit [default: unlimited]
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub default_pids: Option<u64>,
    /// Most CPU time that a process can ask for; it also has no more by default
    #[arg(long, value_name = "CPUS", help_heading = "Limits")]
    pub max_cpu: Option<Cpu>,
    /// Most memory that a process can ask for
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_memory: Option<Size>,
    /// Most bytes read a second that a process can ask for
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_io_read: Option<Size>,
    /// Most bytes written a second that a process can ask for
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_io_write: Option<Size>,
    /// Most tasks that a process can ask for
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub max_pids: Option<u64>,
    /// Output kept of a process that asks for nothing else [default: 64M]
    #[arg(long, value_name = "SIZE", help_heading = "Output")]
    pub output_default: Option<Size>,
    /// Most output that a process can ask to be kept [default: the budget]
    #[arg(long, value_name = "SIZE", help_heading = "Output")]
    pub output_ceiling: Option<Size>,
    /// Most output kept of all processes together [default: a quarter of the memory]
    #[arg(long, value_name = "SIZE", help_heading = "Output")]
    pub output_budget: Option<Size>,
    /// Most output kept on the disk of the state folder, of all processes together; a process can
    /// ask for all of it. 0: none [default: none]
    #[arg(long, value_name = "SIZE", help_heading = "Output")]
    pub output_disk: Option<SizeOrZero>,
    /// Memory of the frontend [default: 512M]
    #[arg(long, value_name = "SIZE", help_heading = "Network")]
    pub frontend_memory: Option<Size>,
    /// Most TLS handshakes under way [default: 64]
    #[arg(long, value_name = "NUMBER", help_heading = "Network")]
    pub handshakes: Option<u32>,
    /// Time for a handshake [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = "Network")]
    pub handshake_timeout: Option<Time>,
    /// Most connections [default: 4096]
    #[arg(long, value_name = "NUMBER", help_heading = "Network")]
    pub connections: Option<u32>,
    /// Most connections of one client, by its certificate [default: 256]
    #[arg(long, value_name = "NUMBER", help_heading = "Network")]
    pub connections_per_client: Option<u32>,
    /// Most calls at one time on a connection [default: 2048]
    #[arg(long, value_name = "NUMBER", help_heading = "Network")]
    pub streams: Option<u32>,
    /// Most output streams of all processes together [default: what fits in half of
    /// --frontend-memory, 4096 at most]
    #[arg(long, value_name = "NUMBER", help_heading = "Network")]
    pub subscribers: Option<u32>,
    /// Most output streams of one process [default: 1024]
    #[arg(long, value_name = "NUMBER", help_heading = "Network")]
    pub subscribers_per_process: Option<u32>,
    /// A client that is gone without a word is noticed after this time, 8s at least [default: 2m]
    #[arg(long, value_name = "TIME", help_heading = "Network")]
    pub peer_timeout: Option<Time>,
    /// Age at which a connection takes no calls any more; output streams on it are cut off ten
    /// seconds later, and `prn` goes on with them on a new one [default: none]
    #[arg(long, value_name = "TIME", help_heading = "Network")]
    pub connection_age: Option<Time>,
    /// Which directories processes do not see, and which they may be given to see.
    #[arg(skip)]
    pub paths: Table,
    /// Users of the machine's that processes may run as at all, of which roles choose.
    #[arg(skip)]
    pub users: Vec<Spanned<UserName>>,
    /// Who is let in.
    #[arg(skip)]
    pub client: Vec<Spanned<ClientTable>>,
    /// What they may do.
    #[arg(skip)]
    pub role: Vec<Spanned<RoleTable>>,
    /// Folder of files with more of both.
    #[arg(skip)]
    pub clients_dir: Option<PathBuf>,
    /// One of these as it is to become.
    #[arg(skip)]
    #[serde(skip)]
    pub draft: Option<Draft>,
    /// The file itself.
    #[arg(skip)]
    #[serde(skip)]
    pub file: Option<Source>,
}

impl Options {
    /// Files that are named without a folder of their own are in this one: that of the
    /// configuration.
    fn below(&mut self, folder: &Path) {
        let one = self.server_cert.iter_mut();
        let clients = self.client_cert.iter_mut().chain(&mut self.client_ca);
        for path in one.chain(clients).chain(&mut self.client_crl) {
            *path = folder.join(&path);
        }
        self.tls_key = self.tls_key.take().map(|key| key.below(folder));
    }

    /// Kinds of keys that are taken.
    pub fn kinds(&self) -> KeyKinds {
        if self.allow_p256 {
            KeyKinds::Both
        } else {
            KeyKinds::Ed25519
        }
    }

    /// First user id of processes.
    pub fn first_uid(&self) -> u32 {
        self.first_uid.unwrap_or(FIRST_UID)
    }

    /// Number of these ids.
    pub fn uids(&self) -> u32 {
        self.uids.unwrap_or(UIDS)
    }

    /// Output may be kept on disk.
    pub fn has_output_disk(&self) -> bool {
        self.output_disk.is_some_and(|size| size.0 > 0)
    }

    /// Nothing says where to listen but the client's variable, which the server does not read.
    pub(crate) fn has_clients_address_alone(&self) -> bool {
        self.address.is_none() && says_something(CLIENT_VARIABLE)
    }

    /// The state folder.
    pub fn state_dir(&self) -> &Path {
        self.state_dir.as_deref().unwrap_or(Path::new(STATE_DIR))
    }
}

impl From<&Check> for Options {
    fn from(flags: &Check) -> Self {
        Self {
            allow_missing_limits: flags.allow_missing_limits,
            delegated_cgroup: flags.delegated_cgroup,
            state_dir: flags.state_dir.clone(),
            first_uid: flags.first_uid,
            uids: flags.uids,
            output_disk: flags.output_disk,
            ..Self::default()
        }
    }
}

/// Flags and environment, completed from the file. That others than root could write it is said.
pub fn merged(
    flags: Options,
    file: Option<&Path>,
    warn: &dyn Fn(Warning),
) -> Result<Options, OptionsError> {
    let Some(path) = file else { return Ok(flags) };
    let failed = |source| OptionsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    // Asked of the open file: the name may mean another one by now.
    if let Err(problem) = check_owner(path, &file.metadata().map_err(failed)?) {
        warn(Warning::Access(problem));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let mut file = parse(&text).map_err(|(line, what)| OptionsError::Parse {
        path: path.to_owned(),
        line,
        what,
    })?;
    file.paths.folder = paths::folder_of(path);
    file.below(path.parent().unwrap_or(Path::new("")));
    file.file = Some(Source {
        path: path.to_owned(),
        text,
    });
    Ok(merge(flags, file, KeySource::from_environment().is_some()))
}

/// The file's values, or the line and what is wrong there.
fn parse(text: &str) -> Result<Options, (usize, String)> {
    let mut options: Options =
        toml::from_str(text).map_err(|error| line_and_message(text, &error))?;
    let Some(command) = options.key_command.take() else {
        return Ok(options);
    };
    if options.tls_key.is_some() {
        let before = text.get(..command.span().start).unwrap_or_default();
        let what = "key-command and tls-key: the key is in one place".to_owned();
        return Err((before.matches('\n').count() + 1, what));
    }
    options.tls_key = Some(KeySource::Command(command.into_inner()));
    Ok(options)
}

/// Where a key is, as a flag says it.
fn key_source() -> impl TypedValueParser<Value = KeySource> {
    OsStringValueParser::new().try_map(KeySource::try_from)
}

/// Names each field, so that one without a rule does not compile. `key_in_environment`: it wins
/// over the file's.
fn merge(flags: Options, file: Options, key_in_environment: bool) -> Options {
    macro_rules! merge {
        ($($switch:ident)|*; $($list:ident)|*; $($alone:ident)|*; $($field:ident),*) => {
            Options {
                $($switch: flags.$switch || file.$switch,)*
                $($list: if flags.$list.is_empty() { file.$list } else { flags.$list },)*
                // These are in the file alone.
                $($alone: file.$alone,)*
                tls_key: flags.tls_key.or(file.tls_key.filter(|_| !key_in_environment)),
                $($field: flags.$field.or(file.$field)),*
            }
        };
    }
    merge!(
        allow_p256 | reflection | delegated_cgroup | allow_missing_limits | allow_profile_none
            | require_signed_starts;
        client_cert | client_ca | client_crl | fleet;
        paths | users | client | role | clients_dir | key_command | draft | file;
        server_cert,
        address,
        state_dir,
        instance,
        audit,
        frontend_uid,
        first_uid,
        uids,
        stop_grace,
        max_finished,
        max_finished_age,
        signed_start_window,
        max_workspaces,
        max_workspace_disk,
        default_cpu,
        default_memory,
        default_io_read,
        default_io_write,
        default_pids,
        max_cpu,
        max_memory,
        max_io_read,
        max_io_write,
        max_pids,
        output_default,
        output_ceiling,
        output_budget,
        output_disk,
        frontend_memory,
        handshakes,
        handshake_timeout,
        connections,
        connections_per_client,
        streams,
        subscribers,
        subscribers_per_process,
        peer_timeout,
        connection_age
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_file_has_the_flags_names() {
        let file = "address = '0.0.0.0:1'\nclient-cert = ['a.pem', 'b.pem']\nmax-memory = '2G'\ndefault-cpu = 1.5\n\
                    output-budget = 1048576\nstop-grace = '3s'\nallow-missing-limits = true\n\
                    max-workspaces = 3\nmax-workspace-disk = '20G'\n";
        let options = parse(file).unwrap();
        assert_eq!(options.address, Some(Address("0.0.0.0:1".into())));
        assert_eq!(options.client_cert.len(), 2);
        assert_eq!(options.max_memory, Some(Size(2 << 30)));
        assert_eq!(options.default_cpu, Some(Cpu(1500)));
        assert_eq!(options.output_budget, Some(Size(1 << 20)));
        assert_eq!(options.stop_grace, Some(Time(Duration::from_secs(3))));
        assert!(options.allow_missing_limits);
        assert_eq!(options.max_workspaces, Some(3));
        assert_eq!(options.max_workspace_disk, Some(Size(20 << 30)));
    }

    #[test]
    fn the_file_alone_says_what_processes_see() {
        let file = parse("[paths]\nhidden = ['/a']\nbind = ['/b']\nbind-read-only = ['/c']\n");
        let paths = merge(Options::default(), file.unwrap(), false).paths;
        assert_eq!(paths.hidden, Some(vec!["/a".into()]));
        assert_eq!(paths.bind, [PathBuf::from("/b")]);
        assert_eq!(paths.bind_read_only, [PathBuf::from("/c")]);
        assert_eq!(parse("uids = 1\n").unwrap().paths.hidden, None);
        let (line, what) = parse("[paths]\nhide = ['/a']\n").unwrap_err();
        assert!(line == 2 && what.contains("hide"), "{line} {what}");
    }

    #[test]
    fn files_that_the_file_names_are_below_its_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prn.toml");
        let text = "server-cert = 's.pem'\ntls-key = '/k'\nclient-cert = ['a.pem']\n\
                    client-ca = ['x/ca.pem']\nclient-crl = ['l.crl']\n";
        std::fs::write(&path, text).unwrap();
        let flags = Options {
            client_cert: vec!["flag.pem".into()],
            ..Default::default()
        };
        let read = |flags| merged(flags, Some(&path), &|_| {}).unwrap();
        let (alone, with) = (read(Options::default()), read(flags));
        let below = |name: &str| folder.path().join(name);
        assert_eq!(alone.server_cert, Some(below("s.pem")));
        assert_eq!(alone.tls_key, Some(KeySource::File("/k".into())));
        assert_eq!(alone.client_cert, [below("a.pem")]);
        assert_eq!(alone.client_ca, [below("x/ca.pem")]);
        assert_eq!(alone.client_crl, [below("l.crl")]);
        assert_eq!(with.client_cert, [PathBuf::from("flag.pem")]);
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_line() {
        let (line, what) = parse("address = '0.0.0.0:1'\n\nadress = 'x'\n").unwrap_err();
        assert_eq!(line, 3, "{what}");
        assert!(what.contains("adress"), "{what}");
        let (line, what) = parse("max-memory = 'lots'\n").unwrap_err();
        assert_eq!(line, 1);
        assert!(what.contains("lots") && !what.contains('\n'), "{what}");
    }

    #[test]
    fn a_key_in_the_environment_wins_over_the_files_and_loses_to_the_flags() {
        let key = |path: &str| Some(KeySource::File(path.into()));
        let with = |path: &str| Options {
            tls_key: key(path),
            ..Default::default()
        };
        let none = Options::default;
        assert_eq!(merge(with("flag"), with("file"), true).tls_key, key("flag"));
        assert_eq!(merge(none(), with("file"), true).tls_key, None);
        assert_eq!(merge(none(), with("file"), false).tls_key, key("file"));
    }

    #[test]
    fn a_disk_that_the_file_gives_is_taken_back_by_zero() {
        let file = parse("output-disk = '1G'\n").unwrap();
        assert_eq!(file.output_disk, Some(SizeOrZero(1 << 30)));
        let zero = Options {
            output_disk: "0".parse().ok(),
            ..Default::default()
        };
        assert_eq!(merge(zero, file, false).output_disk, Some(SizeOrZero(0)));
        assert_eq!(
            parse("output-disk = 0\n").unwrap().output_disk,
            Some(SizeOrZero(0))
        );
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let flags = Options {
            instance: Some("flag".into()),
            client_cert: vec!["f.pem".into()],
            ..Default::default()
        };
        let file = Options {
            instance: Some("file".into()),
            client_cert: vec!["x.pem".into(), "y.pem".into()],
            uids: Some(7),
            delegated_cgroup: true,
            ..Default::default()
        };
        let merged = merge(flags, file, false);
        assert_eq!(merged.instance.as_deref(), Some("flag"));
        assert_eq!(merged.client_cert, [PathBuf::from("f.pem")]);
        assert_eq!(merged.uids, Some(7));
        assert!(merged.delegated_cgroup);
    }
}
