//! Quotas of users on the file system of an open directory (quotactl_fd(2), Linux 5.14).
//!
//! Runs in `prn server start`, which asks whether there are any and takes away those of an earlier
//! run, and in the supervisor, whose filter of system calls knows [`SET`] alone.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

/// The command that sets a user's limits: QCMD(Q_SETQUOTA, USRQUOTA), linux/quota.h.
pub const SET: u32 = 0x80_0008 << 8;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
enum Command {
    /// QCMD(Q_XGETQSTATV, USRQUOTA) of linux/dqblk_xfs.h, which any file system answers.
    State,
    /// QCMD(Q_GETNEXTQUOTA, USRQUOTA) of linux/quota.h.
    Next,
    /// To set them.
    Set,
}

/// As long as the longest structure that the kernel reads or writes for one of these, `struct
/// fs_quota_statv`; the others are `struct if_nextdqblk` and `struct if_dqblk`.
type Data = [u8; 160];

/// FS_QSTATV_VERSION1, at the beginning of `struct fs_quota_statv`.
const VERSION: u8 = 1;

/// FS_QUOTA_UDQ_ENFD of `qs_flags`, which are after two bytes of it: limits of users are enforced.
/// That they have counts is another flag.
const ENFORCED: u16 = 1 << 1;

/// Bytes in the unit of limits of space (QIF_DQBLKSIZE), which are the first two numbers of `struct
/// if_dqblk`.
const UNIT: u64 = 1024;

/// Bytes of space for each file that there may be, as ext4 is made by default with fewer (mke2fs.conf(5)).
/// Empty files take no space that is counted, and would use up those of all others.
const FILE: u64 = 4096;

/// QIF_LIMITS of `dqb_valid`, after 64 bytes of `struct if_dqblk`: limits of space and of files, which
/// are after 24 bytes, and no others.
const LIMITS: u32 = 1 | 4;

/// Whether limits of users are enforced there, and this process may set them (CAP_SYS_ADMIN, in no
/// user namespace).
pub fn works(folder: impl AsFd) -> bool {
    // The numbers of anybody take what it takes to set them, and change nothing. There may be none.
    let may_set = |folder| match call(folder, Command::Next, 0, [0; 160]) {
        Ok(_) | Err(Errno::ENOENT) => true,
        Err(_) => false,
    };
    is_enforced(&folder).unwrap_or(false) && may_set(&folder)
}

fn is_enforced(folder: impl AsFd) -> nix::Result<bool> {
    let mut asked = [0; 160];
    asked[0] = VERSION;
    let [_, _, low, high, ..] = call(folder, Command::State, 0, asked)?;
    Ok(u16::from_ne_bytes([low, high]) & ENFORCED != 0)
}

/// Bounds the space of a user's files, and their number in proportion; `None`: as much as there is.
///
/// # Errors
/// Those of quotactl(2): ESRCH and ENOSYS where there are no quotas.
pub fn set(folder: impl AsFd, uid: u32, bytes: Option<u64>) -> nix::Result<()> {
    // Zero is no bound.
    let space = bytes.map_or(0, |bytes| (bytes / UNIT).max(1)).to_ne_bytes();
    let files = bytes
        .map_or(0, |bytes| (bytes / FILE).max(1024))
        .to_ne_bytes();
    let mut numbers = [0; 160];
    numbers[..8].copy_from_slice(&space);
    numbers[8..16].copy_from_slice(&space);
    numbers[24..32].copy_from_slice(&files);
    numbers[32..40].copy_from_slice(&files);
    numbers[64..68].copy_from_slice(&LIMITS.to_ne_bytes());
    call(folder, Command::Set, uid, numbers).map(drop)
}

fn call(folder: impl AsFd, command: Command, uid: u32, mut data: Data) -> nix::Result<Data> {
    let command: u32 = match command {
        Command::State => 0x5808 << 8,
        Command::Next => 0x80_0009 << 8,
        Command::Set => SET,
    };
    // SAFETY: for each of the three commands the kernel reads or writes one structure at this
    // address, none of them longer than `Data`, and keeps nothing of it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            folder.as_fd().as_raw_fd(),
            command,
            uid,
            data.as_mut_ptr(),
        )
    };
    Errno::result(done).map(|_| data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_where_the_kernel_has_them() {
        assert_eq!(std::mem::offset_of!(libc::dqblk, dqb_bhardlimit), 0);
        assert_eq!(std::mem::offset_of!(libc::dqblk, dqb_bsoftlimit), 8);
        assert_eq!(std::mem::offset_of!(libc::dqblk, dqb_valid), 64);
        assert!(size_of::<libc::dqblk>() <= size_of::<Data>());
    }

    #[test]
    fn where_there_are_no_quotas_none_work() {
        let folder = std::fs::File::open("/proc").unwrap();
        assert!(!works(&folder));
        assert_eq!(set(&folder, 1, None), Err(Errno::ENOSYS));
    }
}
