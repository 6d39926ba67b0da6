//! The keys that leave a process alone: how they are written, and how they are found in what is
//! typed. Pure.

use std::str::FromStr;

use clap::Args;

/// The choice of the keys.
#[derive(Debug, Clone, Args)]
pub struct DetachFlag {
    /// Keys that leave the process running and end prn, of a terminal: `ctrl-` and a letter or one
    /// of @[\]^_, or a single character, with commas between them. Empty: none
    #[arg(
        long,
        value_name = "KEYS",
        env = "PRN_DETACH_KEYS",
        hide_env_values = true,
        default_value = "ctrl-p,ctrl-q"
    )]
    pub detach_keys: DetachKeys,
}

/// Keys to be typed one after the other, each a byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// A text is not one of [`DetachKeys`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "each key is `ctrl-` with a letter or one of @[\\]^_, or a single ASCII character; commas stand between keys"
)]
pub struct InvalidKeys;

impl FromStr for DetachKeys {
    type Err = InvalidKeys;

    fn from_str(text: &str) -> Result<Self, InvalidKeys> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let keys: Option<_> = text.split(',').map(key).collect();
        keys.map(Self).ok_or(InvalidKeys)
    }
}

/// The byte that a terminal sends for a key.
fn key(name: &str) -> Option<u8> {
    let (is_control, name) = match name.strip_prefix("ctrl-") {
        Some(name) => (true, name),
        None => (false, name),
    };
    let [byte] = *name.as_bytes() else {
        return None;
    };
    match (is_control, byte) {
        // As all terminals do: the two highest bits are what Ctrl takes away (ascii(7)).
        (true, b'a'..=b'z' | b'@' | b'['..=b'_') => Some(byte & 0x1f),
        (false, 0..=0x7f) => Some(byte),
        (true, _) | (false, _) => None,
    }
}

/// Looks for the keys in what is typed. Those that may become them are held back until it is known.
#[derive(Debug)]
pub struct Watch {
    keys: Vec<u8>,
    /// How many of the keys were typed last.
    held: usize,
}

/// What of something that was typed goes to the process.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// These bytes.
    pub pass: Vec<u8>,
    /// And then the keys came: what was typed behind them is dropped.
    pub detach: bool,
}

impl Watch {
    /// For these.
    pub fn new(keys: DetachKeys) -> Self {
        let DetachKeys(keys) = keys;
        Self { keys, held: 0 }
    }

    /// Looks at what was typed next.
    pub fn typed(&mut self, bytes: &[u8]) -> Typed {
        let mut typed = Typed::default();
        for byte in bytes {
            self.key(*byte, &mut typed.pass);
            if !self.keys.is_empty() && self.held == self.keys.len() {
                self.held = 0;
                typed.detach = true;
                break;
            }
        }
        typed
    }

    /// Holds a key back with those before it as far as they are the beginning of the keys, and lets
    /// go of all before that.
    fn key(&mut self, byte: u8, pass: &mut Vec<u8>) {
        let mut last: Vec<u8> = self.keys.iter().copied().take(self.held).collect();
        last.push(byte);
        let begins = |from: &usize| {
            let rest = last.get(*from..).unwrap_or_default();
            self.keys.starts_with(rest)
        };
        let from = (0..last.len()).find(begins).unwrap_or(last.len());
        pass.extend(last.iter().take(from));
        self.held = last.len() - from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<DetachKeys, InvalidKeys> {
        text.parse()
    }

    #[test]
    fn keys_are_written_as_docker_takes_them() {
        for (text, bytes) in [
            ("ctrl-p,ctrl-q", &[16, 17][..]),
            (
                "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_",
                &[0, 27, 28, 29, 30, 31],
            ),
            ("a", b"a"),
            ("~,.", b"~."),
            ("ctrl-a,d", &[1, b'd']),
            ("", &[]),
        ] {
            assert_eq!(keys(text), Ok(DetachKeys(bytes.to_vec())), "{text}");
        }
        for bad in [
            "ctrl-", "ctrl-ab", "ctrl-A", "ctrl-1", "ab", ",", "a,", "é", "p q",
        ] {
            assert_eq!(keys(bad), Err(InvalidKeys), "{bad}");
        }
    }

    #[test]
    fn the_keys_are_found_wherever_they_are_cut_and_all_else_is_passed_on() {
        for (keys, typed, pass, detach) in [
            ("ctrl-p,ctrl-q", &b"ls\r"[..], &b"ls\r"[..], false),
            ("ctrl-p,ctrl-q", b"a\x10\x11b", b"a", true),
            ("ctrl-p,ctrl-q", b"\x10x", b"\x10x", false),
            ("ctrl-p,ctrl-q", b"\x10\x10\x11", b"\x10", true),
            ("ctrl-p,ctrl-q", b"x\x10", b"x", false),
            ("ctrl-p,ctrl-q", b"\x11\x10", b"\x11", false),
            ("a,a,b", b"aaab", b"a", true),
            ("a,b,a,c", b"ababac", b"ab", true),
            ("x", b"yx", b"y", true),
            ("", b"\x10\x11", b"\x10\x11", false),
        ] {
            let mut whole = Watch::new(keys.parse().unwrap());
            let expected = Typed {
                pass: pass.to_vec(),
                detach,
            };
            assert_eq!(whole.typed(typed), expected, "{keys} {typed:?}");
            let mut watch = Watch::new(keys.parse().unwrap());
            let mut all = Typed::default();
            for byte in typed {
                if !all.detach {
                    let one = watch.typed(&[*byte]);
                    all.pass.extend(one.pass);
                    all.detach = one.detach;
                }
            }
            assert_eq!(all, expected, "{keys} {typed:?}");
        }
    }
}
