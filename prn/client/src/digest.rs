//! The digest of a start, made by the client itself: of what was asked for, and of what the server
//! has filled in, which is compared with it. docs/digest.md has the form.

use prn_proto::v1;
use ring::digest::{SHA256, digest as sha256};

use crate::wire::from_wire_duration;

const HEADER: &[u8] = b"prn-start-2\n";

/// Where the server looks a program up, and its language, unless a start says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const LANG: &str = "C.UTF-8";

/// The digest, or what of the server's answer is not what was asked for.
pub(crate) fn digest(
    request: &v1::StartRequest,
    startable: &v1::Startable,
) -> Result<[u8; 32], &'static str> {
    check(request, startable)?;
    let bytes = canonical(request, startable)?;
    let mut own = [0; 32];
    for (to, from) in own.iter_mut().zip(sha256(&SHA256, &bytes).as_ref()) {
        *to = *from;
    }
    if hex(&own) == startable.digest {
        Ok(own)
    } else {
        Err("the server would start something else than was asked for, by its digest")
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether what the server has filled in is what was asked for, as far as it was.
fn check(request: &v1::StartRequest, startable: &v1::Startable) -> Result<(), &'static str> {
    let asked = limits(request.limits.as_ref());
    let applied = limits(startable.limits.as_ref());
    let mut pairs = asked.iter().zip(&applied);
    if pairs.any(|((_, asked), (_, applied))| asked.is_some() && asked != applied) {
        return Err("the server would apply another limit than was asked for");
    }
    let wanted = candidates(request);
    let is_among = |path| wanted.contains(path);
    let is_ruled = startable.rule.is_some()
        && startable.candidates.len() == 1
        && startable.candidates.iter().all(is_among);
    if startable.candidates != wanted && !is_ruled {
        return Err("the server would look for the program elsewhere than was asked for");
    }
    let output = request.output_max_bytes;
    if output != 0 && output != startable.output_max_bytes {
        return Err("the server would keep another amount of output than was asked for");
    }
    let grace = request.stop_grace.as_ref();
    if grace.is_some_and(|grace| millis(Some(grace)) != millis(startable.stop_grace.as_ref())) {
        return Err("the server would give another grace time than was asked for");
    }
    if request.profile() != v1::Profile::Unspecified && request.profile != startable.profile {
        return Err("the server would confine the process otherwise than was asked for");
    }
    if request.profile() == v1::Profile::Unspecified && startable.profile() == v1::Profile::None {
        return Err("the server would not confine the process, which was not asked for");
    }
    Ok(())
}

/// Limits by the names that they have in the digest.
fn limits(limits: Option<&v1::Limits>) -> [(&'static str, Option<u64>); 5] {
    let v1::Limits {
        cpu_millis,
        memory_bytes,
        io_read_bytes_per_second,
        io_write_bytes_per_second,
        pids,
    } = limits.copied().unwrap_or_default();
    [
        ("cpu", cpu_millis),
        ("memory", memory_bytes),
        ("io-read", io_read_bytes_per_second),
        ("io-write", io_write_bytes_per_second),
        ("pids", pids),
    ]
}

fn variable<'a>(request: &'a v1::StartRequest, name: &str) -> Option<&'a str> {
    let mut variables = request.environment.iter();
    let found = variables.find(|variable| variable.name == name);
    found.map(|variable| variable.value.as_str())
}

/// Where a program may be: its path when it holds a slash, else that name in each folder of PATH.
fn candidates(request: &v1::StartRequest) -> Vec<String> {
    if request.command.contains('/') {
        return vec![request.command.clone()];
    }
    let path = variable(request, "PATH").unwrap_or(PATH);
    let folder = |folder: &str| match folder {
        "" => format!("./{}", request.command),
        folder => format!("{folder}/{}", request.command),
    };
    path.split(':').map(folder).collect()
}

/// All fields are named: one that is new has to be written, or to be left out, here.
fn canonical(
    request: &v1::StartRequest,
    startable: &v1::Startable,
) -> Result<Vec<u8>, &'static str> {
    let v1::StartRequest {
        command,
        args,
        id: _,
        environment,
        working_directory,
        limits: _, // Those that it gets are written.
        best_effort_limits,
        output_max_bytes: _,
        timeout,
        stop_grace: _,
        linger,
        profile: _,
        output_policy: _,
        output_store: _,
        follow_timeout: _,
        paths,
        stdin: _,
        terminal_size: _,
        workspace,
        name,
        labels,
        deadline,
        lease,
        retention,
        expect_digest: _,
        signature: _,
        user,
    } = request;
    let mut to = HEADER.to_vec();
    list(&mut to, "argv", std::iter::once(command).chain(args));
    list(&mut to, "programs", startable.candidates.iter());
    let user = said(user);
    let usual = [
        ("PATH", Some(PATH)),
        ("LANG", Some(LANG)),
        ("USER", user),
        ("LOGNAME", user),
    ];
    let usual = usual
        .iter()
        .filter(|(name, _)| variable(request, name).is_none());
    let usual = usual.filter_map(|(name, value)| Some(format!("{name}={}", (*value)?)));
    let own = environment.iter();
    let own = own.map(|variable| format!("{}={}", variable.name, variable.value));
    list(&mut to, "environment", usual.chain(own));
    optional(&mut to, "directory", said(working_directory));
    let applied = limits(startable.limits.as_ref()).into_iter();
    let applied = applied.filter_map(|(name, value)| Some([name.to_owned(), value?.to_string()]));
    list(&mut to, "limits", applied.flatten());
    switch(&mut to, "best-effort-limits", *best_effort_limits);
    text(&mut to, "input", input(request)?);
    text(
        &mut to,
        "output-max",
        startable.output_max_bytes.to_string(),
    );
    text(&mut to, "output-overflow", overflow(request)?);
    let is_on_disk = request.output_store() == v1::OutputStore::Disk;
    text(
        &mut to,
        "output-store",
        if is_on_disk { "disk" } else { "memory" },
    );
    optional(&mut to, "timeout", millis(timeout.as_ref()));
    optional(&mut to, "stop-grace", millis(startable.stop_grace.as_ref()));
    switch(&mut to, "linger", *linger);
    text(&mut to, "profile", profile(startable)?);
    optional(&mut to, "user", user);
    let paths: Result<Vec<_>, _> = paths.iter().map(path_rule).collect();
    list(&mut to, "paths", paths?.into_iter().flatten());
    optional(&mut to, "workspace", said(workspace));
    optional(&mut to, "name", said(name));
    let mut labels: Vec<_> = labels.iter().collect();
    labels.sort();
    let labels = labels.into_iter().flat_map(|(key, value)| [key, value]);
    list(&mut to, "labels", labels);
    optional(&mut to, "deadline", deadline.as_ref().map(micros));
    optional(&mut to, "lease", millis(lease.as_ref()));
    let v1::Retention {
        keep,
        max_age,
        until_read,
    } = retention.unwrap_or_default();
    switch(&mut to, "keep", keep);
    optional(&mut to, "keep-for", millis(max_age.as_ref()));
    switch(&mut to, "keep-until-read", until_read);
    Ok(to)
}

fn input(request: &v1::StartRequest) -> Result<String, &'static str> {
    match request.stdin() {
        v1::StandardInput::Unspecified | v1::StandardInput::None => Ok("nothing".to_owned()),
        v1::StandardInput::Pipe => Ok("pipe".to_owned()),
        v1::StandardInput::Terminal => {
            let size = request.terminal_size.as_ref();
            let size = size.ok_or("a terminal that is signed needs a size")?;
            Ok(format!("terminal {} {}", size.rows, size.columns))
        }
    }
}

fn overflow(request: &v1::StartRequest) -> Result<String, &'static str> {
    match request.output_policy() {
        v1::OutputPolicy::Unspecified | v1::OutputPolicy::DropOldest => {
            Ok("drop-oldest".to_owned())
        }
        v1::OutputPolicy::StopReading => Ok("wait".to_owned()),
        v1::OutputPolicy::Kill => Ok("kill".to_owned()),
        v1::OutputPolicy::Follow => {
            let usual = prn_proto::defaults::FOLLOW_TIMEOUT.as_millis().to_string();
            let timeout = millis(request.follow_timeout.as_ref()).unwrap_or(usual);
            Ok(format!("follow {timeout}"))
        }
    }
}

fn profile(startable: &v1::Startable) -> Result<&'static str, &'static str> {
    match startable.profile() {
        v1::Profile::Default => Ok("default"),
        v1::Profile::Strict => Ok("strict"),
        v1::Profile::None => Ok("none"),
        v1::Profile::Unspecified => Err("the server does not say how it would confine the process"),
    }
}

fn path_rule(rule: &v1::PathRule) -> Result<[String; 3], &'static str> {
    use v1::path_rule::Kind;
    let kind = match rule.kind() {
        Kind::ReadOnly => "read-only",
        Kind::Hidden => "hidden",
        Kind::Bound => "bound",
        Kind::Unspecified => return Err("a rule of paths has no kind"),
    };
    // A slash at the end says nothing, as the server has it.
    let short = |path: &str| match (path, path.trim_end_matches('/')) {
        ("", _) => String::new(),
        (_, "") => "/".to_owned(),
        (_, short) => short.to_owned(),
    };
    Ok([kind.to_owned(), short(&rule.path), short(&rule.source)])
}

fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A span in milliseconds, as the server counts it.
fn millis(span: Option<&prost_types::Duration>) -> Option<String> {
    let span = from_wire_duration(*span?)?;
    Some(span.as_millis().to_string())
}

fn micros(time: &prost_types::Timestamp) -> String {
    let micros = i128::from(time.seconds) * 1_000_000 + i128::from(time.nanos / 1000);
    micros.max(0).to_string()
}

pub(crate) fn text(to: &mut Vec<u8>, name: &str, value: impl AsRef<[u8]>) {
    to.extend_from_slice(name.as_bytes());
    to.push(b' ');
    netstring(to, value.as_ref());
}

fn optional(to: &mut Vec<u8>, name: &str, value: Option<impl AsRef<[u8]>>) {
    match value {
        Some(value) => text(to, name, value),
        None => to.extend_from_slice(format!("{name} -\n").as_bytes()),
    }
}

fn switch(to: &mut Vec<u8>, name: &str, is_on: bool) {
    text(to, name, if is_on { "yes" } else { "no" });
}

fn list<T: AsRef<[u8]>>(to: &mut Vec<u8>, name: &str, items: impl Iterator<Item = T>) {
    let items: Vec<T> = items.collect();
    to.extend_from_slice(format!("{name} *{}\n", items.len()).as_bytes());
    for item in items {
        netstring(to, item.as_ref());
    }
}

fn netstring(to: &mut Vec<u8>, value: &[u8]) {
    to.extend_from_slice(format!("{}:", value.len()).as_bytes());
    to.extend_from_slice(value);
    to.push(b'\n');
}
