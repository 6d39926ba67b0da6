//! Unpacking what a workspace sends, which may be anything, to a directory of our own.

use std::io;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::copy::archive::member::{Kind, Member};
use crate::copy::archive::read::{Archive, Source};
use crate::copy::fault::{CopyFault, Names};
use crate::copy::name::{parts, shown};
use crate::copy::plan::ROOT;
use crate::copy::tree::Tree;
use crate::output::Progress;

/// What a process has written to its standard output, as it comes. Its end is where nothing more
/// does: nobody knows here whether that is all.
#[derive(Debug)]
pub struct Incoming(pub mpsc::Receiver<Bytes>);

impl Source for Incoming {
    fn piece(&mut self) -> io::Result<Bytes> {
        loop {
            match self.0.blocking_recv() {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => return Ok(bytes),
                None => return Ok(Bytes::new()),
            }
        }
    }
}

/// Unpacks all there is, as [`ROOT`] in the tree: a directory, the archive's ".", or else one file
/// or link.
///
/// # Errors
/// As [`Archive::next`] and the methods of [`Tree`]; [`CopyFault::Refused`], [`CopyFault::Member`].
pub fn unpack(
    mut archive: Archive<impl Source>,
    tree: &mut Tree,
    progress: &Progress,
) -> Result<(), CopyFault> {
    let mut unpacking = Unpacking {
        root: None,
        refused: Names::default(),
    };
    while let Some(member) = archive.next()? {
        unpacking.member(&mut archive, tree, &member, progress)?;
    }
    archive.drain()?;
    unpacking.refused.none()?;
    if unpacking.root.is_none() {
        return Err(CopyFault::Malformed("the whole"));
    }
    tree.finish()
}

/// What the first member was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    /// A directory, with what follows in it.
    Directory,
    /// Anything else, with nothing behind it.
    One,
}

#[derive(Debug)]
struct Unpacking {
    root: Option<Root>,
    /// There is more of this than is told: the rest is looked at, and not kept.
    refused: Names,
}

impl Unpacking {
    fn member(
        &mut self,
        archive: &mut Archive<impl Source>,
        tree: &mut Tree,
        member: &Member,
        progress: &Progress,
    ) -> Result<(), CopyFault> {
        let at = self.place(member)?;
        match &member.kind {
            Kind::Other(kind) => {
                self.refused.add(&shown(&member.name), kind);
                return Ok(());
            }
            Kind::Directory => return tree.directory(&at, member),
            Kind::File(content) => {
                let file = tree.file(&at, member, content)?;
                for extent in content.extents() {
                    let mut offset = extent.offset;
                    let end = extent.offset.saturating_add(extent.length);
                    while offset < end {
                        let bytes = archive.data(end - offset)?.ok_or(CopyFault::Cut)?;
                        file.write(&bytes, offset)?;
                        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                        offset = offset.saturating_add(length);
                        progress.bytes(length);
                    }
                }
                file.finish()?;
            }
            Kind::Symlink(target) => tree.symlink(&at, member, target)?,
            Kind::HardLink(target) => {
                let mut target = parts(target)?;
                target.insert(0, ROOT.as_bytes());
                tree.hard_link(&at, member, &target)?;
            }
        }
        progress.file();
        Ok(())
    }

    /// Where a member is put.
    fn place<'a>(&mut self, member: &'a Member) -> Result<Vec<&'a [u8]>, CopyFault> {
        let refused = |why| CopyFault::Member {
            name: shown(&member.name),
            why,
        };
        let mut at = parts(&member.name)?;
        let is_directory = member.kind == Kind::Directory;
        match self.root {
            None if at.is_empty() && is_directory => self.root = Some(Root::Directory),
            None if at.len() == 1 && !is_directory => {
                self.root = Some(Root::One);
                at.clear();
            }
            None => return Err(refused("it does not begin with what was asked for")),
            Some(Root::One) => return Err(refused("it was not asked for")),
            Some(Root::Directory) if at.is_empty() => return Err(refused("it is there twice")),
            Some(Root::Directory) => {}
        }
        at.insert(0, ROOT.as_bytes());
        Ok(at)
    }
}
