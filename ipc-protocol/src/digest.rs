//! The digest of what is started: the SHA-256 of canonical bytes, which docs/digest.md describes
//! for other languages. Pure. The supervisor computes it of what it is about to run, and believes
//! no other; the frontend and clients only show and compare it.

use std::ffi::CString;

use ring::digest::{SHA256, digest};

use crate::message::{
    Input, Keeping, OutputStore, Overflow, ProcessSpec, Profile, Retention, StartSpec, TerminalSize,
};
use crate::netstring::Writer;
use crate::search::environment;
use crate::types::{Digest, LimitName, Limits, Millis, PathRule};

/// First line of the canonical bytes. Another form gets another number.
pub const HEADER: &str = "prn-start-2";

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut own = [0; 32];
        for (to, from) in own.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
            *to = *from;
        }
        Self(own)
    }
}

/// The canonical bytes of a start, with the limits that the process gets, and the paths at which
/// its program is looked for.
///
/// What the server fills in is in them. Not in them: the id, and what follows from it alone (the
/// process's own directory, HOME and TMPDIR), so that the same start has the same bytes again; and
/// what is expected of them, who has signed them, and when they were asked for.
pub fn canonical(spec: &StartSpec, limits: &Limits, programs: &[CString]) -> Vec<u8> {
    // A field that is new is missing here, and does not compile.
    let StartSpec {
        id: _,
        process,
        variables,
        expect: _,
        signature: _,
        requested: _,
    } = spec;
    let environment = environment(variables, None, process.user.as_ref());
    let mut writer = Writer::new(HEADER);
    writer.list("argv", process.argv.as_slice().iter().map(bytes));
    writer.list("programs", programs.iter().map(bytes));
    writer.list("environment", environment.iter().map(bytes));
    write_process(&mut writer, process, limits);
    writer.finish()
}

fn bytes(string: &CString) -> &[u8] {
    string.as_bytes()
}

fn write_process(writer: &mut Writer, process: &ProcessSpec, limits: &Limits) {
    let ProcessSpec {
        argv: _, // Written before.
        working_directory,
        limits: _, // Those that it gets are written.
        best_effort_limits,
        input,
        output,
        timeout,
        stop_grace,
        linger,
        profile,
        user,
        paths,
        workspace,
        name,
        labels,
        deadline,
        lease,
        retention,
    } = process;
    writer.optional("directory", working_directory.as_ref().map(bytes));
    let limits = limits.iter();
    let limits = limits.flat_map(|(name, value)| [limit_word(name).to_owned(), value.to_string()]);
    writer.list("limits", limits);
    writer.switch("best-effort-limits", *best_effort_limits);
    writer.text("input", input_text(*input));
    write_output(writer, *output);
    writer.optional("timeout", timeout.map(millis));
    writer.text("stop-grace", millis(*stop_grace));
    writer.switch("linger", *linger);
    writer.text(
        "profile",
        match profile {
            Profile::Default => "default",
            Profile::Strict => "strict",
            Profile::None => "none",
        },
    );
    writer.optional("user", user.as_ref().map(|name| name.as_str()));
    writer.list("paths", paths.as_slice().iter().flat_map(path_rule));
    writer.optional("workspace", workspace.as_ref().map(|name| name.as_str()));
    writer.optional("name", name.as_ref().map(|name| name.as_str()));
    writer.list(
        "labels",
        labels.iter().flat_map(|(key, value)| [key, value]),
    );
    writer.optional("deadline", deadline.map(|at| at.0.to_string()));
    writer.optional("lease", lease.map(millis));
    let Retention {
        is_kept,
        max_age,
        until_read,
    } = retention;
    writer.switch("keep", *is_kept);
    writer.optional("keep-for", max_age.map(millis));
    writer.switch("keep-until-read", *until_read);
}

fn write_output(writer: &mut Writer, output: Keeping) {
    let Keeping {
        max,
        overflow,
        store,
    } = output;
    writer.text("output-max", max.to_string());
    writer.text(
        "output-overflow",
        match overflow {
            Overflow::DropOldest => "drop-oldest".to_owned(),
            Overflow::Wait => "wait".to_owned(),
            Overflow::Kill => "kill".to_owned(),
            Overflow::Follow(linger) => format!("follow {}", millis(linger)),
        },
    );
    writer.text(
        "output-store",
        match store {
            OutputStore::Memory => "memory",
            OutputStore::Disk => "disk",
        },
    );
}

fn input_text(input: Input) -> String {
    match input {
        Input::Nothing => "nothing".to_owned(),
        Input::Pipe => "pipe".to_owned(),
        Input::Terminal(TerminalSize { rows, columns }) => format!("terminal {rows} {columns}"),
    }
}

/// What it does, where, and what is seen there, which is empty but for a bound directory.
fn path_rule(rule: &PathRule) -> [&[u8]; 3] {
    match rule {
        PathRule::ReadOnly(target) => [b"read-only", bytes(target), b""],
        PathRule::Hidden(target) => [b"hidden", bytes(target), b""],
        PathRule::Bound { source, target } => [b"bound", bytes(target), bytes(source)],
    }
}

/// What a limit is called in canonical bytes, and where what follows of them is told.
pub fn limit_word(limit: LimitName) -> &'static str {
    match limit {
        LimitName::Cpu => "cpu",
        LimitName::Memory => "memory",
        LimitName::IoRead => "io-read",
        LimitName::IoWrite => "io-write",
        LimitName::Pids => "pids",
    }
}

fn millis(time: Millis) -> String {
    time.milliseconds.to_string()
}
