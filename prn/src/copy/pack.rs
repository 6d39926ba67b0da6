//! Packing: what goes to a workspace, as the tar stream that its process reads.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use prn_client::{INPUT_PIECE_MAX, InputPiece};
use tokio::sync::mpsc;

use crate::copy::archive::encode::{END, head, pad};
use crate::copy::archive::member::{Content, Extent, Kind, Member, Time};
use crate::copy::archive::read::{Archive, Source};
use crate::copy::below::Below;
use crate::copy::fault::{CopyFault, Names};
use crate::copy::name::{parts, shown};
use crate::copy::plan::{Item, Origin, Plan, ROOT};
use crate::copy::sum::Sum;
use crate::output::Progress;

/// The last member: without it, nothing of the others is there in the end.
const LAST: &str = "e";

/// How packing ended, if nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed {
    /// All was handed on.
    All(Sum),
    /// Nobody takes it any more.
    Unread,
}

/// Packs what is planned.
///
/// # Errors
/// [`CopyFault::Local`], [`CopyFault::Changed`].
pub fn plan(
    plan: &Plan,
    sender: mpsc::Sender<InputPiece>,
    progress: &Progress,
) -> Result<Packed, CopyFault> {
    let mut sink = Sink::new(sender, progress.clone());
    let mut opener = Opener::default();
    for item in &plan.items {
        sink.item(item, &mut opener)?;
        if sink.is_unread {
            break;
        }
    }
    Ok(sink.finish())
}

/// Packs again what an archive holds.
///
/// # Errors
/// As [`Archive::next`]; [`CopyFault::Refused`], [`CopyFault::Member`].
pub fn archive(
    mut archive: Archive<impl Source>,
    sender: mpsc::Sender<InputPiece>,
    progress: &Progress,
) -> Result<Packed, CopyFault> {
    let mut sink = Sink::new(sender, progress.clone());
    sink.member(&directory());
    while let Some(member) = archive.next()? {
        sink.again(&mut archive, member)?;
        if sink.is_unread {
            break;
        }
    }
    if !sink.is_unread {
        archive.drain()?;
    }
    Ok(sink.finish())
}

/// The directory that an archive's members are put in.
fn directory() -> Member {
    Member {
        name: ROOT.into(),
        mode: 0o755,
        modified: Time::default(),
        kind: Kind::Directory,
    }
}

/// What opens files, one source after the other.
#[derive(Debug, Default)]
struct Opener {
    below: Option<Below>,
}

impl Opener {
    fn file(&mut self, origin: &Origin) -> Result<File, CopyFault> {
        let source = &origin.source;
        let below = match &mut self.below {
            Some(below) if Arc::ptr_eq(below.source(), source) => below,
            other => other.insert(Below::again(source)?),
        };
        below.file(&origin.at, origin.id)
    }
}

/// Where the stream goes.
#[derive(Debug)]
struct Sink {
    sender: mpsc::Sender<InputPiece>,
    /// The piece in the making, which is as long as one may be.
    piece: Vec<u8>,
    /// So much of it is there.
    filled: usize,
    is_unread: bool,
    sum: Sum,
    progress: Progress,
}

impl Sink {
    fn new(sender: mpsc::Sender<InputPiece>, progress: Progress) -> Self {
        Self {
            sender,
            piece: vec![0; INPUT_PIECE_MAX],
            filled: 0,
            is_unread: false,
            sum: Sum::default(),
            progress,
        }
    }

    fn finish(mut self) -> Packed {
        let last = Member {
            name: LAST.into(),
            mode: 0o600,
            modified: Time::default(),
            kind: Kind::File(Content::whole(0)),
        };
        self.member(&last);
        self.put(&END);
        self.flush();
        if self.is_unread || self.sender.blocking_send(InputPiece::End).is_err() {
            return Packed::Unread;
        }
        Packed::All(self.sum)
    }

    fn item(&mut self, item: &Item, opener: &mut Opener) -> Result<(), CopyFault> {
        let (Kind::File(content), Some(origin)) = (&item.member.kind, &item.origin) else {
            self.member(&item.member);
            return Ok(());
        };
        let mut file = opener.file(origin)?;
        let path = origin.source.shown(&origin.at);
        if !origin.may_have_holes {
            let size = self.member(&item.member);
            self.file(&mut file, content.size, &path)?;
            self.pad(size);
            return Ok(());
        }
        let extents = extents(&file, content.size);
        let extents = extents.map_err(CopyFault::local("read", &path))?;
        let content = Content {
            size: content.size,
            // A file system can have fewer blocks than bytes for other reasons.
            extents: (extents != Content::whole(content.size).extents()).then_some(extents),
        };
        let size = self.member(&Member {
            kind: Kind::File(content.clone()),
            ..item.member.clone()
        });
        for Extent { offset, length } in content.extents() {
            file.seek(SeekFrom::Start(offset))
                .map_err(CopyFault::local("read", &path))?;
            self.file(&mut file, length, &path)?;
        }
        self.pad(size);
        Ok(())
    }

    /// What an archive has, under the root.
    fn again(
        &mut self,
        archive: &mut Archive<impl Source>,
        mut member: Member,
    ) -> Result<(), CopyFault> {
        if let Kind::Other(kind) = member.kind {
            let mut names = Names::default();
            names.add(&shown(&member.name), kind);
            return names.none();
        }
        member.name = below_root(&member.name)?;
        if let Kind::HardLink(target) = &mut member.kind {
            *target = below_root(target)?;
        }
        let size = self.member(&member);
        while let Some(bytes) = archive.data(u64::MAX)? {
            self.put(&bytes);
        }
        self.pad(size);
        Ok(())
    }

    /// What stands before a member's data. Bytes of the member.
    fn member(&mut self, member: &Member) -> u64 {
        if !matches!(member.kind, Kind::Directory) {
            self.sum.files += 1;
            self.progress.file();
        }
        if let Kind::File(content) = &member.kind {
            self.sum.bytes = self.sum.bytes.saturating_add(content.data());
        }
        let mut blocks = Vec::new();
        let size = head(member, &mut blocks);
        self.put(&blocks);
        size
    }

    fn pad(&mut self, length: u64) {
        let mut zeros = Vec::new();
        pad(&mut zeros, length);
        self.put(&zeros);
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room(bytes.len());
            let (now, rest) = bytes.split_at(room.len().min(bytes.len()));
            room.copy_from_slice(now);
            bytes = rest;
            self.take(now.len());
        }
    }

    /// The next so many bytes of a file, read to where they leave from.
    fn file(&mut self, file: &mut File, length: u64, path: &Path) -> Result<(), CopyFault> {
        let mut left = length;
        while left > 0 && !self.is_unread {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let read = match file.read(self.room(most)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(CopyFault::local("read", path)(error)),
                Ok(0) => return Err(CopyFault::Changed(path.to_owned())),
                Ok(read) => read,
            };
            self.take(read);
            let read = u64::try_from(read).unwrap_or_default();
            left = left.saturating_sub(read);
            self.progress.bytes(read);
        }
        Ok(())
    }

    /// Where the next bytes go: room for at most so many, and for one at least.
    fn room(&mut self, most: usize) -> &mut [u8] {
        let end = self.filled.saturating_add(most).min(self.piece.len());
        self.piece.get_mut(self.filled..end).unwrap_or_default()
    }

    /// So many bytes are there now.
    fn take(&mut self, bytes: usize) {
        self.filled = self.filled.saturating_add(bytes);
        if self.filled >= self.piece.len() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let mut piece = std::mem::replace(&mut self.piece, vec![0; INPUT_PIECE_MAX]);
        piece.truncate(self.filled);
        self.filled = 0;
        if !piece.is_empty() && !self.is_unread {
            let piece = InputPiece::Data(Bytes::from(piece));
            self.is_unread = self.sender.blocking_send(piece).is_err();
        }
    }
}

/// Where a file of this size has data (lseek(2), SEEK_DATA). Reading begins anywhere after this.
fn extents(file: &File, size: u64) -> io::Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut at = 0;
    while at < size {
        let from = i64::try_from(at).map_err(io::Error::other)?;
        let data = match lseek(file, from, Whence::SeekData) {
            Ok(data) => data,
            // There is no more.
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let hole = lseek(file, data, Whence::SeekHole)?;
        let offset = u64::try_from(data).unwrap_or_default();
        let end = u64::try_from(hole).unwrap_or_default().min(size);
        if offset >= size || end <= offset {
            break;
        }
        let length = end - offset;
        extents.push(Extent { offset, length });
        at = end;
    }
    Ok(extents)
}

/// A name in an archive, below the root of ours.
fn below_root(name: &[u8]) -> Result<Vec<u8>, CopyFault> {
    let parts = parts(name)?;
    let mut path = ROOT.as_bytes().to_vec();
    for part in parts {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    Ok(path)
}
