//! Roles: from a table to what the root half compares.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::Path;

use prn_ipc_protocol::lines::chain;
use prn_ipc_protocol::message::Profile;
use prn_ipc_protocol::output_max;
use prn_ipc_protocol::policy::{Program, Programs, Reach, Role, Verb};
use prn_ipc_protocol::types::{Hours, UserName};
use toml::Spanned;

use super::files::Part;
use super::hours;
use super::listed::Access;
use super::tables::{Problem, RoleTable, Source};
use crate::options::Options;
use crate::plan;
use crate::warning::Warning;

/// The last word of a program: others may follow.
const REST: &str = "...";

/// Adds all roles of a file.
pub(super) fn add(
    access: &mut Access,
    part: &Part,
    users: &[Spanned<UserName>],
    problems: &mut Vec<Problem>,
    warn: &dyn Fn(Warning),
) {
    for table in &part.tables.role {
        let (span, table) = (table.span(), table.get_ref());
        let name = table.name.get_ref();
        let refused = if let Some(place) = access.roles.get(name) {
            Some(format!("there is a role {name} already, at {place}"))
        } else if access.policy.roles.contains_key(name) {
            Some(format!(
                "{name} is a role that need not be written down, and cannot be changed: take another name"
            ))
        } else {
            None
        };
        if let Some(what) = refused {
            problems.push(part.source.problem(&table.name.span(), what));
            continue;
        }
        let rules = rules(table, &part.source, problems, warn);
        let hours = hours::of(table, &part.source, problems);
        check_users(table, &part.source, users, problems);
        access.roles.insert(name.clone(), part.source.place(&span));
        match role(table, rules, hours) {
            Ok(role) => drop(access.policy.roles.insert(name.clone(), role)),
            Err(what) => problems.push(part.source.problem(&span, what)),
        }
    }
}

fn role(table: &RoleTable, rules: Vec<Program>, hours: Vec<Hours>) -> Result<Role, String> {
    // They are held to the same ranges as those of the server.
    let limits = plan::limits(&Options {
        max_cpu: table.max_cpu,
        max_memory: table.max_memory,
        max_io_read: table.max_io_read,
        max_io_write: table.max_io_write,
        max_pids: table.max_pids,
        default_cpu: table.default_cpu,
        default_memory: table.default_memory,
        default_io_read: table.default_io_read,
        default_io_write: table.default_io_write,
        default_pids: table.default_pids,
        ..Options::default()
    });
    let limits = limits.map_err(|error| chain(&error).trim_start_matches('-').to_owned())?;
    check_verbs(&table.may)?;
    let output = table.max_output.map(|most| output_max(most.0)).transpose();
    Ok(Role {
        verbs: table.may.clone(),
        reach: table.whose.unwrap_or(Reach::Own),
        hours,
        programs: programs(table, rules)?,
        profile: table.profile.unwrap_or(Profile::None),
        users: table
            .users
            .iter()
            .map(|user| user.get_ref().clone())
            .collect(),
        ceilings: limits.ceilings,
        defaults: limits.defaults,
        processes_max: table.max_processes,
        output_max: output.map_err(|why| format!("max-output {why}"))?,
    })
}

/// A role chooses among the users that the server may use at all.
fn check_users(
    table: &RoleTable,
    source: &Source,
    all: &[Spanned<UserName>],
    problems: &mut Vec<Problem>,
) {
    for asked in &table.users {
        let name = asked.get_ref();
        if !all.iter().any(|known| known.get_ref() == name) {
            let what = format!(
                "the server may not use user {name}: add it to the server's own list, users = [\"{name}\"] above all tables of its configuration, or take it away here"
            );
            problems.push(source.problem(&asked.span(), what));
        }
    }
}

/// What cannot be seen cannot be named.
fn check_verbs(may: &BTreeSet<Verb>) -> Result<(), String> {
    if may.is_empty() || may.contains(&Verb::List) {
        return Ok(());
    }
    Err("may lacks \"list\": without it no process can be named, not even one's own".to_owned())
}

fn programs(table: &RoleTable, rules: Vec<Program>) -> Result<Programs, String> {
    let variables = table.variables.iter().flatten();
    let variables = variables.map(|name| match CString::new(name.as_str()) {
        Ok(string) if !name.is_empty() && !name.contains('=') => Ok(string),
        _ => Err(format!("{name:?} is not a variable's name")),
    });
    let variables = variables.collect::<Result<BTreeSet<_>, _>>()?;
    match &table.programs {
        None if table.variables.is_some() => Err("variables are ruled where programs are: add programs = […], or take variables away".to_owned()),
        None => Ok(Programs::Any),
        Some(given) if given.is_empty() => Err("programs is empty, so nothing could be started: take \"start\" out of may, or programs away to let anything be started".to_owned()),
        Some(_) => Ok(Programs::Ruled { rules, variables }),
    }
}

/// What may be started. That something is not there is said.
fn rules(
    table: &RoleTable,
    source: &Source,
    problems: &mut Vec<Problem>,
    warn: &dyn Fn(Warning),
) -> Vec<Program> {
    let mut rules = Vec::new();
    for words in table.programs.iter().flatten() {
        match program(words.get_ref()) {
            Ok(program) => rules.push(program),
            Err(what) => problems.push(source.problem(&words.span(), what)),
        }
        if let Some(path) = words.get_ref().first()
            && !Path::new(path).is_file()
        {
            let what = format!("there is no program {path} on this machine");
            warn(Warning::Access(source.problem(&words.span(), what)));
        }
    }
    rules
}

fn program(words: &[String]) -> Result<Program, String> {
    let (is_beginning, words) = match words.split_last() {
        Some((last, before)) if last == REST => (true, before),
        _ => (false, words),
    };
    if words.iter().any(|word| word == REST) {
        return Err(
            "\"...\" means that other words may follow: it is the last word, or none".to_owned(),
        );
    }
    let mut strings = words.iter().map(|word| CString::new(word.as_str()));
    match (strings.next(), strings.collect()) {
        (Some(Ok(path)), Ok(words)) if path.to_bytes().starts_with(b"/") => Ok(Program {
            path,
            words,
            is_beginning,
        }),
        _ => Err(format!(
            "{words:?} is no program: write its absolute path, which is executed whatever PATH says, and its words, without NUL characters"
        )),
    }
}
