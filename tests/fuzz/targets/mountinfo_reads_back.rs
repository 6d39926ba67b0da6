//! Mounts that the kernel writes to /proc/self/mountinfo are read back whole, whatever bytes users
//! put into names; the server's own group is never found outside of the cgroup2 mount; and any
//! other text is read without panic.
#![no_main]

#[path = "../../../supervisor/launch/src/host.rs"]
#[allow(dead_code)]
mod host;

use std::path::{Component, Path};

use host::{
    CgroupMount, cgroup_path, cgroup2_mount, parse_controllers, parse_kernel, parse_mountinfo,
    parse_own_cgroup,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use prn_fuzz::bounded;

#[derive(Debug, Arbitrary)]
enum Case<'a> {
    Mounts(Vec<Mount<'a>>),
    Own { root: &'a str, group: &'a str },
    Text(&'a str),
}

#[derive(Debug, Arbitrary)]
struct Mount<'a> {
    device: (u32, u32),
    root: &'a str,
    path: &'a str,
    read_only: bool,
    optional: u8,
    is_cgroup2: bool,
    source: &'a str,
    super_options: u8,
}

fuzz_target!(|case: Case| {
    match case {
        Case::Mounts(mounts) => {
            // The kernel's strings end at a NUL; a source is never empty ("none").
            let mounts: Vec<_> = mounts
                .into_iter()
                .filter(|mount| {
                    ![mount.root, mount.path, mount.source]
                        .iter()
                        .any(|text| text.contains('\0'))
                })
                .filter(|mount| !mount.source.is_empty())
                .collect();
            let text: String = mounts.iter().map(Mount::line).collect();
            let read = bounded(text.len(), 64, || parse_mountinfo(&text));
            assert_eq!(read.len(), mounts.len());
            for (mount, read) in mounts.iter().zip(&read) {
                assert_eq!(read.device, mount.device);
                assert_eq!(
                    (&read.root, read.path.to_str()),
                    (&mount.root(), Some(&*mount.path()))
                );
                assert_eq!(read.kind == "cgroup2", mount.is_cgroup2);
                assert_eq!(read.source, mount.source);
            }
            let found = cgroup2_mount(&read);
            assert_eq!(found.is_some(), mounts.iter().any(|mount| mount.is_cgroup2));
            if let Some(found) = found {
                let of = |mount: &&Mount| mount.is_cgroup2 && mount.root() == found.root;
                let first = mounts.iter().find(of).expect("one of them");
                assert_eq!(found.path.to_str(), Some(&*first.path()));
                assert_eq!(found.read_only, first.read_only);
            }
        }
        Case::Own { root, group } => {
            let mount = CgroupMount {
                path: "/sys/fs/cgroup".into(),
                root: format!("/{root}"),
                read_only: false,
            };
            let text = format!("1:name=systemd:/x\n0::/{group}\n");
            let group = parse_own_cgroup(&text).expect("a version 2 line");
            if let Some(path) = cgroup_path(&mount, group) {
                assert!(path.starts_with("/sys/fs/cgroup"));
                assert!(path.components().all(|part| part != Component::ParentDir));
                assert!(Path::new(group).starts_with(&mount.root));
            }
        }
        Case::Text(text) => bounded(text.len(), 64, || {
            for mount in parse_mountinfo(text) {
                assert!(text.contains(&mount.kind));
            }
            parse_own_cgroup(text);
            parse_controllers(text);
            parse_kernel(text);
        }),
    }
});

impl Mount<'_> {
    fn root(&self) -> String {
        format!("/{}", self.root)
    }

    fn path(&self) -> String {
        format!("/{}", self.path)
    }

    /// As show_mountinfo of the kernel's fs/proc_namespace.c writes it.
    fn line(&self) -> String {
        let optional = [
            "",
            " shared:1",
            " shared:1 master:2",
            " unbindable",
            " propagate_from:3",
        ];
        let super_options = [
            "rw",
            "rw,nsdelegate",
            "rw,subvol=/@home",
            "rw,lowerdir=/a:/b,upperdir=/c",
        ];
        format!(
            "22 1 {}:{} {} {} {}{} - {} {} {}\n",
            self.device.0,
            self.device.1,
            escaped(&self.root(), " \t\n\\"),
            escaped(&self.path(), " \t\n\\"),
            if self.read_only {
                "ro,nosuid"
            } else {
                "rw,nosuid"
            },
            optional[usize::from(self.optional) % optional.len()],
            if self.is_cgroup2 { "cgroup2" } else { "btrfs" },
            escaped(self.source, " \t\n\\#"),
            super_options[usize::from(self.super_options) % super_options.len()],
        )
    }
}

/// seq_escape of the kernel: these as three octal digits after a backslash.
fn escaped(text: &str, which: &str) -> String {
    let one = |c: char| {
        if which.contains(c) {
            format!("\\{:03o}", u32::from(c))
        } else {
            c.to_string()
        }
    };
    text.chars().map(one).collect()
}
