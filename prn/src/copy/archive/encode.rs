//! Members as they are written.

use tar::{EntryType, Header};

use crate::copy::archive::member::{BLOCK, Kind, Member, Time, padding};

/// Blocks of zeros at the end of an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Most bytes of a name that are in a header itself. Longer ones are in a record.
const NAME_MAX: usize = 100;

/// Appends what stands before a member's data. What follows are the bytes of its extents, and as
/// many zeros as [`padding`] of what this returns: bytes of the member, of which those before the
/// data are written already.
pub fn head(member: &Member, out: &mut Vec<u8>) -> u64 {
    let map = sparse_map(&member.kind);
    let records = records(member);
    if !records.is_empty() {
        let mut header = header(EntryType::XHeader, b"pax", length(&records));
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&records);
        pad(out, length(&records));
    }
    let (kind, size, target) = match &member.kind {
        Kind::Directory => (EntryType::Directory, 0, None),
        Kind::File(content) => (
            EntryType::Regular,
            content.data().saturating_add(length(&map)),
            None,
        ),
        Kind::Symlink(target) => (EntryType::Symlink, 0, Some(target)),
        Kind::HardLink(target) => (EntryType::Link, 0, Some(target)),
        // Nobody writes it.
        Kind::Other(_) => (EntryType::Fifo, 0, None),
    };
    let mut header = header(kind, &member.name, size);
    header.set_mode(member.mode);
    header.set_mtime(u64::try_from(member.modified.seconds).unwrap_or_default());
    if let Some(target) = target {
        fill(&mut header.as_old_mut().linkname, target);
    }
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&map);
    size
}

/// Appends what stands behind so many bytes of a member.
pub fn pad(out: &mut Vec<u8>, length: u64) {
    let zeros = out.len().saturating_add(padding(length));
    out.resize(zeros, 0);
}

fn header(kind: EntryType, name: &[u8], size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    fill(&mut header.as_old_mut().name, name);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// As much as there is room for.
fn fill(field: &mut [u8], bytes: &[u8]) {
    for (place, byte) in field.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

/// What a header has no room for (pax(1), "pax Extended Header").
fn records(member: &Member) -> Vec<u8> {
    let mut records = Vec::new();
    let Time { seconds, nanos } = member.modified;
    if nanos != 0 || seconds < 0 {
        record(&mut records, "mtime", shown_time(seconds, nanos).as_bytes());
    }
    match &member.kind {
        Kind::Symlink(target) | Kind::HardLink(target) if target.len() > NAME_MAX => {
            record(&mut records, "linkpath", target);
        }
        Kind::File(content) if content.extents.is_some() => {
            record(&mut records, "GNU.sparse.major", b"1");
            record(&mut records, "GNU.sparse.minor", b"0");
            record(&mut records, "GNU.sparse.name", &member.name);
            let size = content.size.to_string();
            record(&mut records, "GNU.sparse.realsize", size.as_bytes());
        }
        Kind::Directory | Kind::File(_) | Kind::Symlink(_) | Kind::HardLink(_) | Kind::Other(_) => {
        }
    }
    if member.name.len() > NAME_MAX {
        record(&mut records, "path", &member.name);
    }
    records
}

/// Seconds with a decimal fraction: of an instant before the epoch, the fraction counts away from
/// zero as well.
fn shown_time(seconds: i64, nanos: u32) -> String {
    if seconds < 0 && nanos > 0 {
        let whole = (seconds + 1).unsigned_abs();
        let fraction = 1_000_000_000 - nanos;
        return format!("-{whole}.{fraction:09}");
    }
    format!("{seconds}.{nanos:09}")
}

/// "LENGTH KEY=VALUE\n", where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// What stands before the data of a file with holes: a count, then offset and length of each
/// extent, in lines, up to the end of a block (GNU tar's manual, "Storing Sparse Files", PAX format
/// 1.0). An extent of no bytes at the end says where that is.
fn sparse_map(kind: &Kind) -> Vec<u8> {
    let Kind::File(content) = kind else {
        return Vec::new();
    };
    let Some(extents) = &content.extents else {
        return Vec::new();
    };
    let mut lines = format!("{}\n", extents.len() + 1);
    for extent in extents {
        lines.push_str(&format!("{}\n{}\n", extent.offset, extent.length));
    }
    lines.push_str(&format!("{}\n0\n", content.size));
    let mut map = lines.into_bytes();
    let length = length(&map);
    pad(&mut map, length);
    map
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for value in [0, 1, 3, 4, 86, 87, 88, 89, 90, 986, 987, 988, 989] {
            let mut records = Vec::new();
            record(&mut records, "path", &vec![b'x'; value]);
            let text = String::from_utf8(records).unwrap();
            let (length, _) = text.split_once(' ').unwrap();
            assert_eq!(length.parse::<usize>().unwrap(), text.len());
        }
    }

    #[test]
    fn a_time_before_the_epoch_counts_away_from_it() {
        assert_eq!(shown_time(5, 1), "5.000000001");
        assert_eq!(shown_time(-1, 999_999_999), "-0.000000001");
        assert_eq!(shown_time(-2, 500_000_000), "-1.500000000");
        assert_eq!(shown_time(-2, 0), "-2.000000000");
    }
}
