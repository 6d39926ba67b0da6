//! Directories whose modes and times are still to be set: as many as somebody else likes, each with
//! a path as long as one may be. Pure.

use nix::sys::stat::Mode;

use crate::copy::archive::member::Time;

/// Most bytes of names that are kept.
const BYTES_MAX: usize = 64 << 20;

/// Directories, of which the last comes first. Archives mostly have one after the one that it is in:
/// of each is kept only what the next does not begin with.
#[derive(Debug, Default)]
pub struct Directories {
    /// The last one's path.
    path: Vec<u8>,
    each: Vec<Kept>,
    /// What each takes to become the one before, one after the other.
    tails: Vec<u8>,
}

#[derive(Debug)]
struct Kept {
    /// So many bytes begin the path of the one before, too.
    shared: usize,
    /// And so many of the tails follow there.
    tail: usize,
    mode: Mode,
    modified: Time,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Directory {
    pub path: Vec<u8>,
    pub mode: Mode,
    pub modified: Time,
}

impl Directories {
    /// One more. `None`: there is no room for it.
    #[must_use]
    pub fn push(&mut self, path: Vec<u8>, mode: Mode, modified: Time) -> Option<()> {
        let both = self.path.iter().zip(&path);
        let shared = both.take_while(|(old, new)| old == new).count();
        let tail = self.path.get(shared..).unwrap_or_default();
        if tail.len() > BYTES_MAX.saturating_sub(self.tails.len()) {
            return None;
        }
        self.tails.extend_from_slice(tail);
        self.each.push(Kept {
            shared,
            tail: tail.len(),
            mode,
            modified,
        });
        self.path = path;
        Some(())
    }

    /// The last one, which is then no longer there.
    pub fn pop(&mut self) -> Option<Directory> {
        let kept = self.each.pop()?;
        let path = self.path.clone();
        let tail = self.tails.len().saturating_sub(kept.tail);
        self.path.truncate(kept.shared);
        self.path.extend(self.tails.drain(tail..));
        Some(Directory {
            path,
            mode: kept.mode,
            modified: kept.modified,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(directories: &mut Directories, path: &[u8]) -> Option<()> {
        directories.push(path.to_vec(), Mode::S_IRWXU, Time::default())
    }

    #[test]
    fn the_last_comes_first_whatever_the_order() {
        let mut directories = Directories::default();
        let paths: [&[u8]; 9] = [
            b"t", b"t/a", b"t/a/b", b"t/a/bc", b"t/c", b"t/a/b/d", b"u", b"t", b"t/z",
        ];
        for path in paths {
            push(&mut directories, path).unwrap();
        }
        for path in paths.iter().rev() {
            assert_eq!(directories.pop().unwrap().path, *path);
        }
        assert_eq!(directories.pop(), None);
    }

    #[test]
    fn what_each_is_in_takes_no_room() {
        let mut directories = Directories::default();
        let deep = "d/".repeat(250);
        for n in 0..30_000 {
            push(&mut directories, format!("{deep}{n}").as_bytes()).unwrap();
        }
        assert!(directories.tails.len() < 30_000 * 6);
    }

    #[test]
    fn there_is_an_end_to_long_names() {
        let mut directories = Directories::default();
        let paths = [vec![b'a'; 4096], vec![b'b'; 4096]];
        let pushed = paths.iter().cycle().take(20_000);
        let kept = pushed
            .map_while(|path| push(&mut directories, path))
            .count();
        assert!(kept < 20_000 && directories.tails.len() <= BYTES_MAX);
        assert_eq!(directories.pop().unwrap().path.len(), 4096);
    }
}
