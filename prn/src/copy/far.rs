//! The other end of a copy.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use prn_client::Client;

use crate::copy::fault::CopyFault;
use crate::which::connection::Remote;

/// A workspace of a server, and a connection to that.
#[derive(Debug)]
pub struct Far<'a> {
    /// The server.
    pub remote: &'a Remote,
    /// The connection that is tried first. After a copy, the one that was used last.
    pub client: Client,
    /// The workspace's name.
    pub workspace: &'a str,
}

/// A path in a workspace: relative to its directory, or absolute. Empty: that directory itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarPath(pub OsString);

impl FarPath {
    /// What a copy of it is called. `None` for what is in a directory: "DIR/.", or the workspace's
    /// own.
    ///
    /// # Errors
    /// For what has no name to anybody who does not look: "..".
    pub fn name(&self) -> Result<Option<&OsStr>, CopyFault> {
        let bytes = self.0.as_bytes();
        let is_contents = [&b"."[..], b"./"].contains(&bytes)
            || bytes.ends_with(b"/.")
            || bytes.ends_with(b"/./");
        let path = Path::new(&self.0);
        match path.file_name() {
            _ if bytes.is_empty() || is_contents => Ok(None),
            Some(name) => Ok(Some(name)),
            None => Err(CopyFault::InTheWay {
                path: path.to_owned(),
                why: "it has no name; with \"/.\" behind it, what is in it is copied",
            }),
        }
    }

    /// As the %b of printf(1) has it: arguments of a process are text, and a path is bytes.
    pub fn printed(&self) -> String {
        printed(self.0.as_bytes())
    }
}

/// Bytes as the %b of printf(1) has them.
pub fn printed(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let is_plain = byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
        if is_plain {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("\\0{byte:03o}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_printed_byte_for_byte() {
        let bytes: Vec<u8> = (1..=255).collect();
        let script = "printf %b \"$1\"";
        let mut sh = std::process::Command::new("sh");
        let printed = sh.args(["-c", script, "sh", &printed(&bytes)]).output();
        assert_eq!(printed.unwrap().stdout, bytes);
    }

    #[test]
    fn what_is_in_a_directory_has_no_name() {
        let name = |path: &str| {
            FarPath(path.into())
                .name()
                .map(|name| name.map(OsStr::to_owned))
        };
        assert_eq!(name("a/b").unwrap(), Some("b".into()));
        assert_eq!(name("a/b/").unwrap(), Some("b".into()));
        for contents in ["", ".", "./", "a/.", "/."] {
            assert_eq!(name(contents).unwrap(), None, "{contents:?}");
        }
        assert!(name("..").is_err() && name("a/..").is_err() && name("/").is_err());
    }
}
