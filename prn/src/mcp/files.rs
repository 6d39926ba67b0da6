//! Files in a workspace, by way of ordinary processes in it, as `prn cp` has them.

use std::path::{Component, Path};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use prn_client::{Client, Event, ExitKind, FOLLOW_TIMEOUT, OutputRequest, Source, StandardInput};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::calls::act::{feed, start};
use crate::calls::fault::Fault;
use crate::calls::session::Session;
use crate::lasting::excerpt::Data;
use crate::lasting::reading::Reading;
use crate::mcp::keeper::Keeper;
use crate::which::internal::Script;

/// Most bytes of a file in an answer, unless it is said.
const READ_MAX: u64 = 64 * 1024;

/// Most bytes of a file in an answer, whatever is said.
const READ_CEILING: u64 = 8 << 20;

/// Most files in an answer, unless it is said.
const LIST_MAX: usize = 200;

/// Most files in an answer, whatever is said.
const LIST_CEILING: usize = 10_000;

/// Most bytes of a list of files.
const LISTED_MAX: u64 = 4 << 20;

/// What reads or writes a file ends so long after the agent, where other processes go on.
const LEASE: Duration = Duration::from_secs(30);

/// Most time that any of this takes.
const TIMEOUT: Duration = Duration::from_secs(300);

const READ: &str = r#"
set -eu
[ ! -d "$1" ] || { echo "$1: it is a directory; list_files says what is in it" >&2; exit 1; }
[ ! -e "$1" ] || [ -f "$1" ] || { echo "$1: it is no regular file" >&2; exit 1; }
exec 3<"$1"
stat -Lc %s /proc/self/fd/3 >&2
tail -c "+$(($2 + 1))" <&3 | head -c "$3"
"#;

/// Nothing is there under the name before all has come.
const WRITE: &str = r#"
set -eu
[ ! -d "$1" ] || { echo "$1: it is a directory" >&2; exit 1; }
[ ! -e "$1" ] || [ -f "$1" ] || { echo "$1: it is no regular file" >&2; exit 1; }
mkdir -p -- "$(dirname -- "$1")"
new=$(mktemp -- "$1.XXXXXX")
trap 'rm -f -- "$new"' EXIT
cat >"$new"
[ "$(stat -c %s -- "$new")" = "$2" ] || { echo "$1: not all of it has come" >&2; exit 1; }
if [ "$3" = executable ]; then chmod 755 -- "$new"
elif [ -e "$1" ]; then chmod --reference="$1" -- "$new"
else chmod 644 -- "$new"; fi
mv -fT -- "$new" "$1"
trap - EXIT
"#;

const LIST: &str = r#"
set -eu
[ -d "$1" ] || { [ -e "$1" ] && echo "$1: it is no directory" >&2 || echo "$1: there is no such directory" >&2; exit 1; }
cd -- "$1"
find . -mindepth 1 -maxdepth "$2" -printf '%y %s %T@ %P\0'
"#;

/// A part of a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadFile {
    /// Name of the workspace
    #[serde(default)]
    pub workspace: Option<String>,
    /// Path of the file, from the workspace's directory
    pub path: String,
    /// Offset of the first byte: the last answer's next_offset
    #[serde(default)]
    pub offset: u64,
    /// Most bytes [default: 65536]
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// A file to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteFile {
    /// Name of the workspace
    #[serde(default)]
    pub workspace: Option<String>,
    /// Path of the file, from the workspace's directory. Directories on the way are made
    pub path: String,
    /// All that is to be in it
    #[serde(default)]
    pub text: Option<String>,
    /// The same, for bytes that are no text
    #[serde(default)]
    pub base64: Option<String>,
    /// It is a program
    #[serde(default)]
    pub executable: bool,
}

/// What is in a directory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListFiles {
    /// Name of the workspace
    #[serde(default)]
    pub workspace: Option<String>,
    /// Path of the directory, from the workspace's. Without it: that
    #[serde(default)]
    pub path: Option<String>,
    /// How deep to look [default: 1]
    #[serde(default)]
    pub depth: Option<u32>,
    /// Most files [default: 200]
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A part of a file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Read {
    /// Its path, as it was asked for.
    path: String,
    /// Bytes of all of it.
    size: u64,
    /// Offset of the first byte.
    offset: u64,
    /// Offset to go on from.
    next_offset: u64,
    /// There is more of it.
    truncated: bool,
    #[serde(flatten)]
    data: Data,
}

/// A file that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Written {
    /// Its path, as it was asked for.
    path: String,
    /// Bytes of it.
    size: usize,
}

/// Files.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// In the order of their paths.
    files: Vec<Entry>,
    /// There are more.
    truncated: bool,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Entry {
    /// From the directory that was asked for.
    path: String,
    /// What it is: "file", "directory", "link" or "other".
    r#type: &'static str,
    /// Bytes.
    size: u64,
    /// Seconds since 1970.
    modified: u64,
}

/// Reads a part of a file.
pub async fn read(session: &Session, keeper: &Keeper, wanted: &ReadFile) -> Result<Read, Fault> {
    let most = wanted.max_bytes.unwrap_or(READ_MAX).min(READ_CEILING);
    let workspace = workspace(session, wanted.workspace.as_ref())?;
    let arguments = vec![
        path(&wanted.path)?,
        wanted.offset.to_string(),
        most.to_string(),
    ];
    let deed = Deed::new(workspace, READ, arguments);
    let said = deed.run(session, keeper, most).await?;
    let size = String::from_utf8_lossy(&said.stderr).trim().parse();
    let size =
        size.map_err(|_| Fault::failed("the server's side did not say the size", "try again"))?;
    let came = u64::try_from(said.stdout.len()).unwrap_or(u64::MAX);
    let next_offset = wanted.offset.saturating_add(came);
    Ok(Read {
        path: wanted.path.clone(),
        size,
        offset: wanted.offset,
        next_offset,
        truncated: next_offset < size,
        data: Data::of(said.stdout),
    })
}

/// Writes a file.
pub async fn write(session: &Session, keeper: &Keeper, file: WriteFile) -> Result<Written, Fault> {
    let data: Bytes = match (file.text, file.base64) {
        (Some(text), None) => text.into(),
        (None, Some(base64)) => {
            let decoded = BASE64_STANDARD.decode(base64);
            decoded.map_err(|why| Fault::invalid("base64", why))?.into()
        }
        _ => return Err(Fault::invalid("text", "say either text or base64")),
    };
    let size = data.len();
    let kind = if file.executable {
        "executable"
    } else {
        "plain"
    };
    let workspace = workspace(session, file.workspace.as_ref())?;
    let arguments = vec![path(&file.path)?, size.to_string(), kind.to_owned()];
    let deed = Deed::new(workspace, WRITE, arguments).fed(data);
    deed.run(session, keeper, 0).await?;
    Ok(Written {
        path: file.path,
        size,
    })
}

/// Lists what is in a directory.
pub async fn list(session: &Session, keeper: &Keeper, wanted: &ListFiles) -> Result<Listed, Fault> {
    let workspace = workspace(session, wanted.workspace.as_ref())?;
    let arguments = vec![
        path(wanted.path.as_deref().unwrap_or("."))?,
        wanted.depth.unwrap_or(1).max(1).to_string(),
    ];
    let deed = Deed::new(workspace, LIST, arguments);
    let said = deed.run(session, keeper, LISTED_MAX).await?;
    let mut files = entries(&said.stdout);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let limit = wanted.limit.unwrap_or(LIST_MAX).min(LIST_CEILING);
    let truncated = said.is_cut || files.len() > limit;
    files.truncate(limit);
    Ok(Listed { files, truncated })
}

/// As find(1) prints them, each whole one.
fn entries(listed: &[u8]) -> Vec<Entry> {
    let ended = listed.iter().rposition(|byte| *byte == 0).unwrap_or(0);
    let whole = listed.get(..ended).unwrap_or_default();
    let each = whole.split(|byte| *byte == 0).filter_map(|entry| {
        let text = String::from_utf8_lossy(entry);
        let mut fields = text.splitn(4, ' ');
        let r#type = match fields.next()? {
            "f" => "file",
            "d" => "directory",
            "l" => "link",
            _ => "other",
        };
        let size = fields.next()?.parse().ok()?;
        let modified = fields.next()?.split('.').next()?.parse().unwrap_or(0);
        Some(Entry {
            path: fields.next()?.to_owned(),
            r#type,
            size,
            modified,
        })
    });
    each.collect()
}

/// Which workspace is meant.
fn workspace(session: &Session, named: Option<&String>) -> Result<String, Fault> {
    match (session.workspace(), named) {
        (Some(all), Some(other)) if all != other => Err(Fault::outside(
            format!("all files are to be in workspace {all}"),
            "leave workspace out",
        )),
        (Some(name), _) => Ok(name.to_owned()),
        (None, Some(name)) => Ok(name.clone()),
        (None, None) => Err(Fault::invalid(
            "workspace",
            "say in which workspace the file is",
        )),
    }
}

/// A path that stays in the workspace's directory.
fn path(text: &str) -> Result<String, Fault> {
    let is_below = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if text.is_empty() || text.contains('\0') || !Path::new(text).components().all(is_below) {
        let why = "a path from the workspace's directory, without \"..\"";
        return Err(Fault::invalid("path", why));
    }
    // What begins with a dash is a path, too.
    Ok(format!("./{text}"))
}

/// Something that is done in a workspace.
struct Deed {
    workspace: String,
    script: Script,
    input: Option<Bytes>,
}

/// What it said.
#[derive(Debug, Clone, Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// There was more than was wanted.
    is_cut: bool,
    has_gap: bool,
    exit: Option<(ExitKind, Option<u8>)>,
}

impl Deed {
    fn new(workspace: String, text: &'static str, arguments: Vec<String>) -> Self {
        let name = "prn-mcp";
        Self {
            workspace,
            script: Script {
                name,
                text,
                arguments,
            },
            input: None,
        }
    }

    fn fed(self, input: Bytes) -> Self {
        let input = Some(input);
        Self { input, ..self }
    }

    /// Does it; of its standard output, so many bytes are wanted.
    async fn run(self, session: &Session, keeper: &Keeper, most: u64) -> Result<Said, Fault> {
        let mut spec = self.script.spec(&self.workspace)?;
        spec.timeout = Some(TIMEOUT);
        spec.retention.until_read = true;
        if self.input.is_some() {
            spec.stdin = StandardInput::Pipe;
        }
        keeper.mark(&mut spec);
        spec.lease = spec.lease.or(Some(LEASE));
        let id = start(session, &spec).await?.process.id;
        keeper.keep(id, &spec);
        let client = session.client().await?;
        let feeding = self.input.map(|input| feed(client.clone(), id, input));
        let request = OutputRequest {
            follower: true,
            ..OutputRequest::default()
        };
        let reading = Reading::new(session.remote(), client, id, request);
        let mut reading = reading.of_known(FOLLOW_TIMEOUT);
        let mut said = Said::default();
        while let Some(event) = reading.next().await? {
            said.take(event, most);
        }
        if let Some(feeding) = feeding {
            feeding.abort();
        }
        // A list is of what the agent has started. If this fails, the server forgets it, for it was read.
        let _unremoved = session
            .once(async |client: Client| client.remove_processes(id).await)
            .await;
        said.checked()
    }
}

impl Said {
    fn take(&mut self, event: Event, most: u64) {
        match event {
            Event::Data { source, data, .. } => {
                let (stream, most) = match source {
                    Source::Stdout => (&mut self.stdout, most),
                    Source::Stderr => (&mut self.stderr, READ_MAX),
                };
                let room = usize::try_from(most).unwrap_or(usize::MAX);
                let room = room.saturating_sub(stream.len()).min(data.len());
                stream.extend_from_slice(data.get(..room).unwrap_or_default());
                self.is_cut |= room < data.len();
            }
            Event::Gap { .. } => self.has_gap = true,
            Event::End(end) => self.exit = end.exit.map(|exit| (exit.kind, exit.status)),
        }
    }

    fn checked(self) -> Result<Self, Fault> {
        if self.exit == Some((ExitKind::Exited, Some(0))) {
            return match self.has_gap {
                false => Ok(self),
                true => Err(Fault::failed("not all of it has come", "try again")),
            };
        }
        let text = String::from_utf8_lossy(&self.stderr);
        let last = text
            .lines()
            .last()
            .unwrap_or("the server's side ended early");
        Err(Fault::failed(
            last.trim_start_matches("./"),
            "list_files says what is there",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_its_workspace() {
        for good in ["a", "a/b", "./a", "-a", "a b", "..a"] {
            assert_eq!(path(good).unwrap(), format!("./{good}"));
        }
        for bad in ["", "/etc/passwd", "..", "a/../../b", "a\0b"] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_has_a_gap_is_no_answer() {
        let mut said = Said {
            stdout: b"end of it".to_vec(),
            exit: Some((ExitKind::Exited, Some(0))),
            ..Said::default()
        };
        assert!(said.clone().checked().is_ok());
        said.take(Event::Gap { from: 0, to: 9 }, READ_MAX);
        assert!(said.checked().is_err());
    }

    #[test]
    fn what_is_no_regular_file_is_neither_read_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (script, arguments) in [(READ, ["0", "9"]), (WRITE, ["0", "plain"])] {
            let mut shell = std::process::Command::new("timeout");
            let shell = shell.args(["10", "sh", "-c", script, "sh"]).arg(&fifo);
            let said = shell.args(arguments).output().unwrap();
            assert_eq!(said.status.code(), Some(1));
            let text = String::from_utf8_lossy(&said.stderr);
            assert!(text.contains("no regular file"), "{text}");
        }
    }

    #[test]
    fn whatever_a_file_is_called_it_is_listed() {
        let listed = b"f 12 1700000000.5 a b\nc\0d 4096 1700000001.0 dir\0l 1 1.0 li";
        let entry = |path: &str, r#type, size, modified| Entry {
            path: path.to_owned(),
            r#type,
            size,
            modified,
        };
        let expected = [
            entry("a b\nc", "file", 12, 1_700_000_000),
            entry("dir", "directory", 4096, 1_700_000_001),
        ];
        assert_eq!(entries(listed), expected);
        assert!(entries(b"").is_empty());
    }
}
