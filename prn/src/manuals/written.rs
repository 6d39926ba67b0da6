//! Pages that no command line has in it: what the parts of prn are, and the words that all pages
//! use.

use clap_mangen::roff::{bold, italic, roman};

use super::{Page, Roff, titled};
use crate::exit;

/// Each by the name of its file.
pub(super) fn pages() -> [(&'static str, String); 6] {
    [
        ("prn.7", concepts()),
        ("prn-policy.5", policy()),
        ("prn-supervisor.8", supervisor()),
        ("prn-frontend.8", frontend()),
        ("prn-signer.8", signer()),
        ("prn-agent.8", agent()),
    ]
}

impl Page {
    fn begin(name: &str, what: &str) -> Self {
        let mut page = Self(Roff::new());
        page.section("NAME");
        page.0.text([roman(format!("{name} - {what}"))]);
        page
    }

    /// Paragraphs, each with its break.
    fn prose(&mut self, paragraphs: &[&str]) {
        for (at, paragraph) in paragraphs.iter().enumerate() {
            if at > 0 {
                self.0.control("PP", []);
            }
            self.0.text([roman(*paragraph)]);
        }
    }

    fn entries(&mut self, title: &str, entries: &[(&str, &str)]) {
        self.section(title);
        for (term, text) in entries {
            self.entry(term, text);
        }
    }

    fn end(mut self, name: &str, section: &str, beside: &[&str]) -> String {
        self.see_also(&beside.iter().map(ToString::to_string).collect::<Vec<_>>());
        titled(name, section, &self.0.to_roff())
    }
}

fn concepts() -> String {
    let mut page = Page::begin("prn", "processes on another machine: what the words mean");
    page.section("DESCRIPTION");
    page.prose(&[
        "prn starts processes on a server, keeps what they print, and stops them with all that they have started. Client and server know each other by keys, and talk over TLS 1.3. This page says what the other pages mean by their words.",
    ]);
    page.entries(
        "PROCESS",
        &[
            (
                "id",
                "32 hexadecimal digits that name a process for its whole life and after. The beginning of one is enough where it is the only one, and so is its name (prn start --name).",
            ),
            (
                "tree",
                "The main process, which the command became, with all that it has started. It lives until the last of them is gone: prn stop ends the tree, with SIGTERM first, and SIGKILL after its grace.",
            ),
            (
                "user",
                "A user id of no account, which no other process has at that time, or that of a workspace, or a user of the machine (prn run --user) where the role lets it.",
            ),
            (
                "limits",
                "CPU, memory, disk and tasks of a tree, by a cgroup of its own: prn start --help names the flags, and the server and the client's role have the most.",
            ),
            (
                "profile",
                "How it is confined: default, strict, or none where the server allows that. prn status ID -o wide shows what is in force.",
            ),
            (
                "directory",
                "An empty one of its own below the state folder, which is removed with it, unless it starts in a workspace.",
            ),
        ],
    );
    page.entries(
        "OUTPUT",
        &[
            (
                "what is kept",
                "What a process writes to standard output and standard error, in the order in which the server read it, with the time of each piece. It can be read from any place, by several at one time, while the process runs and after.",
            ),
            (
                "output policy",
                "What happens where there is more than is kept (--output-max): drop-oldest, the default of prn start; follow, that of prn run, which holds the process up while its client reads; wait, which always does; kill.",
            ),
            (
                "gap",
                "Bytes that were dropped before they were read. prn logs says how many, and exits with 6.",
            ),
        ],
    );
    page.entries(
        "WORKSPACE",
        &[(
            "workspace",
            "A directory that stays between processes, with a user id of its own, which all that starts in it has (prn run -w). prn cp copies to it and from it. It is shared by those processes alone.",
        )],
    );
    page.entries(
        "PRINCIPAL",
        &[
            (
                "client",
                "Whoever has a key that the server's configuration knows, under the name that this gives it: prn can-i prints it. Processes belong to the client that has started them.",
            ),
            (
                "role",
                "What a client may do, and with whose processes: verbs, programs, hours, users and limits. prn-policy(5) has them.",
            ),
            (
                "signed start",
                "A start that the client's key has signed (prn start --sign), which the root half of the server verifies: then whoever has taken over the half that talks to the network starts nothing.",
            ),
        ],
    );
    page.entries(
        "LIFETIME",
        &[
            (
                "connection",
                "A process does not end with the connection of its client: prn attach and prn logs come back to it. prn run stops what it has started where it is interrupted, unless --on-disconnect says otherwise.",
            ),
            (
                "lease",
                "A time after which a process is stopped unless somebody renews it (prn renew) or follows it.",
            ),
            (
                "timeout and deadline",
                "How long a process may run, and until when.",
            ),
            (
                "retention",
                "A process that has ended is remembered, with its output, until there are too many, its time is over (--retain), or prn rm: prn status says how it ended. --keep keeps it until then.",
            ),
            (
                "server",
                "All processes end with the server. Each run of it has an epoch: what was started in an earlier one is lost, which prn says and exits with 123.",
            ),
        ],
    );
    page.section("EXIT STATUS");
    page.lines(exit::HELP.trim_start_matches("Exit codes:\n"));
    page.end(
        "prn",
        "7",
        &[
            "prn(1)",
            "prn-policy(5)",
            "prn.toml(5)",
            "prn-server(8)",
            "prn-supervisor(8)",
        ],
    )
}

fn policy() -> String {
    let mut page = Page::begin("prn-policy", "who may do what on a prn server");
    page.section("SYNOPSIS");
    page.0.text([
        roman("/etc/prn/prn.toml, "),
        italic("/etc/prn/clients.d/*.toml"),
    ]);
    page.section("DESCRIPTION");
    page.prose(&[
        "A policy is made of the tables [[client]] and [[role]] of the server's configuration, and of the files beside it. prn.toml(5) has each key. The root half of the server decides by it, for each call: what no role allows is refused, and where there is a [[client]] nobody else is let in.",
        "Files of the folder are read in the order of their names, and taken only where nobody but root can write them. A change is in force after prn server reload, which refuses all of it if anything is wrong.",
    ]);
    page.section("VERBS");
    for (verb, what) in [
        (
            "start",
            "Start a process, and change what a start says of one's own: its limits, labels, lease and retention.",
        ),
        ("stop", "Stop a process, and forget one that has ended."),
        ("signal", "Send a signal, pause and resume."),
        ("output", "Read the output."),
        ("input", "Feed standard input and a terminal."),
        (
            "list",
            "See processes and workspaces: without it nothing can be named.",
        ),
        ("workspace", "Make and remove workspaces, and copy to them."),
        (
            "admin",
            "See how much the server has to do for all clients together (prn health).",
        ),
    ] {
        page.entry(verb, what);
    }
    page.section("HOW A START IS DECIDED");
    page.prose(&[
        "In this order; the first no is the answer, and says which key of which table it is from.",
    ]);
    page.lines(
        "1. The client is known, and its not-after has not passed.\n2. Its role has the verb start, and it is in the hours of the role.\n3. The program and its words are those of one of the programs of the role, or it has none of that key.\n4. Variables, directory, workspace, paths, profile and user are such as the role allows.\n5. There are fewer processes of the client than max-processes.\n6. Limits and output are within those of the role and of the server.\n7. Where starts must be signed (require-signed-starts), the signature is the client's, counts now, and was not used.",
    );
    page.section("ASKING");
    for (command, what) in [
        (
            "prn policy check FILE",
            "Says what each client may do, or each error, without a server.",
        ),
        (
            "prn policy explain FILE CLIENT start -- COMMAND",
            "Says whether a client may do something, by which rule, and what to change if not.",
        ),
        ("prn can-i", "Asks the server what it lets you do."),
    ] {
        page.entry(command, what);
    }
    page.section("EXAMPLES");
    page.lines(
        "server-cert = \"server.pem\"\n\n[[client]]\nname = \"ci\"\ncert = \"ci.pem\"\nrole = \"builder\"\nrequire-signed-starts = true\n\n[[role]]\nname = \"builder\"\nmay = [\"start\", \"stop\", \"list\", \"output\"]\nprograms = [[\"/usr/bin/make\", \"...\"]]\nhours = \"Mon-Fri 06:00-20:00\"\nmax-memory = \"4G\"\nmax-processes = 8",
    );
    page.end(
        "prn-policy",
        "5",
        &[
            "prn(7)",
            "prn.toml(5)",
            "prn-policy(8)",
            "prn-pin(8)",
            "prn-server-reload(8)",
            "prn-audit(8)",
        ],
    )
}

fn supervisor() -> String {
    let mut page = Page::begin("prn-supervisor", "the half of the prn server that is root");
    page.section("SYNOPSIS");
    page.0.text([bold("prn server start")]);
    page.section("DESCRIPTION");
    page.prose(&[
        "prn-supervisor starts, limits, stops and signals processes, and keeps their output. It reads nothing from the network and parses no text: prn server start, which has checked all of the configuration, executes it in its own place, with an empty environment, and it starts prn-frontend(8), which asks it for what clients want. It decides each request by the policy, prn-policy(5).",
        "Started by itself it does nothing: it takes no arguments, and adopts descriptors that only prn server start passes.",
        "It keeps the capabilities to change owners and user ids, to kill, to lower its own rights, and, where it makes namespaces, to mount; a filter of system calls refuses the rest.",
    ]);
    page.section("SIGNALS");
    page.entry(
        "SIGTERM, SIGINT, SIGQUIT",
        "Stop all processes, each with its grace, and end. The second one kills them.",
    );
    page.entry(
        "SIGHUP",
        "Is ignored: prn server reload says what came of it.",
    );
    page.section("FILES");
    page.entry(
        "/var/lib/prn/.control",
        "A socket that root alone can reach: prn server reload and prn server status talk to it.",
    );
    page.entry(
        "/var/lib/prn",
        "The state folder: directories of processes, workspaces, output on disk.",
    );
    page.section("EXIT STATUS");
    page.prose(&[
        "0 after a stop that it was told to make, else 1, with a line in its log that says why.",
    ]);
    page.end(
        "prn-supervisor",
        "8",
        &[
            "prn-server-start(8)",
            "prn-server-status(8)",
            "prn-frontend(8)",
            "prn-audit(8)",
            "prn(7)",
        ],
    )
}

fn frontend() -> String {
    let mut page = Page::begin(
        "prn-frontend",
        "the half of the prn server that talks to the network",
    );
    page.section("DESCRIPTION");
    page.prose(&[
        "prn-frontend takes connections, shakes hands over TLS 1.3, reads and answers calls of the API, and sends output. It has no privilege: a user of its own, an empty root directory, no capability, and a filter that lets it start no program and open no file. Whatever its clients ask for it asks of prn-supervisor(8), which starts it, and does not believe it.",
        "Where it dies, hangs or says what it may not, the supervisor replaces it: processes and their output are not touched, and clients connect anew. prn server status says how often that was, and why the last time. A reload replaces it too.",
        "The server's key is in its memory, from where it signs handshakes, unless it is in a token: then prn-signer(8) signs them. Whoever has taken it over could ask for what any client may: signed starts are against the worst of that.",
    ]);
    page.end(
        "prn-frontend",
        "8",
        &[
            "prn-supervisor(8)",
            "prn-signer(8)",
            "prn-server-status(8)",
            "prn-server-start(8)",
            "prn(7)",
        ],
    )
}

fn agent() -> String {
    let mut page = Page::begin(
        "prn-agent",
        "what a host of a fleet has beside its prn server",
    );
    page.section("SYNOPSIS");
    page.0.text([bold("prn-agent --config "), italic("FILE")]);
    page.section("DESCRIPTION");
    page.prose(&[
        "prn-agent lets the server of its machine run jobs of a fleet. It announces the host in etcd, claims jobs that fit, starts them on the server, and writes to etcd how they end. No byte of input or output is in etcd: clients talk to the server itself.",
        "It is a client of the server and of etcd, without privilege, and has one certificate for both: the server pins it with a role that has start and list for all processes, and the authority of etcd has signed it for a user of etcd, which may claim jobs and write the outcomes of its own host.",
        "prn fleet join makes its files from an invitation and lets it in. The unit prn-agent.service is neither enabled nor started by the package. When it ends, what runs goes on: the next one finds it again.",
    ]);
    page.section("OPTIONS");
    page.prose(&[
        "prn-agent --help has all of them. A flag wins over an environment variable, which wins over the file.",
    ]);
    page.entries(
        "CONFIGURATION",
        &[
            (
                "fleet, host",
                "The fleet, and the name of the host in it: a-z, 0-9, '-' and '.'.",
            ),
            (
                "store, store-ca, store-name",
                "A list of etcd's members (HOST:PORT), a list of files of the authorities that have signed their certificates, and their name in these, if it is not that of each address.",
            ),
            (
                "client-cert, tls-key",
                "The agent's certificate, and its key: a file, credential:NAME, keyring:NAME or pkcs11:URI.",
            ),
            (
                "address, announce, server-cert, server-fingerprint",
                "Where the server listens, where clients reach it, and lists of what it is known by, which clients are told.",
            ),
            (
                "label",
                "A list of labels, such as [\"zone=a\"]: a job with --on zone=a goes to such a host.",
            ),
            (
                "processes, memory, cpus",
                "What jobs have at one time, of all that there is: 100 processes, and all of the machine's memory and CPUs, unless it is said here.",
            ),
            (
                "lease, lost-after",
                "For how long the host is believed to be there without a word of it, and how long after that its jobs that may run twice are started elsewhere. Nothing else is.",
            ),
        ],
    );
    page.section("FILES");
    page.entry(
        "/etc/prn/agent.toml",
        "The configuration of the packaged unit. Files in it are meant from its folder.",
    );
    page.entry(
        "/etc/prn/agent.pem, /etc/prn/agent.key, /etc/prn/agent-store.pem",
        "The agent's certificate and key, and the authority of etcd. The unit gives them to the agent as credentials.",
    );
    page.section("EXIT STATUS");
    page.prose(&["0 after SIGTERM or SIGINT; 1 with a line on standard error that says why."]);
    page.section("EXAMPLES");
    page.lines("prn fleet join web1.invite --label zone=a\nsystemctl enable --now prn-agent");
    page.end(
        "prn-agent",
        "8",
        &["prn-fleet(1)", "prn-pin(8)", "prn.toml(5)", "prn(7)"],
    )
}

fn signer() -> String {
    let mut page = Page::begin(
        "prn-signer",
        "what signs handshakes of prn with a key in a token",
    );
    page.section("SYNOPSIS");
    page.0
        .text([bold("prn server start --tls-key pkcs11:"), italic("URI")]);
    page.0.control("PP", []);
    page.0
        .text([bold("prn list --tls-key pkcs11:"), italic("URI")]);
    page.section("DESCRIPTION");
    page.prose(&[
        "Where the TLS key of a server or a client is in a PKCS #11 token, which does not give it away, prn-signer signs with it. It loads the module of the token, which is foreign code and is in no other process of prn. It is started with the server, by prn server start and prn server reload, and by each command of a client's; started by itself it does nothing.",
        "It gets the URI (RFC 7512) and the PIN over a socket, finds the key, and then signs what TLS 1.3 has this side of a handshake sign, for a client the digests of its starts too (prn start --sign), and nothing else. prn-frontend(8) asks it for each handshake, over a socket of its own, and never has the key.",
        "Of a server it runs as the user prn-signer, or as 1999999997 where there is none, in the group of the supervisor; of a client as the client's user. It has no capabilities and leaves no core. It ends with its sockets: 5 seconds after them where the module is stuck.",
        "Where it has ended or does not answer within 2 seconds nobody new gets in, and who is connected stays. The log says so, the metric prn_signer_up is 0, and prn server reload starts another one. A client starts another one with its next command.",
    ]);
    page.section("ENVIRONMENT");
    page.prose(&[
        "Modules find their configuration in variables. Of the environment of what starts it, it has those that say where things are (PATH, HOME, the language, XDG_CONFIG_HOME, XDG_RUNTIME_DIR), those that modules are known to read, such as SOFTHSM2_CONF, PKCS11_* and P11_KIT_*, and no other.",
    ]);
    page.section("FILES");
    page.entry(
        "/usr/libexec/prn/prn-signer",
        "The program: there, or beside the program that starts it.",
    );
    page.section("EXIT STATUS");
    page.prose(&[
        "0, or 1 with a line on standard error that says why. Whoever started it is told over the socket why a key is not to be had, and says it.",
    ]);
    page.section("EXAMPLES");
    page.lines(
        "prn server start --tls-key 'pkcs11:token=prn;object=server?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/prn/pin'",
    );
    page.end(
        "prn-signer",
        "8",
        &[
            "prn-frontend(8)",
            "prn-server-start(8)",
            "prn-server-reload(8)",
            "prn-supervisor(8)",
            "prn(7)",
        ],
    )
}
