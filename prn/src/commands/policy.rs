//! `prn policy`: what a server's configuration says of clients and roles, without a server.

mod answer;

use std::ffi::{CString, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use prn_launch::ServerError;
use prn_launch::access::message::Profile;
use prn_launch::access::policy::{Denial, Programs, Reach, Role, VERBS, Verb};
use prn_launch::access::types::{AccessName, LimitName, Limits, UserName};
use prn_launch::access::{Access, AccessError, Place, check as check_file};
use prn_proto::units::show_size;
use toml::de::DeTable;

use crate::commands::policy::answer::Answer;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::format::FormatFlag;
use crate::output::{self, PolicyClient};

/// Who may do what on a server, by its configuration file
///
/// Nothing is asked of a server: the file is read and checked as `prn server start` does, and what
/// it says of clients and roles is shown.
#[derive(Debug, Args)]
pub struct Policy {
    /// What to do.
    #[command(subcommand)]
    pub verb: Asked,
}

/// What is asked of a policy.
#[derive(Debug, Subcommand)]
pub enum Asked {
    Check(Check),
    Explain(Explain),
}

/// Check clients, roles and certificates, and show what each client may do
///
/// Exits 0 if the server would take the file, else 1, with each error on a line of standard error:
/// FILE:LINE and what is wrong.
#[derive(Debug, Args)]
pub struct Check {
    /// The server's configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
}

/// Say whether a client may do something, by which rule, or why not
///
/// Exits 0 if it may, else 1.
#[derive(Debug, Args)]
pub struct Explain {
    /// The server's configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Who asks: a client's name
    #[arg(value_name = "CLIENT", value_parser = name)]
    pub client: AccessName,
    /// For what: start, stop, signal, output, input, list, workspace or admin
    #[arg(value_name = "VERB", value_parser = verb)]
    pub verb: Verb,
    /// Of whose processes and workspaces [default: the client's own]
    #[arg(long, value_name = "CLIENT", value_parser = name)]
    pub owner: Option<AccessName>,
    /// As which user of the server's machine [default: none]
    #[arg(long, short, value_name = "NAME", value_parser = user, requires = "command")]
    pub user: Option<UserName>,
    /// What is to be started, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// A name of a client or of a role.
pub fn name(text: &str) -> Result<AccessName, &'static str> {
    AccessName::try_from(text.to_owned())
        .map_err(|_| "not a name of a client: write letters, digits, '-', '_', '.' and '@'")
}

fn user(text: &str) -> Result<UserName, String> {
    let name = UserName::try_from(text.to_owned());
    name.map_err(|_| prn_proto::units::InvalidUnit::UserName.to_string())
}

fn verb(text: &str) -> Result<Verb, String> {
    let found = VERBS.into_iter().find(|verb| verb.to_string() == text);
    let all = || VERBS.map(|verb| verb.to_string()).join(", ");
    found.ok_or_else(|| format!("there are {}", all()))
}

/// Does what is asked.
pub fn policy(args: &Policy) -> Result<Exit, Failure> {
    match &args.verb {
        Asked::Check(args) => check(args),
        Asked::Explain(args) => explain(args),
    }
}

/// The file's clients and roles. `None`: it is refused, and all reasons were said.
fn load(file: &Path) -> Result<Option<Access>, Failure> {
    let warn = |warning: prn_launch::Warning| output::notice(&warning.to_string());
    match check_file(file, &warn) {
        Ok(access) => Ok(Some(access)),
        Err(ServerError::Access(AccessError(problems))) => {
            for problem in problems {
                output::notice(&output::without_number(&problem.to_string()));
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn check(args: &Check) -> Result<Exit, Failure> {
    let Some(access) = load(&args.file)? else {
        return Ok(exit::ERROR);
    };
    let clients = access
        .policy
        .principals
        .iter()
        .filter_map(|(name, principal)| {
            let role = access.policy.roles.get(&principal.role)?;
            Some(PolicyClient {
                client: name.to_string(),
                role: principal.role.to_string(),
                known_by: known_by(&access, name),
                group: principal.group.as_ref().map(ToString::to_string),
                whose: whose(role.reach),
                verbs: role.verbs.iter().map(ToString::to_string).collect(),
                hours: role.hours.iter().map(ToString::to_string).collect(),
                programs: programs(role),
                must_sign: access.policy.must_sign(name),
                users: role.users.iter().map(ToString::to_string).collect(),
                limits: limits(role).collect(),
                shown_limits: shown_limits(role),
            })
        });
    output::policy_clients(&clients.collect::<Vec<_>>(), &args.format).map_err(Failure::Print)?;
    Ok(exit::OK)
}

/// What a client is known by, each in a line: a certificate by its fingerprint, a key's
/// fingerprint, a name.
pub fn known_by(access: &Access, name: &AccessName) -> Vec<String> {
    let peers = access.known.iter().filter(|(whose, _)| whose == name);
    let each = peers.flat_map(|(_, peer)| {
        let certificates = peer.certificates.iter();
        let certificates = certificates.map(|one| format!("cert {}", one.fingerprint()));
        let keys = peer.keys.iter().map(|key| format!("fingerprint {key}"));
        let names = peer.names.iter().map(|rule| format!("san {rule}"));
        certificates.chain(keys).chain(names)
    });
    each.collect()
}

fn whose(reach: Reach) -> &'static str {
    match reach {
        Reach::Own => "own",
        Reach::Group => "group",
        Reach::All => "all",
    }
}

fn programs(role: &Role) -> Option<Vec<String>> {
    match &role.programs {
        Programs::Any => None,
        Programs::Ruled { rules, .. } => Some(
            rules
                .iter()
                .map(|rule| {
                    let words = std::iter::once(&rule.path).chain(&rule.words);
                    let mut words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
                    if rule.is_beginning {
                        words.push("...".into());
                    }
                    words.join(" ")
                })
                .collect(),
        ),
    }
}

/// All numbers that a role says, by the keys that say them.
fn limits(role: &Role) -> impl Iterator<Item = (String, u64)> {
    let all = |prefix: &'static str, limits: &Limits| {
        let limits: Vec<_> = limits.iter().collect();
        let named = move |(name, value)| (format!("{prefix}-{}", key(name)), value);
        limits.into_iter().map(named)
    };
    let processes = role.processes_max.map(u64::from);
    all("max", &role.ceilings)
        .chain(all("default", &role.defaults))
        .chain(processes.map(|most| ("max-processes".to_owned(), most)))
        .chain(role.output_max.map(|most| ("max-output".to_owned(), most)))
}

fn key(name: LimitName) -> &'static str {
    match name {
        LimitName::Cpu => "cpu",
        LimitName::Memory => "memory",
        LimitName::IoRead => "io-read",
        LimitName::IoWrite => "io-write",
        LimitName::Pids => "pids",
    }
}

fn shown_limits(role: &Role) -> Vec<String> {
    let shown = limits(role).map(|(key, value)| {
        let value = match key.as_str() {
            "max-cpu" | "default-cpu" => format!("{}.{:03}", value / 1000, value % 1000)
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned(),
            "max-pids" | "default-pids" | "max-processes" => value.to_string(),
            _ => show_size(value),
        };
        format!("{key} {value}")
    });
    let profile = match role.profile {
        Profile::None => None,
        Profile::Default => Some("profile default".to_owned()),
        Profile::Strict => Some("profile strict".to_owned()),
    };
    shown.chain(profile).collect()
}

fn explain(args: &Explain) -> Result<Exit, Failure> {
    if args.verb != Verb::Start && !args.command.is_empty() {
        return Err(Failure::Usage(format!(
            "a command is what may be started, and {} is about no command: leave it out",
            args.verb
        )));
    }
    if args.verb == Verb::Start && args.owner.is_some() {
        let why = "what is started has no owner yet: leave out --owner";
        return Err(Failure::Usage(why.to_owned()));
    }
    let Some(access) = load(&args.file)? else {
        return Ok(exit::ERROR);
    };
    if let Some(owner) = &args.owner
        && !access.policy.principals.contains_key(owner)
    {
        output::notice(&format!(
            "warning: there is no client {owner}: what is of nobody who is known is answered for"
        ));
    }
    let command = args.command.iter().cloned().map(OsString::into_vec);
    let command = command.map(CString::new).collect::<Result<_, _>>();
    let command = command.map_err(|_| Failure::Usage("a word has a NUL character".to_owned()))?;
    let owner = args.owner.as_ref().unwrap_or(&args.client);
    let user = args.user.clone();
    let answer = answer::answer(
        &access.policy,
        &args.client,
        args.verb,
        owner,
        command,
        user,
    )
    .map_err(|why| Failure::Usage(format!("the command {why}")))?;
    for line in said(&access, args, &answer) {
        output::print_line(&output::escaped(&line)).map_err(Failure::Print)?;
    }
    Ok(match answer.decision {
        Ok(_) => exit::OK,
        Err(_) => exit::ERROR,
    })
}

/// The answer, a line for each thing there is to say.
fn said(access: &Access, args: &Explain, answer: &Answer<'_>) -> Vec<String> {
    let of = match &args.owner {
        Some(owner) => format!(" ({owner}'s)"),
        None => String::new(),
    };
    let what = if args.command.is_empty() {
        format!("{}{of}", args.verb)
    } else {
        let words = args.command.iter().map(|word| word.to_string_lossy());
        let words = words.collect::<Vec<_>>().join(" ");
        match &args.user {
            Some(user) => format!("start {words} as {user}"),
            None => format!("start {words}"),
        }
    };
    let client = &args.client;
    let mut lines = vec![match answer.decision {
        Ok(_) => format!("yes: {client} may {what}"),
        Err(_) => format!("no: {client} may not {what}"),
    }];
    let mut add = |name: &str, text: String| lines.push(format!("{name:<8} {text}"));
    let at = |place: Option<&Place>| place.map(|place| format!(" ({place})")).unwrap_or_default();
    if let Some((name, role)) = answer.role {
        let place = access.roles.get(name);
        add(
            "role",
            format!("{name}, about {}{}", about(role.reach), at(place)),
        );
        if let (Ok(Some(rule)), Some(programs)) = (answer.decision, programs(role)) {
            let program = programs.get(rule).cloned().unwrap_or_default();
            let place = access
                .roles
                .get(name)
                .map(|table| key_of(table, "programs"));
            add("program", format!("{program}{}", at(place.as_ref())));
        }
        if answer.decision.is_ok() && args.verb == Verb::Start {
            let limits = shown_limits(role);
            add(
                "limits",
                if limits.is_empty() {
                    "the server's".to_owned()
                } else {
                    limits.join(", ")
                },
            );
            if access.policy.must_sign(client) {
                let how = "each start, with the client's key: prn start --sign, or sign = true in its context";
                add("signed", how.to_owned());
            }
        }
    }
    if let Err(denial) = answer.decision {
        add("why", format!("{denial}"));
        add("change", change(access, args, answer, denial));
    }
    lines
}

fn about(reach: Reach) -> &'static str {
    match reach {
        Reach::Own => "the client's own processes and workspaces",
        Reach::Group => "processes and workspaces of the client's group",
        Reach::All => "everybody's processes and workspaces",
    }
}

/// What would have to be changed for a yes, and where.
fn change(access: &Access, args: &Explain, answer: &Answer<'_>, denial: Denial) -> String {
    let client = access.clients.get(&args.client);
    let role = answer.role.and_then(|(name, _)| access.roles.get(name));
    let in_role = |key: &str, what: &str| match (role, client) {
        (Some(table), _) => format!("{}: {what}", key_of(table, key)),
        (None, Some(table)) => format!(
            "{}: give the client another role; this one need not be written down, and cannot be changed",
            key_of(table, "role")
        ),
        (None, None) => format!("{}: write a [[client]] for it", args.file.display()),
    };
    match denial {
        Denial::Unknown => format!(
            "{}: add a [[client]] with name = \"{}\"",
            args.file.display(),
            args.client
        ),
        Denial::Expired => {
            let place = client.map(|table| key_of(table, "not-after").to_string());
            format!("{}: a later not-after", place.unwrap_or_default())
        }
        Denial::Verb(verb) => in_role("may", &format!("add \"{verb}\" to may")),
        Denial::Hours(_) => in_role("hours", "add this time of the week to hours, or wait"),
        Denial::Reach(_) => in_role(
            "whose",
            "whose = \"all\", or \"group\" and a group that both have",
        ),
        Denial::Program => in_role(
            "programs",
            "add the program with its words to programs, by its absolute path",
        ),
        Denial::Variable(_) => in_role("variables", "add the variable to variables"),
        Denial::Directory | Denial::Workspace | Denial::Paths => {
            in_role("programs", "without programs a process may start anywhere")
        }
        Denial::Profile(_) => in_role("profile", "ask for that profile, or name a weaker one"),
        Denial::User if args.user.as_ref().is_some_and(is_root) => {
            "nothing: no process is root's, whatever a table says. Choose another user, or none"
                .to_owned()
        }
        Denial::User => match role {
            Some(_) => in_role(
                "users",
                "add the user to users, and to the server's own list",
            ),
            None => format!(
                "{}: an admin may start as the users of the server's own list, users = […] above all tables, and no \
                 other role that need not be written down as any",
                args.file.display()
            ),
        },
        Denial::Output(_) => in_role("max-output", "ask for less, or raise max-output"),
        Denial::Processes(_) => in_role("max-processes", "raise max-processes"),
    }
}

/// Whether that is root by some name, which the server takes no process to be.
fn is_root(user: &UserName) -> bool {
    let found = nix::unistd::User::from_name(user.as_str());
    found.is_ok_and(|found| found.is_some_and(|found| found.uid.is_root()))
}

/// Where a key of a table is, or where that begins.
fn key_of(table: &Place, key: &str) -> Place {
    let text = std::fs::read_to_string(&table.path).unwrap_or_default();
    let line = table.line.and_then(|first| line_of(&text, first, key));
    Place {
        path: table.path.clone(),
        line: line.or(table.line),
    }
}

/// In which line, from 1, is this key of the client or role that begins in line `first`.
fn line_of(text: &str, first: usize, key: &str) -> Option<usize> {
    let line = |span: Range<usize>| {
        text.get(..span.start)
            .map(|it| it.matches('\n').count() + 1)
    };
    let file = DeTable::parse(text).ok()?;
    let lists = ["client", "role"].map(|name| file.get_ref().get(name)?.get_ref().as_array());
    let mut tables = lists.into_iter().flatten().flat_map(|list| list.iter());
    let table = tables.find(|table| line(table.span()) == Some(first))?;
    let (found, _) = table.get_ref().as_table()?.get_key_value(key)?;
    line(found.span())
}
