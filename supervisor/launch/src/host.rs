//! What this host is and offers: parsing of the kernel's files, free of I/O, and one survey that
//! reads them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{major, minor};
use prn_ipc_protocol::config::Disk;

/// Controllers that limits need.
pub const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// Everything that checks and plans look at.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Major and minor number of the kernel's release, and all of it.
    pub kernel: ((u32, u32), String),
    /// Effective user id of this process.
    pub uid: u32,
    /// Its effective capabilities.
    pub capabilities: u64,
    /// The cgroup2 mount, if there is one.
    pub cgroup2: Option<CgroupMount>,
    /// This process's own group, as a path in that mount.
    pub own_cgroup: Option<PathBuf>,
    /// Controllers that a group below the mount can have.
    pub mount_controllers: Vec<String>,
    /// Controllers that a group below one's own can have.
    pub own_controllers: Vec<String>,
    /// Groups have `cgroup.kill`.
    pub cgroup_kill: bool,
    /// seccomp filters can be installed.
    pub seccomp: bool,
    /// Landlock is one of the active security modules. `None`: the list of them cannot be read.
    pub landlock: Option<bool>,
    /// What keeps ordinary users from making user namespaces.
    pub no_user_namespaces: Option<&'static str>,
    /// What was started by root can be traced once it has another user (fs.suid_dumpable is 1,
    /// proc_sys_fs(5)).
    pub traces_former_root: bool,
    /// Group ids that may ping.
    pub ping_group_range: Option<(u32, u32)>,
    /// Soft and hard limit of open files.
    pub open_files: (u64, u64),
    /// Bytes of memory: what the machine has, or what the groups of this process leave of it.
    pub memory: u64,
    /// Primary group id of the user `prn`, if there is one.
    pub prn_gid: Option<u32>,
    /// All user and group ids of /etc/passwd and /etc/group.
    pub named_ids: BTreeSet<u32>,
    /// User id of user `prn`.
    pub prn_uid: Option<u32>,
    /// User and group id of `prn-audit`.
    pub audit_ids: Option<(u32, u32)>,
    /// All mounts.
    pub mounts: Vec<Mount>,
}

/// Where cgroup v2 is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMount {
    /// Its path.
    pub path: PathBuf,
    /// The group that is its root (not "/" in some containers).
    pub root: String,
    /// Nothing can be written there.
    pub read_only: bool,
}

/// One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of its files' devices.
    pub device: (u32, u32),
    /// What of the file system is mounted.
    pub root: String,
    /// Where.
    pub path: PathBuf,
    /// Options of this mount.
    pub options: String,
    /// Kind of file system.
    pub kind: String,
    /// What it is on.
    pub source: String,
    /// Options of the file system.
    pub super_options: String,
}

/// Parses /proc/self/mountinfo; lines that are not of its form are left out.
pub fn parse_mountinfo(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_mount).collect()
}

fn parse_mount(line: &str) -> Option<Mount> {
    // Between the sixth field and the separator stand any number of optional ones.
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let device = parse_device(left.next()?)?;
    let root = unescape(left.next()?);
    let path = PathBuf::from(unescape(left.next()?));
    let options = left.next()?.to_owned();
    let mut right = right.split(' ');
    let kind = right.next()?.to_owned();
    let source = unescape(right.next()?);
    let super_options = right.next().unwrap_or_default().to_owned();
    Some(Mount {
        device,
        root,
        path,
        options,
        kind,
        source,
        super_options,
    })
}

fn parse_device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Undoes the octal escapes of space, tab, newline, number sign (in sources alone) and, last, of
/// their backslash.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\043", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "#", "\\"])
        .fold(text.to_owned(), |text, (escape, plain)| {
            text.replace(escape, plain)
        })
}

/// The cgroup2 mount: the whole hierarchy rather than a part of it, else the first.
pub fn cgroup2_mount(mounts: &[Mount]) -> Option<CgroupMount> {
    let mut candidates: Vec<_> = mounts
        .iter()
        .filter(|mount| mount.kind == "cgroup2")
        .collect();
    candidates.sort_by_key(|mount| mount.root != "/");
    candidates.first().map(|mount| CgroupMount {
        path: mount.path.clone(),
        root: mount.root.clone(),
        read_only: [&mount.options, &mount.super_options]
            .iter()
            .any(|options| options.split(',').any(|o| o == "ro")),
    })
}

/// The cgroup v2 line of /proc/self/cgroup (cgroups(7)).
pub fn parse_own_cgroup(text: &str) -> Option<&str> {
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .filter(|path| path.starts_with('/'))
}

/// Where a group is in the file system. `None`: it is outside of what is mounted.
pub fn cgroup_path(mount: &CgroupMount, group: &str) -> Option<PathBuf> {
    let relative = Path::new(group).strip_prefix(&mount.root).ok()?;
    // A group above the namespace's root shows as "/..".
    if relative
        .components()
        .any(|part| matches!(part, std::path::Component::ParentDir))
    {
        return None;
    }
    Some(if relative.as_os_str().is_empty() {
        mount.path.clone()
    } else {
        mount.path.join(relative)
    })
}

/// Parses `cgroup.controllers`.
pub fn parse_controllers(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The controllers of [`CONTROLLERS`] that are not in `offered`.
pub fn missing_controllers(offered: &[String]) -> Vec<&'static str> {
    CONTROLLERS
        .into_iter()
        .filter(|needed| !offered.iter().any(|offer| offer == needed))
        .collect()
}

/// Parses `memory.max`; `None` for "max".
fn parse_memory_max(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// MemTotal of /proc/meminfo, in bytes.
fn parse_mem_total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// Major and minor number of a release such as "6.1.0-18-amd64".
pub fn parse_kernel(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A hexadecimal field of /proc/self/status.
fn parse_status_mask(text: &str, field: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    u64::from_str_radix(value.trim(), 16).ok()
}

fn id_of(ids: &[(String, u32)], wanted: &str) -> Option<u32> {
    ids.iter()
        .find(|(name, _)| name == wanted)
        .map(|(_, id)| *id)
}

/// Name and numbers in column `columns` of a file like /etc/passwd.
fn parse_ids(text: &str, columns: &[usize]) -> Vec<(String, u32)> {
    let entry = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let name = (*fields.first()?).to_owned();
        Some(
            columns
                .iter()
                .filter_map(|column| Some((name.clone(), fields.get(*column)?.parse().ok()?)))
                .collect::<Vec<_>>(),
        )
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(entry)
        .flatten()
        .collect()
}

/// The two numbers of ping_group_range.
fn parse_range(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Ranges of `ids` that fall into `count` ids from `first` on: the first offender, if there is one.
pub fn named_id_in(ids: &BTreeSet<u32>, first: u32, count: u32) -> Option<u32> {
    ids.range(first..first.saturating_add(count))
        .next()
        .copied()
}

impl Host {
    /// Reads it all. What cannot be read counts as not there.
    pub fn survey() -> Self {
        // One name that is not UTF-8, of a mount point or a person, must not hide all other lines:
        // whoever may mount could keep the server from starting, and ids in use would not be found.
        let read =
            |path: &str| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let release = nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default();
        let kernel = parse_kernel(&release).unwrap_or_default();
        let status = read("/proc/self/status");
        let mounts = parse_mountinfo(&read("/proc/self/mountinfo"));
        let cgroup2 = cgroup2_mount(&mounts);
        let own_cgroup = cgroup2
            .as_ref()
            .and_then(|mount| cgroup_path(mount, parse_own_cgroup(&read("/proc/self/cgroup"))?));
        let controllers = |path: &Path| {
            parse_controllers(
                &fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default(),
            )
        };
        let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
        let named_ids = parse_ids(&passwd, &[2, 3])
            .into_iter()
            .chain(parse_ids(&group, &[2]))
            .map(|(_, id)| id)
            .collect();
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            capabilities: parse_status_mask(&status, "CapEff").unwrap_or(0),
            mount_controllers: cgroup2
                .as_ref()
                .map(|mount| controllers(&mount.path))
                .unwrap_or_default(),
            own_controllers: own_cgroup.as_deref().map(controllers).unwrap_or_default(),
            cgroup_kill: cgroup2
                .as_ref()
                .is_some_and(|mount| has_cgroup_kill(&mount.path, kernel)),
            seccomp: status.lines().any(|line| line.starts_with("Seccomp:"))
                && Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
            landlock: fs::read_to_string("/sys/kernel/security/lsm")
                .ok()
                .map(|modules| modules.trim().split(',').any(|module| module == "landlock")),
            no_user_namespaces: no_user_namespaces(&read),
            traces_former_root: read("/proc/sys/fs/suid_dumpable").trim() == "1",
            ping_group_range: parse_range(&read("/proc/sys/net/ipv4/ping_group_range")),
            open_files: getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0)),
            memory: memory(
                &read("/proc/meminfo"),
                cgroup2.as_ref(),
                own_cgroup.as_deref(),
            ),
            prn_uid: id_of(&parse_ids(&passwd, &[2]), "prn"),
            audit_ids: id_of(&parse_ids(&passwd, &[2]), "prn-audit")
                .zip(id_of(&parse_ids(&passwd, &[3]), "prn-audit")),
            prn_gid: id_of(&parse_ids(&passwd, &[3]), "prn"),
            named_ids,
            kernel: (kernel, release),
            cgroup2,
            own_cgroup,
            mounts,
        }
    }

    /// Whether the kernel is of this release or a later one.
    pub fn kernel_since(&self, major: u32, minor: u32) -> bool {
        self.kernel.0 >= (major, minor)
    }
}

/// The root group has no `cgroup.kill`, so it is looked for in any other; without one the release
/// decides.
fn has_cgroup_kill(mount: &Path, kernel: (u32, u32)) -> bool {
    let entries = fs::read_dir(mount)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let groups: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    // Any of them: one that goes away while it is looked at has no files either.
    if groups.is_empty() {
        kernel >= (5, 14)
    } else {
        groups
            .iter()
            .any(|group| group.join("cgroup.kill").exists())
    }
}

fn no_user_namespaces(read: &impl Fn(&str) -> String) -> Option<&'static str> {
    let is = |path: &str, value: &str| read(path).trim() == value;
    if !Path::new("/proc/self/ns/user").exists() {
        Some("the kernel has none")
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        Some("user.max_user_namespaces is 0")
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        Some("kernel.unprivileged_userns_clone is 0")
    } else if is(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        Some("kernel.apparmor_restrict_unprivileged_userns is 1")
    } else {
        None
    }
}

/// The nearest folder at or above `path`, other than `path` itself, that ordinary users cannot
/// pass.
pub fn closed_ancestor(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors()
        .skip(1)
        .find(|folder| {
            folder
                .metadata()
                .is_ok_and(|metadata| metadata.mode() & 0o001 == 0)
        })
        .map(Path::to_owned)
}

/// The smallest of the machine's memory and the limits of this process's groups.
fn memory(meminfo: &str, mount: Option<&CgroupMount>, own: Option<&Path>) -> u64 {
    let total = parse_mem_total(meminfo).unwrap_or(0);
    let (Some(mount), Some(own)) = (mount, own) else {
        return total;
    };
    own.ancestors()
        .take_while(|group| group.starts_with(&mount.path))
        .filter_map(|group| parse_memory_max(&fs::read_to_string(group.join("memory.max")).ok()?))
        .fold(total, u64::min)
}

/// Whole disks that carry the system and the working directories: what io.max can limit. None for
/// memory file systems.
pub fn limited_disks(host: &Host, state_dir: &Path) -> Vec<Disk> {
    let disks: BTreeSet<_> = [Path::new("/"), state_dir]
        .iter()
        .filter_map(|path| disk_of(path, &host.mounts, 0))
        .collect();
    disks
        .into_iter()
        .map(|(major, minor)| Disk { major, minor })
        .collect()
}

fn disk_of(path: &Path, mounts: &[Mount], depth: u32) -> Option<(u32, u32)> {
    let device = nearest_metadata(path)?.dev();
    let device = device_numbers(major(device), minor(device))?;
    if let Some(disk) = whole_disk(device) {
        return Some(disk);
    }
    // btrfs and overlay number their files' devices themselves (major 0): the mount tells what they
    // are on.
    let mount = mounts
        .iter()
        .rev()
        .find(|mount| mount.device == device)
        .or_else(|| mount_of(path, mounts))?;
    match backing(mount) {
        Some(Backing::Device(source)) => {
            let metadata = fs::metadata(source).ok()?;
            let rdev = metadata
                .file_type()
                .is_block_device()
                .then(|| metadata.rdev())?;
            whole_disk(device_numbers(major(rdev), minor(rdev))?)
        }
        // An overlay on an overlay happens; a circle of them cannot, but the mount table is only
        // text.
        Some(Backing::Folder(upper)) if depth < 4 => disk_of(&upper, mounts, depth + 1),
        Some(Backing::Folder(_)) | None => None,
    }
}

fn device_numbers(major: u64, minor: u64) -> Option<(u32, u32)> {
    Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?))
}

/// Of the path, or of the nearest folder above it that exists.
fn nearest_metadata(path: &Path) -> Option<fs::Metadata> {
    path.ancestors().find_map(|path| fs::metadata(path).ok())
}

/// The mount that holds a path: the deepest, and the last of several in one place.
fn mount_of<'a>(path: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.path))
        .max_by_key(|mount| mount.path.components().count())
}

#[derive(Debug, PartialEq, Eq)]
enum Backing {
    Device(PathBuf),
    Folder(PathBuf),
}

/// What a file system without a block device of its own is on.
fn backing(mount: &Mount) -> Option<Backing> {
    if mount.kind == "overlay" {
        let upper = mount
            .super_options
            .split(',')
            .find_map(|option| option.strip_prefix("upperdir="))?;
        return Some(Backing::Folder(PathBuf::from(upper)));
    }
    mount
        .source
        .starts_with("/dev/")
        .then(|| Backing::Device(PathBuf::from(&mount.source)))
}

/// The disk of a block device, which for a partition is the one it is a part of. `None`: no block
/// device.
fn whole_disk(device: (u32, u32)) -> Option<(u32, u32)> {
    let path = fs::canonicalize(format!("/sys/dev/block/{}:{}", device.0, device.1)).ok()?;
    if path.join("partition").exists() {
        return parse_device(&fs::read_to_string(path.parent()?.join("dev")).ok()?);
    }
    Some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "\
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
26 22 0:24 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
40 22 0:35 /@home /home rw,relatime shared:20 master:3 - btrfs /dev/mapper/data rw,subvol=/@home
41 22 0:36 / /mnt/with\\040space rw - tmpfs tmpfs rw
";

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn mounts_are_read_whatever_optional_fields_they_have() {
        let mounts = parse_mountinfo(UNIFIED);
        assert_eq!(mounts.len(), 4);
        assert_eq!(
            (
                mounts[0].device,
                mounts[0].kind.as_str(),
                mounts[0].source.as_str()
            ),
            ((8, 2), "ext4", "/dev/sda2")
        );
        assert_eq!(
            (mounts[2].root.as_str(), mounts[2].source.as_str()),
            ("/@home", "/dev/mapper/data")
        );
        assert_eq!(mounts[3].path, Path::new("/mnt/with space"));
        let device = "22 1 0:40 / / rw - btrfs /dev/mapper/a\\043b rw\n";
        assert_eq!(parse_mountinfo(device)[0].source, "/dev/mapper/a#b");
        assert!(
            parse_mountinfo("\n1 2\n1 2 x:y / / rw - a b c\n1 2 3:4 / / rw a b c\n").is_empty()
        );
    }

    #[test]
    fn the_cgroup2_mount_is_found_on_unified_and_hybrid_hosts() {
        assert_eq!(
            cgroup2_mount(&parse_mountinfo(UNIFIED)).unwrap().path,
            Path::new("/sys/fs/cgroup")
        );
        assert_eq!(
            cgroup2_mount(&parse_mountinfo(HYBRID)).unwrap().path,
            Path::new("/sys/fs/cgroup/unified")
        );
        assert_eq!(cgroup2_mount(&[]), None);
        let read_only = UNIFIED.replace("rw,nosuid,nodev,noexec", "ro,nosuid,nodev,noexec");
        assert!(
            cgroup2_mount(&parse_mountinfo(&read_only))
                .unwrap()
                .read_only
        );
    }

    #[test]
    fn ones_own_group_is_found_in_the_mount() {
        let text = "9:name=systemd:/\n0::/system.slice/prn.service\n";
        assert_eq!(parse_own_cgroup(text), Some("/system.slice/prn.service"));
        assert_eq!(parse_own_cgroup("4:memory:/x\n"), None);
        let mount = |root: &str| CgroupMount {
            path: "/sys/fs/cgroup".into(),
            root: root.into(),
            read_only: false,
        };
        let path = |root, group| cgroup_path(&mount(root), group);
        assert_eq!(path("/", "/a/b"), Some("/sys/fs/cgroup/a/b".into()));
        assert_eq!(path("/", "/"), Some("/sys/fs/cgroup".into()));
        assert_eq!(path("/a", "/a/b"), Some("/sys/fs/cgroup/b".into()));
        assert_eq!(path("/a", "/c"), None);
        assert_eq!(path("/", "/../c"), None);
    }

    #[test]
    fn missing_controllers_are_named() {
        assert!(
            missing_controllers(&parse_controllers(
                "cpuset cpu io memory hugetlb pids rdma misc\n"
            ))
            .is_empty()
        );
        assert_eq!(
            missing_controllers(&parse_controllers("cpuset cpu pids\n")),
            ["io", "memory"]
        );
        assert_eq!(missing_controllers(&parse_controllers("\n")), CONTROLLERS);
    }

    #[test]
    fn kernel_files_are_read() {
        assert_eq!(parse_kernel("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(parse_kernel("5.14"), Some((5, 14)));
        assert_eq!(parse_kernel("linux"), None);
        assert_eq!(
            parse_mem_total("MemFree: 1 kB\nMemTotal:       24682416 kB\n"),
            Some(24_682_416 * 1024)
        );
        assert_eq!(parse_memory_max("max\n"), None);
        assert_eq!(parse_memory_max("1048576\n"), Some(1_048_576));
        assert_eq!(
            parse_status_mask("Name:\tx\nCapEff:\t00000000000000e1\n", "CapEff"),
            Some(0xe1)
        );
        assert_eq!(parse_range("0\t2147483647\n"), Some((0, 2_147_483_647)));
    }

    #[test]
    fn ids_with_a_name_are_found_in_a_range() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# x:x:5:5\nprn:x:2000000001:100::/:/bin/false\nbroken:x\n";
        let ids: BTreeSet<_> = parse_ids(passwd, &[2, 3])
            .into_iter()
            .map(|(_, id)| id)
            .collect();
        assert_eq!(ids, BTreeSet::from([0, 100, 2_000_000_001]));
        assert_eq!(named_id_in(&ids, 2_000_000_000, 4096), Some(2_000_000_001));
        assert_eq!(named_id_in(&ids, 2_000_000_002, 4096), None);
        assert_eq!(named_id_in(&ids, 2_000_000_001, 0), None);
    }

    #[test]
    fn file_systems_without_a_device_tell_what_they_are_on() {
        let mounts = parse_mountinfo(UNIFIED);
        assert_eq!(
            backing(&mounts[2]),
            Some(Backing::Device("/dev/mapper/data".into()))
        );
        assert_eq!(backing(&mounts[3]), None);
        let overlay = "50 22 0:40 / / rw - overlay overlay rw,lowerdir=/l1:/l2,upperdir=/data/up,workdir=/data/work";
        assert_eq!(
            backing(&parse_mountinfo(overlay)[0]),
            Some(Backing::Folder("/data/up".into()))
        );
        assert_eq!(
            mount_of(Path::new("/home/x"), &mounts).unwrap().path,
            Path::new("/home")
        );
        assert_eq!(
            mount_of(Path::new("/homes"), &mounts).unwrap().path,
            Path::new("/")
        );
    }
}
