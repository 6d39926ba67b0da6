//! `prn can-i`, and `--dry-run` of `prn start` and `prn run`.

use clap::Args;
use prn_client::{Access, AccessQuestion, Client, StartSpec, Verb};
use prn_proto::reason;
use prn_proto::units::{InvalidUnit, UserName};

use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::output::format::FormatFlag;
use crate::which::connection::Connection;
use crate::which::hosts::{Answers, Servers};
use crate::which::reference::{Reference, resolve};

/// Show what the server lets you do, or whether it is so
///
/// Alone it prints who you are to the server, and the verbs of your role. With a verb it prints yes
/// and exits with 0, or no, with the reason, and exits with 1. `prn start --dry-run` says whether
/// you may start something, and as what.
#[derive(Debug, Args)]
pub struct CanI {
    /// Whether you may do this
    #[arg(value_name = "VERB", value_enum)]
    pub verb: Option<Verb>,
    /// With this process: its id, the beginning of its id, or its name. Else with one of your own
    #[arg(value_name = "ID", requires = "verb")]
    pub process: Option<Reference>,
    /// As this user of the server's machine: whether you may start the command so
    #[arg(long, short, value_name = "NAME", value_parser = user, requires = "command")]
    pub user: Option<String>,
    /// With start: whether you may start this
    #[arg(
        last = true,
        value_name = "COMMAND",
        requires = "verb",
        conflicts_with = "process"
    )]
    pub command: Vec<String>,
    /// How to print the result.
    #[command(flatten)]
    pub format: FormatFlag,
    /// How to reach the server.
    #[command(flatten)]
    pub connection: Connection,
}

fn user(text: &str) -> Result<String, InvalidUnit> {
    text.parse().map(|UserName(name)| name)
}

pub async fn can_i(args: CanI) -> Result<Exit, Failure> {
    let (verb, process) = (args.verb, args.process.as_ref());
    if !args.command.is_empty() && verb != Some(Verb::Start) {
        let why = "a command is what may be started: say start, or leave it out";
        return Err(Failure::Usage(why.to_owned()));
    }
    let start = (!args.command.is_empty()).then(|| StartSpec {
        user: args.user.clone(),
        ..StartSpec::new(args.command.clone())
    });
    let start = start.as_ref();
    match Servers::of(&args.connection)? {
        Servers::One(remote) => {
            let access = asked(&remote.connect().await?, verb, process, start).await?;
            match verb {
                None => output::role(&access, &args.format)?,
                Some(_) => output::may(&access, &args.format)?,
            }
            Ok(exit_of(&access))
        }
        Servers::Several(hosts) => {
            let ask =
                async |_: &_, _: &_, client: Client| asked(&client, verb, process, start).await;
            told(&hosts.ask(ask).await, &args.format)
        }
    }
}

async fn asked(
    client: &Client,
    verb: Option<Verb>,
    process: Option<&Reference>,
    start: Option<&StartSpec>,
) -> Result<Access, Failure> {
    let question = match (verb, process) {
        (None, _) => AccessQuestion::Anything,
        (Some(verb), None) => start.map_or(AccessQuestion::Verb(verb), AccessQuestion::Start),
        (Some(verb), Some(process)) => {
            AccessQuestion::Process(verb, resolve(client, process).await?)
        }
    };
    Ok(client.check_access(question).await?)
}

fn exit_of(access: &Access) -> Exit {
    if access.allowed {
        exit::OK
    } else {
        exit::ERROR
    }
}

/// Prints what several servers have said: no, if one of them has.
fn told(answers: &Answers<Access>, format: &FormatFlag) -> Result<Exit, Failure> {
    output::access_of_hosts(&answers.answers, format)?;
    let each = answers.answers.iter().map(|of| exit_of(&of.value));
    Ok(each.fold(answers.exit, Exit::highest))
}

/// A server's answer to a start that expects nothing, for one that expects this digest: what would
/// start is shown whole, whichever it is.
fn compared(mut access: Access, expected: Option<&str>) -> Access {
    let start = access.start.as_ref().filter(|_| access.allowed);
    if let (Some(start), Some(expected)) = (start, expected)
        && let digest = start.digest.as_deref().unwrap_or("none that it says")
        && !digest.eq_ignore_ascii_case(expected)
    {
        access.why = Some(format!(
            "--expect: what the server would start has digest {digest}"
        ));
        access.reason = Some(reason::OTHER_DIGEST.to_owned());
        access.allowed = false;
    }
    access
}

/// Says what a start would come to, on each of the servers. Nothing starts.
pub async fn dry_run(
    servers: &Servers,
    spec: &StartSpec,
    format: &FormatFlag,
) -> Result<Exit, Failure> {
    let mut spec = spec.clone();
    let expected = spec.expect_digest.take();
    let expected = expected.as_deref();
    let question = AccessQuestion::Start(&spec);
    match servers {
        Servers::One(remote) => {
            let client = remote.connect().await?;
            let access = compared(client.check_access(question).await?, expected);
            output::startable(&access, format)?;
            Ok(exit_of(&access))
        }
        Servers::Several(hosts) => {
            let ask = async |_: &_, _: &_, client: Client| {
                Ok(compared(client.check_access(question).await?, expected))
            };
            told(&hosts.ask(ask).await, format)
        }
    }
}
