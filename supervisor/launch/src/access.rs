//! Who may do what: from the configuration's clients and roles to a policy.
//!
//! Runs in `prn server start`, and in `prn policy`, which asks the same of a file. Nobody is let in
//! whom it does not name, and nothing is allowed that a role does not say. All that is wrong is
//! found in one go, each with its place.

mod authorities;
mod clients;
mod files;
mod hours;
mod listed;
mod roles;
pub(crate) mod signing;
pub mod tables;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use prn_ipc_protocol::message::Profile;
use prn_ipc_protocol::policy::{Policy, Principal, Programs, Reach, Role, VERBS, Verb};
use prn_ipc_protocol::types::{AccessName, Limits};
pub use prn_ipc_protocol::{message, policy, search, types};
use prn_proto::tls::Peer;

pub use files::standing;
pub use listed::{Access, Listed};
pub use tables::{AccessError, Draft, Place, Problem};
pub(crate) use users::Reserved;

use crate::certificates::{self, Reading};
use crate::error::ServerError;
use crate::options::{self, Options, OptionsError};
use crate::warning::Warning;

impl Access {
    /// From the configuration, at this time since the Unix epoch.
    ///
    /// # Errors
    /// All that is wrong with it, or that there is nobody in it.
    pub fn load(
        options: &Options,
        now: Duration,
        warn: &dyn Fn(Warning),
    ) -> Result<Self, ServerError> {
        let mut problems = Vec::new();
        let reading = Reading { options, now, warn };
        let parts = files::read(options, &mut problems);
        let mut access = Self {
            policy: presets(),
            users: BTreeMap::new(),
            known: Vec::new(),
            authorities: Vec::new(),
            revocations: Vec::new(),
            clients: BTreeMap::new(),
            roles: BTreeMap::new(),
        };
        users::add(&mut access, options, &mut problems, warn);
        access.give_admins_users();
        for part in &parts {
            roles::add(&mut access, part, &options.users, &mut problems, warn);
        }
        for part in &parts {
            clients::add(&mut access, part, &reading, &mut problems);
        }
        let first = parts.iter().find_map(|part| {
            let client = part.tables.client.first()?;
            Some((&part.source, client.span()))
        });
        if let Some((source, span)) = &first
            && !options.client_cert.is_empty()
        {
            problems.push(source.problem(span, "clients are listed here, and --client-cert or client-cert names others: write a [[client]] with role = \"admin\" for each of those, and take that away"));
        }
        if !problems.is_empty() {
            return Err(AccessError(problems).into());
        }
        if first.is_none() {
            access.add_admins(&reading)?;
        }
        authorities::add(&mut access, &reading)?;
        access.policy.signing = signing::of(options, &access.known)?;
        Ok(access)
    }

    /// Who may do everything may start as any user that the server may use at all.
    fn give_admins_users(&mut self) {
        let users: BTreeSet<_> = self.users.keys().cloned().collect();
        if let Some(admin) = named(ADMIN).and_then(|name| self.policy.roles.get_mut(&name)) {
            admin.users = users;
        }
    }

    /// Without clients that are listed: whoever has one of these certificates may do everything.
    fn add_admins(&mut self, reading: &Reading<'_>) -> Result<(), ServerError> {
        for path in &reading.options.client_cert {
            let certificate = certificates::usable(path, reading)
                .map_err(|error| certificates::of_others("client-cert", error))?;
            let known = |(_, known): &(_, Peer)| known.certificates.contains(&certificate);
            if self.known.iter().any(known) {
                continue;
            }
            if let Some(name) = add_admin(&mut self.policy, path) {
                let certificates = vec![certificate];
                self.known.push((
                    name,
                    Peer {
                        certificates,
                        ..Peer::default()
                    },
                ));
            }
        }
        if self.known.is_empty() {
            return Err(OptionsError::NoClients.into());
        }
        Ok(())
    }
}

/// `prn policy`: what a configuration file says of clients and roles, checked as the server does.
///
/// # Errors
/// All that is wrong with it.
pub fn check(file: &Path, warn: &dyn Fn(Warning)) -> Result<Access, ServerError> {
    let options = options::merged(Options::default(), Some(file), warn)?;
    Access::load(&options, prn_proto::credentials::now(), warn)
}

/// The same with a file of the folder of clients as it is to become.
///
/// # Errors
/// All that would be wrong.
pub fn check_draft(
    file: &Path,
    draft: Draft,
    warn: &dyn Fn(Warning),
) -> Result<Access, ServerError> {
    let mut options = options::merged(Options::default(), Some(file), warn)?;
    options.draft = Some(draft);
    Access::load(&options, prn_proto::credentials::now(), warn)
}

/// The role of those whom nothing else is said of.
const ADMIN: &str = "admin";

/// Roles that need not be written down: name, verbs, whose processes.
const PRESETS: [(&str, &[Verb], Reach); 4] = [
    ("viewer", &[Verb::Output, Verb::List], Reach::All),
    (
        "operator",
        &[Verb::Stop, Verb::Signal, Verb::Output, Verb::List],
        Reach::All,
    ),
    (
        "runner",
        &[
            Verb::Start,
            Verb::Stop,
            Verb::Signal,
            Verb::Output,
            Verb::Input,
            Verb::List,
            Verb::Workspace,
        ],
        Reach::Own,
    ),
    (ADMIN, &VERBS, Reach::All),
];

/// A policy of roles that need not be written down, and of nobody yet.
fn presets() -> Policy {
    let roles = PRESETS
        .into_iter()
        .filter_map(|(name, verbs, reach)| Some((named(name)?, role(verbs, reach))));
    Policy {
        roles: roles.collect(),
        ..Policy::default()
    }
}

/// A role that these verbs, and whose processes they are about, say all of.
fn role(verbs: &[Verb], reach: Reach) -> Role {
    Role {
        verbs: verbs.iter().copied().collect::<BTreeSet<_>>(),
        reach,
        hours: Vec::new(),
        programs: Programs::Any,
        profile: Profile::None,
        users: BTreeSet::new(),
        ceilings: Limits::default(),
        defaults: Limits::default(),
        processes_max: None,
        output_max: None,
    }
}

/// Lets somebody be an administrator under the name of this file, or that with a number if somebody has
/// it.
fn add_admin(policy: &mut Policy, path: &Path) -> Option<AccessName> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || "-_.@".contains(letter) {
            letter
        } else {
            '-'
        }
    };
    let stem: String = stem.chars().map(plain).take(48).collect();
    let stem = stem.trim_start_matches(['-', '_', '.', '@']);
    let stem = if stem.is_empty() { "client" } else { stem };
    let numbered = (2..).map(|number| format!("{stem}-{number}"));
    let mut names = std::iter::once(stem.to_owned()).chain(numbered);
    let name =
        names.find_map(|name| named(&name).filter(|name| !policy.principals.contains_key(name)))?;
    let admin = Principal {
        role: named(ADMIN)?,
        group: None,
        not_after: None,
        must_sign: false,
    };
    policy.principals.insert(name.clone(), admin);
    Some(name)
}

fn named(name: &str) -> Option<AccessName> {
    name.to_owned().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_ipc_protocol::types::LimitName;

    /// What is said of a configuration: all that is wrong with it, by its line, and all warnings.
    fn said(text: &str) -> (Vec<(usize, String)>, Vec<String>) {
        let mut options: Options = match toml::from_str(text) {
            Ok(options) => options,
            Err(error) => return (vec![tables::line_and_message(text, &error)], Vec::new()),
        };
        options.file = Some(tables::Source {
            path: "/nonexistent/prn.toml".into(),
            text: text.to_owned(),
        });
        let warnings = std::cell::RefCell::new(Vec::new());
        let warn = |warning: Warning| warnings.borrow_mut().push(warning.to_string());
        let loaded = Access::load(&options, Duration::from_secs(1_800_000_000), &warn);
        let problems = match loaded {
            Ok(_) => Vec::new(),
            Err(ServerError::Access(AccessError(problems))) => problems,
            Err(ServerError::Options(OptionsError::NoClients)) => Vec::new(),
            Err(other) => panic!("{other}"),
        };
        let lines = problems
            .into_iter()
            .map(|problem| (problem.place.line.unwrap(), problem.what));
        (lines.collect(), warnings.into_inner())
    }

    fn role_of(text: &str) -> Role {
        let source = tables::Source {
            path: "prn.toml".into(),
            text: text.to_owned(),
        };
        let part = files::Part {
            source,
            tables: toml::from_str(text).unwrap(),
        };
        let mut access = Access {
            policy: presets(),
            users: BTreeMap::new(),
            known: Vec::new(),
            authorities: Vec::new(),
            revocations: Vec::new(),
            clients: BTreeMap::new(),
            roles: BTreeMap::new(),
        };
        let mut problems = Vec::new();
        roles::add(&mut access, &part, &[], &mut problems, &|_| {});
        assert_eq!(problems, []);
        access.policy.roles.remove(&named("r").unwrap()).unwrap()
    }

    #[test]
    fn each_thing_that_is_wrong_with_a_role_is_said_with_its_line() {
        let role = "[[role]]\nname = 'r'\nmay = ['start', 'list']\n";
        for (text, line, part) in [
            ("[[role]]\nmay = ['list']\n", 1, "missing field `name`"),
            (
                "[[role]]\nname = 'r'\nmay = ['start', 'stop']\n",
                1,
                "may lacks \"list\"",
            ),
            ("[[role]]\nname = 'r'\n", 1, "missing field `may`"),
            ("[[role]]\nname = 'a b'\nmay = ['list']\n", 2, "character"),
            (
                "[[role]]\nname = 'viewer'\nmay = ['list']\n",
                2,
                "cannot be changed",
            ),
            (
                "[[role]]\nname = 'r'\nmay = ['list']\n[[role]]\nname = 'r'\nmay = ['list']\n",
                5,
                "prn.toml:1",
            ),
            (
                "[[role]]\nname = 'r'\nmay = [\n'list',\n'run']\n",
                5,
                "`run`, expected one of `start`, `stop`, `signal`, `output`, `input`, `list`, `workspace`, `admin`",
            ),
            (
                &format!("{role}whose = 'mine'\n"),
                4,
                "`own`, `group`, `all`",
            ),
            (&format!("{role}profile = 'hard'\n"), 4, "`strict`"),
            (
                &format!("users = ['nobody']\n{role}users = [\n'nobody',\n'daemon']\n"),
                7,
                "users = [\"daemon\"]",
            ),
            (
                "users = [\n'no-such-user']\n",
                2,
                "there is no user no-such-user",
            ),
            ("users = ['root']\n", 1, "user id 0, root's"),
            ("users = [\n'nobody',\n'1001']\n", 1, "not allowed"),
            (&format!("{role}programs = []\n"), 1, "empty"),
            (
                &format!("{role}programs = [\n['/bin/sh'],\n[]]\n"),
                6,
                "no program",
            ),
            (&format!("{role}programs = [['...']]\n"), 4, "no program"),
            (&format!("{role}programs = [['']]\n"), 4, "no program"),
            (&format!("{role}programs = [['sh']]\n"), 4, "absolute path"),
            (
                &format!("{role}programs = [['/bin/sh', '...', '-c']]\n"),
                4,
                "last word",
            ),
            (
                &format!("{role}programs = [['/bin/sh', \"a\\u0000\"]]\n"),
                4,
                "NUL",
            ),
            (&format!("{role}variables = ['LANG']\n"), 1, "add programs"),
            (
                &format!("{role}programs = [['/bin/sh']]\nvariables = ['A=B']\n"),
                1,
                "not a variable",
            ),
            (
                &format!("{role}max-memory = '1K'\n"),
                1,
                "max-memory is out of range: must be between",
            ),
            (
                &format!("{role}max-cpu = 1\ndefault-cpu = 2\n"),
                1,
                "default-cpu is above",
            ),
            (
                &format!("{role}max-output = '1K'\n"),
                1,
                "max-output must be",
            ),
            (
                &format!("{role}max-ram = '1K'\n"),
                4,
                "unknown field `max-ram`",
            ),
        ] {
            let (problems, _) = said(text);
            let [(found, what)] = problems.as_slice() else {
                panic!("{text}: {problems:?}")
            };
            assert!(
                *found == line && what.contains(part),
                "{text}: {found}: {what}"
            );
        }
    }

    #[test]
    fn each_thing_that_is_wrong_with_a_client_is_said_with_its_line() {
        let client = "[[client]]\nname = 'a'\nrole = 'viewer'\ncert = 'none.pem'\n";
        for (text, expected) in [
            (
                "\n[[client]]\nname = 'a'\ncert = 'a.pem'\n",
                &[(2, "missing field `role`")][..],
            ),
            (
                "[[client]]\nname = 'a'\nrole = 'viewer'\n",
                &[(2, "nothing says what this client is known by")],
            ),
            ("[[client]]\nname = '-x'\n", &[(2, "character")]),
            (
                &format!("{client}not-after = '5m'\n"),
                &[(5, "such as 2030")],
            ),
            (&format!("{client}group = 'x y'\n"), &[(5, "character")]),
            (
                "[[client]]\nname = 'a'\nrole = 'boss'\ncert = []\n",
                &[
                    (3, "there are admin, operator, runner, viewer"),
                    (4, "cert is empty"),
                ],
            ),
            (
                &format!("client-cert = ['a.pem']\n{client}"),
                &[(5, "/nonexistent/none.pem"), (2, "role = \"admin\"")],
            ),
        ] {
            let (problems, _) = said(text);
            assert_eq!(problems.len(), expected.len(), "{text}: {problems:?}");
            for ((line, what), (expected, part)) in problems.iter().zip(expected) {
                assert!(
                    line == expected && what.contains(part),
                    "{text}: {line}: {what}"
                );
            }
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_a_warning() {
        let (problems, warnings) = said(
            "[[role]]\nname = 'r'\nmay = ['start', 'list']\nprograms = [\n['/no/such/program']]\n",
        );
        assert_eq!(problems, []);
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].contains("prn.toml:5: there is no program /no/such/program"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_role_is_what_its_table_says_and_little_where_that_is_silent() {
        let little = role_of("[[role]]\nname = 'r'\nmay = ['list']\n");
        assert_eq!(little, role(&[Verb::List], Reach::Own));
        let role = role_of(
            "[[role]]\nname = 'r'\nmay = ['start', 'list']\nwhose = 'all'\nprofile = 'strict'\n\
             programs = [['/bin/a', 'b'], ['/bin/c', '...']]\nvariables = ['LANG']\n\
             max-cpu = 1.5\ndefault-memory = '1G'\nmax-processes = 5\nmax-output = '64M'\n",
        );
        assert_eq!(role.verbs, BTreeSet::from([Verb::Start, Verb::List]));
        assert_eq!((role.reach, role.profile), (Reach::All, Profile::Strict));
        assert_eq!(role.ceilings, Limits::from_iter([(LimitName::Cpu, 1500)]));
        assert_eq!(
            role.defaults,
            Limits::from_iter([(LimitName::Memory, 1 << 30)])
        );
        assert_eq!(
            (role.processes_max, role.output_max),
            (Some(5), Some(64 << 20))
        );
        let Programs::Ruled { rules, variables } = role.programs else {
            panic!("any")
        };
        let is_beginning: Vec<_> = rules.iter().map(|rule| rule.is_beginning).collect();
        assert_eq!(is_beginning, [false, true]);
        assert_eq!(rules[0].words, [c"b".to_owned()]);
        assert!(rules[1].words.is_empty() && *rules[1].path == *c"/bin/c");
        assert_eq!(variables, BTreeSet::from([c"LANG".to_owned()]));
    }

    #[test]
    fn roles_that_need_not_be_written_down_let_nobody_do_more_than_their_names_say() {
        let policy = presets();
        let may = |name: &str, verb| policy.roles[&named(name).unwrap()].verbs.contains(&verb);
        for verb in [
            Verb::Start,
            Verb::Stop,
            Verb::Signal,
            Verb::Input,
            Verb::Workspace,
            Verb::Admin,
        ] {
            assert!(!may("viewer", verb), "{verb}");
        }
        assert!(!may("operator", Verb::Start) && !may("runner", Verb::Admin));
        assert_eq!(policy.roles[&named("runner").unwrap()].reach, Reach::Own);
    }

    #[test]
    fn a_certificate_that_is_pinned_by_a_flag_is_an_administrator_under_its_files_name() {
        let mut policy = presets();
        let mut add = |path: &str| add_admin(&mut policy, Path::new(path)).unwrap().to_string();
        assert_eq!(add("/x/anna.pem"), "anna");
        assert_eq!(add("/y/anna.pem"), "anna-2");
        assert_eq!(add("/y/.ö x.pem"), "x");
        assert_eq!(add("/y/ö.pem"), "client");
        let all = policy.principals.values();
        assert!(all.clone().all(|one| one.role.as_str() == "admin") && all.len() == 4);
    }
}
