//! What an archive is made of.

/// Bytes of a block: all of an archive is made of whole ones.
pub const BLOCK: usize = 512;

/// Rights of a file or directory that are copied. Whose a copy is decides nothing about it, so none
/// of the bits that change that go with it: setuid, setgid, sticky.
pub const MODE_BITS: u32 = 0o777;

/// A file, or something else with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path in the archive: any bytes but NUL.
    pub name: Vec<u8>,
    /// Its mode, of [`MODE_BITS`] alone.
    pub mode: u32,
    /// When it was modified last.
    pub modified: Time,
    /// What it is.
    pub kind: Kind,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file, whose data follows.
    File(Content),
    /// A symbolic link to this path.
    Symlink(Vec<u8>),
    /// A further name of the file that is the member of this name.
    HardLink(Vec<u8>),
    /// Something that is not copied.
    Other(&'static str),
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its size in bytes.
    pub size: u64,
    /// Where its data is, in order; the rest are holes. `None`: everywhere.
    pub extents: Option<Vec<Extent>>,
}

impl Content {
    /// Of a file without holes.
    pub fn whole(size: u64) -> Self {
        Self {
            size,
            extents: None,
        }
    }

    /// Where data is.
    pub fn extents(&self) -> Vec<Extent> {
        let whole = || {
            vec![Extent {
                offset: 0,
                length: self.size,
            }]
        };
        self.extents.clone().unwrap_or_else(whole)
    }

    /// Bytes of data.
    pub fn data(&self) -> u64 {
        self.extents.as_ref().map_or(self.size, |extents| {
            extents
                .iter()
                .fold(0, |sum, extent| sum.saturating_add(extent.length))
        })
    }
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub offset: u64,
    /// So many bytes.
    pub length: u64,
}

/// An instant: since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds beside them: fewer than 10^9.
    pub nanos: u32,
}

/// Bytes from `length` to the end of its last block.
pub fn padding(length: u64) -> usize {
    let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    let beyond = length % block;
    let missing = if beyond == 0 { 0 } else { block - beyond };
    usize::try_from(missing).unwrap_or_default()
}
