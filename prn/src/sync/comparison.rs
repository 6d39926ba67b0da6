//! What is to be done so that a workspace has what a local directory has.
//!
//! A file is the same where size, time of writing and permission bits are. Where its size is the
//! same and its time is not, its content decides, and only there it is read. So content that has
//! changed is missed where somebody has set the time back to the nanosecond and kept the size.

use std::collections::BTreeSet;

use super::listing::Listing;
use super::path::RelativePath;
use super::tree::{Entry, FileEntry, Tree};

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// To be sent: it is not there, or is something else.
    pub send: BTreeSet<RelativePath>,
    /// Files that are to be sent if their content differs.
    pub doubtful: BTreeSet<RelativePath>,
    /// To be removed, directories if they are empty: an earlier sync has brought it and it is no
    /// longer here, or a directory is to be where it is.
    pub remove: BTreeSet<RelativePath>,
    /// Directories where something else is to be. They must be empty by then.
    pub in_the_way: BTreeSet<RelativePath>,
    /// The list of what was brought is not that of what is here.
    pub is_list_old: bool,
}

/// Compares what is here with what is there.
pub fn compare(local: &Tree, remote: Listing) -> Comparison {
    let mut comparison = Comparison::default();
    // Directories that are not there yet. What is seen below one is somewhere else, behind a link.
    let mut new = BTreeSet::new();
    for (path, entry) in local {
        let is_below_new = path.parent().is_some_and(|parent| new.contains(&parent));
        let there = remote.here.get(path).filter(|_| !is_below_new);
        if (entry, there.is_some_and(|there| there == entry)) == (&Entry::Directory, false) {
            new.insert(path.clone());
        }
        match (entry, there) {
            (_, None) => comparison.send(path),
            (Entry::File(here), Some(Entry::File(there))) => match same(here, there) {
                Same::Yes => {}
                Same::No => comparison.send(path),
                Same::ByContent => {
                    comparison.doubtful.insert(path.clone());
                }
            },
            (here, Some(there)) if here == there => {}
            (_, Some(Entry::Directory)) => {
                comparison.in_the_way.insert(path.clone());
                comparison.send(path);
            }
            (Entry::Directory, Some(Entry::File(_) | Entry::Link { .. } | Entry::Other)) => {
                comparison.remove.insert(path.clone());
                comparison.send(path);
            }
            (
                Entry::File(_) | Entry::Link { .. } | Entry::Other,
                Some(Entry::File(_) | Entry::Link { .. } | Entry::Other),
            ) => comparison.send(path),
        }
    }
    comparison.is_list_old = local.keys().any(|path| !remote.brought.contains(path));
    let old = remote.brought.into_iter();
    let gone = old.filter(|path| !local.contains_key(path));
    comparison.remove.extend(gone);
    comparison
}

impl Comparison {
    fn send(&mut self, path: &RelativePath) {
        self.send.insert(path.clone());
    }

    /// Nothing of it changes anything there but what is sent.
    pub fn needs_no_preparation(&self) -> bool {
        !self.is_list_old && self.remove.is_empty() && self.in_the_way.is_empty()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Same {
    Yes,
    No,
    ByContent,
}

fn same(here: &FileEntry, there: &FileEntry) -> Same {
    if here == there {
        Same::Yes
    } else if here.size == there.size && here.mode == there.mode {
        Same::ByContent
    } else {
        Same::No
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Modified;
    use super::*;

    fn file(size: u64, seconds: i64, mode: u32) -> Entry {
        Entry::File(FileEntry {
            size,
            modified: Modified {
                seconds,
                nanoseconds: 0,
            },
            mode,
        })
    }

    fn link(target: &str) -> Entry {
        Entry::Link {
            target: target.as_bytes().to_vec(),
        }
    }

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text.as_bytes()).unwrap()
    }

    fn tree(entries: &[(&str, Entry)]) -> Tree {
        let entries = entries.iter();
        entries
            .map(|(at, entry)| (path(at), entry.clone()))
            .collect()
    }

    fn paths(texts: &[&str]) -> BTreeSet<RelativePath> {
        texts.iter().map(|text| path(text)).collect()
    }

    /// Of what is here, what is there and what of that was brought.
    fn compared(here: &[(&str, Entry)], there: &[(&str, Entry)], brought: &[&str]) -> Comparison {
        let listing = Listing {
            here: tree(there),
            brought: paths(brought),
            ..Listing::default()
        };
        compare(&tree(here), listing)
    }

    #[test]
    fn what_is_the_same_needs_nothing() {
        let all = [
            ("a", file(1, 2, 0o644)),
            ("d", Entry::Directory),
            ("l", link("a")),
        ];
        let comparison = compared(&all, &all, &["a", "d", "l"]);
        assert_eq!(comparison, Comparison::default());
        assert!(comparison.needs_no_preparation());
        // Something of the workspace's own is taken over.
        let comparison = compared(&all, &all, &["a", "d"]);
        assert!(comparison.is_list_old && comparison.send.is_empty());
    }

    #[test]
    fn content_is_looked_at_where_the_time_alone_is_another() {
        let here = [("a", file(1, 2, 0o644))];
        let with = |there: Entry| compared(&here, &[("a", there)], &["a"]);
        assert_eq!(with(file(1, 3, 0o644)).doubtful, paths(&["a"]));
        assert_eq!(with(file(2, 2, 0o644)).send, paths(&["a"]));
        assert_eq!(with(file(1, 2, 0o755)).send, paths(&["a"]));
        assert_eq!(with(link("a")).send, paths(&["a"]));
        assert_eq!(with(Entry::Other).send, paths(&["a"]));
        let links = compared(&[("l", link("a"))], &[("l", link("b"))], &["l"]);
        assert_eq!(links.send, paths(&["l"]));
    }

    #[test]
    fn what_was_brought_and_is_no_longer_here_is_removed_and_nothing_else() {
        let here = [("a", file(1, 2, 0o644))];
        let comparison = compared(&here, &here, &["a", "old", "old/x"]);
        assert_eq!(comparison.remove, paths(&["old", "old/x"]));
        assert!(comparison.send.is_empty());
    }

    #[test]
    fn a_directory_and_a_file_take_each_others_place() {
        let here = [("d", Entry::Directory), ("d/x", file(1, 2, 0o644))];
        for there in [file(1, 2, 0o644), link("elsewhere"), Entry::Other] {
            // Behind a link there may be the same.
            let there = [("d", there), ("d/x", file(1, 2, 0o644))];
            let comparison = compared(&here, &there, &["d"]);
            assert_eq!(comparison.send, paths(&["d", "d/x"]));
            assert_eq!(comparison.remove, paths(&["d"]));
        }
        let there = [("f", Entry::Directory)];
        for here in [file(1, 2, 0o644), link("x")] {
            let comparison = compared(&[("f", here)], &there, &["f", "f/x"]);
            assert_eq!(comparison.send, paths(&["f"]));
            assert_eq!(comparison.remove, paths(&["f/x"]));
            assert_eq!(comparison.in_the_way, paths(&["f"]));
        }
    }
}
