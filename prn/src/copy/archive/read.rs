//! An archive as it is read: from somebody who may have made it to do harm.
//!
//! Nothing here keeps more of it than a piece and a few records, whatever it says of itself.

use std::io;

use bytes::{Buf, Bytes};
use tar::Header;

use crate::copy::archive::member::{Content, Extent, Kind, MODE_BITS, Member, Time, padding};
use crate::copy::fault::CopyFault;

/// Most bytes of the records of one member, which are kept: two paths of PATH_MAX fit many times.
const RECORDS_MAX: u64 = 1024 * 1024;

/// Most extents of one file.
const EXTENTS_MAX: u64 = 1024 * 1024;

/// Where an archive comes from.
pub trait Source {
    /// The next bytes, as many as there are at hand. None at the end.
    ///
    /// # Errors
    /// If it cannot be read.
    fn piece(&mut self) -> io::Result<Bytes>;
}

/// An archive under way.
#[derive(Debug)]
pub struct Archive<S> {
    source: S,
    /// What has come and was not taken.
    piece: Bytes,
    /// Bytes of the member's data that are still to come.
    data: u64,
    /// And of what fills its last block.
    padding: usize,
    /// The end was seen.
    has_ended: bool,
}

impl<S: Source> Archive<S> {
    /// From its beginning.
    pub fn new(source: S) -> Self {
        Self {
            source,
            piece: Bytes::new(),
            data: 0,
            padding: 0,
            has_ended: false,
        }
    }

    /// The next member, past what was not taken of the data of the one before. `None` at the end,
    /// which an archive says itself.
    ///
    /// # Errors
    /// If it is malformed, or ends before its end.
    pub fn next(&mut self) -> Result<Option<Member>, CopyFault> {
        let mut extended = Extended::default();
        loop {
            while self.data(u64::MAX)?.is_some() {}
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header.entry_size().map_err(|_| malformed("a size"))?;
            match header.entry_type().as_byte() {
                b'x' => extended.records(&self.kept(size)?)?,
                b'g' => drop(self.kept(size)?),
                b'L' => extended.path = Some(text(&self.kept(size)?)),
                b'K' => extended.target = Some(text(&self.kept(size)?)),
                _ => return self.member(&header, extended, size).map(Some),
            }
        }
    }

    /// The next bytes of the member's data, so many at most; `None` behind the last.
    ///
    /// # Errors
    /// If the archive ends before.
    pub fn data(&mut self, most: u64) -> Result<Option<Bytes>, CopyFault> {
        if self.data == 0 {
            self.skip_padding()?;
            return Ok(None);
        }
        self.more()?;
        let most = usize::try_from(self.data.min(most)).unwrap_or(usize::MAX);
        let bytes = self.piece.split_to(most.min(self.piece.len()));
        self.data = self.data.saturating_sub(length(&bytes));
        Ok(Some(bytes))
    }

    /// Reads what may follow the end, so that whoever writes it is not held up.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn drain(&mut self) -> Result<(), CopyFault> {
        self.piece.clear();
        while !self.source.piece().map_err(CopyFault::Read)?.is_empty() {}
        Ok(())
    }

    fn member(
        &mut self,
        header: &Header,
        mut extended: Extended,
        size: u64,
    ) -> Result<Member, CopyFault> {
        // Of POSIX (pax(1), "ustar Interchange Format"), and of GNU.
        let kind = header.entry_type().as_byte();
        let size = extended.size.unwrap_or(size);
        if !matches!(kind, b'1'..=b'6') {
            self.data = size;
            self.padding = padding(size);
        }
        let target = |target: Option<Vec<u8>>| {
            target.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned())
        };
        let name = extended.path.take();
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = match kind {
            // Before POSIX, that was how a directory was told.
            b'0' if name.ends_with(b"/") => Kind::Directory,
            b'0' | b'7' if extended.is_sparse => {
                let size = extended.real_size.ok_or(malformed("a sparse file"))?;
                Kind::File(self.sparse(size)?)
            }
            b'0' | b'7' => Kind::File(Content::whole(size)),
            b'1' => Kind::HardLink(target(extended.target)),
            b'2' => Kind::Symlink(target(extended.target)),
            b'3' => Kind::Other("a character device"),
            b'4' => Kind::Other("a block device"),
            b'5' => Kind::Directory,
            b'6' => Kind::Other("a FIFO"),
            b'S' => Kind::Other("a sparse file in GNU's old format"),
            _ => Kind::Other("of an unknown kind"),
        };
        Ok(Member {
            name,
            mode: header.mode().map_err(|_| malformed("a mode"))? & MODE_BITS,
            modified: match extended.modified {
                Some(time) => time,
                None => header_time(header),
            },
            kind,
        })
    }

    /// The map of a file with holes, which stands before its data.
    fn sparse(&mut self, size: u64) -> Result<Content, CopyFault> {
        let begin = self.data;
        let count = self.number()?;
        if count > EXTENTS_MAX {
            return Err(malformed("a sparse file"));
        }
        let mut extents = Vec::new();
        let mut behind = 0;
        for _ in 0..count {
            let offset = self.number()?;
            let length = self.number()?;
            let end = offset.checked_add(length);
            let end = end.filter(|end| offset >= behind && *end <= size);
            behind = end.ok_or(malformed("a sparse file"))?;
            if length > 0 {
                extents.push(Extent { offset, length });
            }
        }
        for _ in 0..padding(begin.saturating_sub(self.data)) {
            self.data_byte()?;
        }
        let content = Content {
            size,
            extents: Some(extents),
        };
        if content.data() != self.data {
            return Err(malformed("a sparse file"));
        }
        Ok(content)
    }

    /// One number of a sparse file's map, in a line of its own.
    fn number(&mut self) -> Result<u64, CopyFault> {
        let mut number: u64 = 0;
        loop {
            let digit = match self.data_byte()? {
                b'\n' => return Ok(number),
                byte @ b'0'..=b'9' => u64::from(byte - b'0'),
                _ => return Err(malformed("a sparse file")),
            };
            let next = number.checked_mul(10).and_then(|n| n.checked_add(digit));
            number = next.ok_or(malformed("a sparse file"))?;
        }
    }

    fn data_byte(&mut self) -> Result<u8, CopyFault> {
        if self.data == 0 {
            return Err(malformed("a sparse file"));
        }
        self.more()?;
        self.data -= 1;
        Ok(self.piece.get_u8())
    }

    /// The next header, unless it is the end.
    fn header(&mut self) -> Result<Option<Header>, CopyFault> {
        if self.has_ended {
            return Ok(None);
        }
        let mut header = Header::new_old();
        self.fill(header.as_mut_bytes())?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            self.has_ended = true;
            return Ok(None);
        }
        let sum = header.cksum().map_err(|_| malformed("a checksum"))?;
        let mut checked = header.clone();
        checked.set_cksum();
        if checked.cksum().ok() != Some(sum) {
            return Err(malformed("a checksum"));
        }
        Ok(Some(header))
    }

    /// The data of something that says more of the member behind it.
    fn kept(&mut self, size: u64) -> Result<Vec<u8>, CopyFault> {
        if size > RECORDS_MAX {
            return Err(malformed("a name"));
        }
        self.data = size;
        self.padding = padding(size);
        let mut kept = Vec::new();
        while let Some(bytes) = self.data(u64::MAX)? {
            kept.extend_from_slice(&bytes);
        }
        Ok(kept)
    }

    fn skip_padding(&mut self) -> Result<(), CopyFault> {
        while self.padding > 0 {
            self.more()?;
            let skipped = self.padding.min(self.piece.len());
            self.piece.advance(skipped);
            self.padding -= skipped;
        }
        Ok(())
    }

    fn fill(&mut self, mut block: &mut [u8]) -> Result<(), CopyFault> {
        while !block.is_empty() {
            self.more()?;
            let most = block.len().min(self.piece.len());
            let (begin, rest) = block.split_at_mut(most);
            self.piece.copy_to_slice(begin);
            block = rest;
        }
        Ok(())
    }

    /// Waits until there is something to take.
    fn more(&mut self) -> Result<(), CopyFault> {
        if self.piece.is_empty() {
            self.piece = self.source.piece().map_err(CopyFault::Read)?;
        }
        if self.piece.is_empty() {
            return Err(CopyFault::Cut);
        }
        Ok(())
    }
}

/// What records say of the member behind them.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<Time>,
    is_sparse: bool,
    real_size: Option<u64>,
}

impl Extended {
    /// Takes "LENGTH KEY=VALUE\n", again and again.
    fn records(&mut self, mut bytes: &[u8]) -> Result<(), CopyFault> {
        let what = "a record";
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|byte| *byte == b' ');
            let (digits, _) = bytes.split_at(blank.ok_or(malformed(what))?);
            let length = usize::try_from(decimal(digits)?).map_err(|_| malformed(what))?;
            let (record, rest) = bytes.split_at_checked(length).ok_or(malformed(what))?;
            let record = record.get(digits.len() + 1..).ok_or(malformed(what))?;
            let record = record.strip_suffix(b"\n").ok_or(malformed(what))?;
            let equals = record.iter().position(|byte| *byte == b'=');
            let (key, value) = record.split_at(equals.ok_or(malformed(what))?);
            self.take(key, value.get(1..).unwrap_or_default())?;
            bytes = rest;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), CopyFault> {
        match key {
            b"path" if !self.is_sparse => self.path = Some(value.to_vec()),
            b"GNU.sparse.name" => self.path = Some(value.to_vec()),
            b"linkpath" => self.target = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"mtime" => self.modified = Some(time(value).ok_or(malformed("a time"))?),
            b"GNU.sparse.major" if value != b"1" => {
                return Err(malformed("a sparse file of an old kind"));
            }
            b"GNU.sparse.major" => self.is_sparse = true,
            b"GNU.sparse.map" | b"GNU.sparse.numblocks" => {
                return Err(malformed("a sparse file of an old kind"));
            }
            b"GNU.sparse.realsize" => self.real_size = Some(decimal(value)?),
            _ => {}
        }
        Ok(())
    }
}

fn malformed(what: &'static str) -> CopyFault {
    CopyFault::Malformed(what)
}

/// Up to the first NUL: GNU tar writes one behind a long name.
fn text(bytes: &[u8]) -> Vec<u8> {
    let text = bytes.split(|byte| *byte == 0).next();
    text.unwrap_or_default().to_vec()
}

fn decimal(digits: &[u8]) -> Result<u64, CopyFault> {
    let text = std::str::from_utf8(digits).ok();
    let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok())
        .ok_or(malformed("a number"))
}

fn header_time(header: &Header) -> Time {
    // One before the epoch, which a header has room for in GNU's way alone, is not told here.
    let seconds = header.mtime().ok().and_then(|time| time.try_into().ok());
    Time {
        seconds: seconds.unwrap_or_default(),
        nanos: 0,
    }
}

/// Seconds with a decimal fraction.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some(Time {
            seconds: seconds.checked_sub(1)?,
            nanos: 1_000_000_000 - nanos,
        });
    }
    Some(Time { seconds, nanos })
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
