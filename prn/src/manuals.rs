//! The manual pages in packaging/man: made from the same commands, flags and words as `--help`, by
//! a test, so that no binary carries them. `PRN_WRITE_TABLES=1 cargo test -p prn manuals` writes
//! them.
//!
//! A page for each command, prn-server, prn-policy, prn-pin, prn-rotate, prn-audit and those below
//! them in section 8, prn.toml(5), and what no command line has in it (`written`).

mod written;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use prn_launch::options::Options;

use crate::cli::Cli;
use crate::exit;

/// Of the version that the pages are of.
const DATE: &str = "2026-11-30";

/// An apostrophe that stays one when it is copied (groff_man_style(7)).
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// Variables that prn reads, with what they are for.
const VARIABLES: &[(&str, &str)] = &[
    (
        "PRN_FLEET",
        "The fleet that is meant where --fleet names none.",
    ),
    ("PRN_CONTEXT", "The context of the server, as --context."),
    ("PRN_CONFIG", "The file with the contexts."),
    (
        "PRN_LISTEN",
        "Where the server listens: prn server start alone reads it.",
    ),
    ("PRN_ADDRESS", "Where the server listens, as --address."),
    ("PRN_CLIENT_CERT", "Your own certificate, as --client-cert."),
    (
        "PRN_SERVER_CERT",
        "The server's certificate, as --server-cert.",
    ),
    (
        "PRN_TLS_KEY",
        "The private key itself (PKCS#8, PEM). It wins over PRN_TLS_KEY_FILE and loses to --tls-key.",
    ),
    (
        "PRN_TLS_KEY_FILE",
        "The file with the private key, readable by its owner alone.",
    ),
    (
        "PRN_DETACH_KEYS",
        "The keys that leave a process, as --detach-keys.",
    ),
    (
        "TRACEPARENT",
        "The trace that a process belongs to that prn starts (W3C Trace Context): its label traceparent.",
    ),
    ("COLUMNS", "Width of tables on a terminal."),
    (
        "TERM",
        "What a process gets that has a terminal, unless --env names another.",
    ),
];

/// Files that prn looks for by itself.
const FILES: &[(&str, &str)] = &[
    (
        "~/.config/prn/config.toml",
        "Contexts: addresses and certificates of servers by name (prn context).",
    ),
    (
        "/etc/prn/prn.toml",
        "The configuration that the packaged service starts the server with: prn.toml(5).",
    ),
    (
        "/var/lib/prn",
        "The server's state folder: directories of processes and workspaces, output on disk.",
    ),
];

/// Keys of the table [paths] of prn.toml.
const PATHS: &[(&str, &str)] = &[
    (
        "hidden",
        "Directories that are empty for every process [default: \"/home\", \"/root\", \"/etc/prn\" and the folder of the file].",
    ),
    (
        "bind",
        "Directories that a process may be given to see elsewhere (prn run --bind), and to write to as far as its user may.",
    ),
    (
        "bind-read-only",
        "Directories that a process may be given to see elsewhere, and to read.",
    ),
];

/// Keys of a table [[client]] of prn.toml.
const CLIENT: &[(&str, &str)] = &[
    (
        "name",
        "What it is called: 1 to 64 letters, digits, '-', '_', '.' and '@', first a letter or a digit.",
    ),
    (
        "cert",
        "Its certificate (PEM): a file, or a list of several; relative to the folder of the file that says so.",
    ),
    (
        "fingerprint",
        "Instead or beside it, its key's fingerprint, or a list of several: SHA256:… as ssh-keygen -l prints it, or sha256//… as curl takes it. prn keygen --show CERT prints both.",
    ),
    (
        "san",
        "Instead or beside these, its name in certificates that client-ca has signed, or a list of several: \"uri:spiffe://prod/ci\", \"uri:spiffe://prod/*\" (all below it), \"dns:ci.example\", \"dns:*.example\" (one label). Of rules for one name the most exact one counts; a certificate with names of two clients is refused.",
    ),
    (
        "role",
        "What it may do: viewer, operator, runner, admin, or the name of a [[role]].",
    ),
    (
        "group",
        "Whom it shares processes with, where a role is about a group's.",
    ),
    (
        "require-signed-starts",
        "true: nothing of it is started that its key has not signed (prn start --sign, or sign = true in a context). It takes a cert or a fingerprint, and the client gives its processes no input and no terminal [default: as the key of the same name above all tables says].",
    ),
    (
        "not-after",
        "When it ends, such as \"2030-01-31T00:00:00Z\": from then on the client may do nothing.",
    ),
];

/// Keys of a table [[role]] of prn.toml.
const ROLE: &[(&str, &str)] = &[
    (
        "name",
        "What it is called, as a client. The four roles above need not be written down, and cannot be changed.",
    ),
    (
        "may",
        "A list of start, stop, signal, output, input, list, workspace and admin.",
    ),
    (
        "whose",
        "Whose processes and workspaces: own, group or all [default: own].",
    ),
    (
        "hours",
        "When something may be changed, in UTC: \"Mon-Fri 08:00-18:00\", \"Sat 22:00-06:00\" (up to Sunday), \"00:00-04:00\" (each day), or a list of several. To list and to read is allowed at any time [default: at any time].",
    ),
    (
        "programs",
        "What may be started: a list of lists, each an absolute path and its words; other words may follow where the last one is \"...\" [default: anything].",
    ),
    (
        "variables",
        "Names of variables that may be set where programs are ruled [default: none].",
    ),
    (
        "profile",
        "The least that confines what is started: none, default or strict [default: none].",
    ),
    (
        "users",
        "Users of the machine that it may run as (prn run --user), of those of the key users above all tables [default: none; the role admin has all of them].",
    ),
    (
        "max-cpu, max-memory, max-io-read, max-io-write, max-pids",
        "The most that a process can ask for, beside the keys of the same names above.",
    ),
    (
        "default-cpu, default-memory, default-io-read, default-io-write, default-pids",
        "What a process gets that asks for no limit, instead of the keys of the same names above.",
    ),
    ("max-processes", "Most processes of one client at one time."),
    (
        "max-output",
        "Most output that a process can ask to be kept.",
    ),
];

/// A page's text.
struct Page(Roff);

impl Page {
    fn section(&mut self, title: &str) {
        self.0.control("SH", [title]);
    }

    fn entry(&mut self, term: &str, text: &str) {
        self.0.control("TP", []);
        self.0.text([bold(term)]);
        self.0.text([roman(text)]);
    }

    /// Lines that stay as they are.
    fn lines(&mut self, text: &str) {
        self.0.control("nf", []);
        for line in text.lines() {
            self.0.text([roman(line)]);
        }
        self.0.control("fi", []);
    }

    fn see_also(&mut self, pages: &[String]) {
        self.section("SEE ALSO");
        self.0.text([roman(pages.join(", "))]);
    }
}

/// All pages by the names of their files.
fn pages() -> BTreeMap<String, String> {
    let mut tree = Cli::command().disable_help_subcommand(true);
    tree.build();
    let mut pages = BTreeMap::new();
    add(&mut pages, &tree, None);
    pages.insert("prn.toml.5".to_owned(), configuration());
    pages.extend(written::pages().map(|(file, text)| (file.to_owned(), text)));
    pages
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
}

/// The page's name: "prn-server-start".
fn name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

/// What these and those below them are for is the operator's.
const OPERATORS: &[&str] = &[
    "prn-server",
    "prn-policy",
    "prn-pin",
    "prn-rotate",
    "prn-audit",
];

/// But this, which a client's user does.
const OF_USERS: &str = "prn-rotate-client";

fn section(command: &Command) -> &'static str {
    let is_operators = OPERATORS
        .iter()
        .any(|operators| name(command).starts_with(operators));
    if is_operators && name(command) != OF_USERS {
        "8"
    } else {
        "1"
    }
}

fn reference(command: &Command) -> String {
    format!("{}({})", name(command), section(command))
}

fn add(pages: &mut BTreeMap<String, String>, command: &Command, above: Option<&Command>) {
    let file = format!("{}.{}", name(command), section(command));
    pages.insert(file, page(command, above));
    for below in shown(command) {
        add(pages, below, Some(command));
    }
}

fn page(command: &Command, above: Option<&Command>) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let man = Man::new(command.clone().override_usage(usage));
    let mut bytes = Vec::new();
    man.render_name_section(&mut bytes).unwrap();
    man.render_synopsis_section(&mut bytes).unwrap();
    man.render_description_section(&mut bytes).unwrap();
    man.render_options_section(&mut bytes).unwrap();
    let mut rest = Page(Roff::new());
    commands(&mut rest, command);
    match above {
        None => of_prn(&mut rest),
        Some(_) => of_a_command(&mut rest, command),
    }
    let mut beside: Vec<String> = above.map(reference).into_iter().collect();
    beside.extend(shown(command).map(reference));
    if section(command) == "8" || above.is_none() {
        beside.push("prn.toml(5)".to_owned());
        beside.push("prn(7)".to_owned());
    }
    rest.see_also(&beside);
    let text = String::from_utf8(bytes).unwrap() + &rest.0.to_roff();
    titled(name(command), section(command), &text)
}

/// With a title line in front, and what roff writes before each part there once.
fn titled(name: &str, section: &str, text: &str) -> String {
    let title = format!(
        ".TH \"{}\" \"{section}\" \"{DATE}\" \"prn {}\"\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION")
    );
    // A paragraph is enough where it breaks a line and skips one.
    let text = text.replace(PREAMBLE, "").replace(".br\n\n.br\n", ".sp\n");
    format!("{PREAMBLE}{title}{text}")
}

fn commands(page: &mut Page, command: &Command) {
    if shown(command).next().is_none() {
        return;
    }
    page.section("COMMANDS");
    for below in shown(command) {
        let about = below.get_about().map(ToString::to_string);
        page.entry(&reference(below), &about.unwrap_or_default());
    }
}

/// What is said once, for all commands.
fn of_prn(page: &mut Page) {
    page.section("EXIT STATUS");
    page.lines(exit::HELP.trim_start_matches("Exit codes:\n"));
    page.section("ENVIRONMENT");
    for (variable, what) in VARIABLES {
        page.entry(variable, what);
    }
    page.section("FILES");
    for (file, what) in FILES {
        page.entry(file, what);
    }
}

fn of_a_command(page: &mut Page, command: &Command) {
    let help = command.get_after_long_help().or(command.get_after_help());
    if let Some(help) = help.map(ToString::to_string) {
        let (title, text) = help.split_once(":\n").unwrap_or(("", &help));
        page.section(match title {
            "Examples" => "EXAMPLES",
            "Exit codes" => "EXIT STATUS",
            _ => "NOTES",
        });
        page.lines(if title.len() < "Exit codes:".len() {
            text
        } else {
            &help
        });
    }
    page.section("EXIT STATUS AND ENVIRONMENT");
    page.0.text([roman("As prn(1) has them.")]);
}

/// Of the file alone.
const KEY_COMMAND: &str = "Instead of tls-key: a list of words, the program that prints the server's private key (PKCS#8, PEM) and its \
     arguments. There is no shell. It runs as root at each start and reload, for up to 30 seconds, without input and without \
     PRN_TLS_KEY; if it fails, the end of what it wrote to standard error is the error. A key of the file alone";

/// prn.toml(5).
fn configuration() -> String {
    let mut page = Page(Roff::new());
    page.section("NAME");
    page.0
        .text([roman("prn.toml - configuration of the prn server")]);
    page.section("SYNOPSIS");
    page.0
        .text([bold("prn server start --config "), italic("FILE")]);
    page.section("DESCRIPTION");
    page.0.text([roman(
        "A TOML file. Each key is a flag of prn server start without its dashes, and has its meaning, its form and its \
         default: a flag wins over an environment variable, which wins over the file. Sizes, times and addresses are \
         strings (\"2G\", \"10s\", \"127.0.0.1:50051\"), numbers stand alone, and what is a flag without a value is true or \
         false. A file of a certificate, a key, an authority or a list that is named without a leading slash is in the folder of the configuration file. A key that is not known is an error, so that a word that is spelled wrong never goes unnoticed. prn server reload puts a changed file in force while the \
         server runs, but for the keys of which this page says otherwise, and hidden of [paths].",
    )]);
    page.section("KEYS");
    let mut flags = Options::augment_args(Command::new("prn.toml"));
    flags.build();
    for flag in flags.get_arguments().filter(|flag| flag.get_id() != "help") {
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let name = flag.get_long().unwrap();
        let kept = if prn_launch::FIXED.contains(&name) {
            ". A reload does not change it"
        } else {
            ""
        };
        page.entry(name, &format!("{help}{kept}"));
        if name == "tls-key" {
            page.entry("key-command", KEY_COMMAND);
        }
    }
    page.section("THE TABLE [paths]");
    page.0.text([roman(
        "Lists of absolute paths of directories. It is in the file alone, and stands at its end.",
    )]);
    for (key, what) in PATHS {
        page.entry(key, what);
    }
    clients(&mut page);
    page.section("EXAMPLES");
    page.lines(
        "address = \"0.0.0.0:50051\"\nserver-cert = \"/etc/prn/server.pem\"\nclient-cert = [\"/etc/prn/anna.pem\", \
         \"/etc/prn/ci.pem\"]\ntls-key = \"/etc/prn/server.key\"\ndefault-memory = \"2G\"\n\n[paths]\nbind-read-only = \
         [\"/srv/data\"]",
    );
    page.see_also(&[
        "prn-server-start(8)".to_owned(),
        "prn-server-reload(8)".to_owned(),
        "prn-server-check(8)".to_owned(),
        "prn-policy(5)".to_owned(),
        "prn-policy(8)".to_owned(),
        "prn-pin(8)".to_owned(),
        "prn-audit(8)".to_owned(),
    ]);
    titled("prn.toml", "5", &page.0.to_roff())
}

/// Who is let in, and what for.
fn clients(page: &mut Page) {
    page.section("THE TABLES [[client]]");
    page.0.text([roman(
        "Each is a client that is let in. Where there is one, nobody else is, and client-cert is refused; without any, each \
         certificate of client-cert may do everything.",
    )]);
    for (key, what) in CLIENT {
        page.entry(key, what);
    }
    page.section("THE TABLES [[role]]");
    page.0.text([roman(
        "Each is what a client may do that has the role. Nothing else is allowed.",
    )]);
    for (key, what) in ROLE {
        page.entry(key, what);
    }
    page.section("USERS OF THE MACHINE");
    page.entry(
        "users",
        "A list of users that processes may run as at all, by their names, with their groups; each role chooses of these. They are \
         looked up when the server starts and when it reloads. None may be root, be in a group of root's or in more than 32, or have \
         an id of the server's own. A key of the file alone, and above its tables [default: none].",
    );
    page.section("THE FOLDER clients.d");
    page.entry(
        "clients-dir",
        "A folder of files NAME.toml with more of both tables, which are read in the order of their names; nobody but root may be \
         able to write it or them, and none may be a link. A key of the file alone, and above its tables [default: clients.d beside the file, if it is there].",
    );
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/man"))
}

#[test]
fn the_pages_in_packaging_are_those_of_this_command_line() {
    let made = pages();
    if std::env::var_os("PRN_WRITE_TABLES").is_some() {
        fs::create_dir_all(folder()).unwrap();
        for old in fs::read_dir(folder()).unwrap() {
            fs::remove_file(old.unwrap().path()).unwrap();
        }
        for (file, text) in &made {
            fs::write(folder().join(file), text).unwrap();
        }
    }
    let found: BTreeMap<String, String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            (file, fs::read_to_string(path).unwrap())
        })
        .collect();
    let names = |pages: &BTreeMap<String, String>| pages.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&made), "{WRITE}");
    for (file, text) in &made {
        assert!(found.get(file) == Some(text), "{file}: {WRITE}");
    }
}

const WRITE: &str =
    "packaging/man is out of date: PRN_WRITE_TABLES=1 cargo test -p prn manuals writes it";

#[test]
fn each_flag_each_variable_and_each_key_is_in_a_page() {
    // Of what a terminal shows, so without the backslashes of roff.
    let pages: BTreeMap<String, String> = pages()
        .into_iter()
        .map(|(file, text)| (file, text.replace('\\', "")))
        .collect();
    let mut tree = Cli::command().disable_help_subcommand(true);
    tree.build();
    let mut commands = vec![&tree];
    while let Some(command) = commands.pop() {
        commands.extend(shown(command));
        let page = &pages[&format!("{}.{}", name(command), section(command))];
        for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
            let long = flag.get_long().map(|long| format!("--{long}"));
            for word in long
                .into_iter()
                .chain(flag.get_short().map(|short| format!("-{short}")))
            {
                assert!(page.contains(&word), "{}: {word}", name(command));
            }
            let variable = flag.get_env().map(|name| name.to_str().unwrap());
            let known = |name: &str| VARIABLES.iter().any(|(known, _)| *known == name);
            assert!(variable.is_none_or(known), "{variable:?}");
        }
    }
    let keys = include_str!("../../packaging/prn.toml")
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| !key.contains(' '));
    for key in keys {
        assert!(pages["prn.toml.5"].contains(&format!("fB{key}fR")), "{key}");
    }
}
