//! Whether a path lies on a file system of a network, where SQLite's locks and syncs can't be relied on.

use std::path::{Path, PathBuf};

/// Types that the kernel serves from another machine, or shares with one.
const NETWORK: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb",
    "smb2",
    "smb3",
    "smbfs",
    "9p",
    "virtiofs",
    "vboxsf",
    "prl_fs",
    "afs",
    "coda",
    "ncpfs",
    "ceph",
    "lustre",
    "gpfs",
    "beegfs",
    "gfs2",
    "ocfs2",
    "pvfs2",
    "orangefs",
    "davfs",
    "glusterfs",
    "acfs",
    "panfs",
    "wekafs",
    "moosefs",
];

/// FUSE file systems that lie on a local disk; every other one is taken for a network's.
const LOCAL_FUSE: &[&str] = &[
    "fuseblk",
    "fuse.ntfs-3g",
    "fuse.fuse-overlayfs",
    "fuse.bindfs",
    "fuse.gocryptfs",
    "fuse.encfs",
    "fuse.cryfs",
    "fuse.mergerfs",
    "fuse.zfs-fuse",
    "fuse.ext4",
    "fuse.exfat",
];

/// Looks up the type of the file system under a path.
pub(super) type FileSystemOf = fn(&Path) -> Option<String>;

/// The type of the file system under a canonical path, as the kernel tells it. None where it can't be told.
pub(super) fn file_system_of(path: &Path) -> Option<String> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    in_table(&String::from_utf8_lossy(&table), path)
}

/// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
struct Mount<'a> {
    id: &'a str,
    parent: &'a str,
    point: PathBuf,
    kind: &'a str,
}

impl<'a> Mount<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (mount, rest) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (id, parent) = (fields.next()?, fields.next()?);
        let point = PathBuf::from(unescaped(fields.nth(2)?));
        Some(Self { id, parent, point, kind: rest.split(' ').next()? })
    }

    fn depth(&self) -> usize {
        self.point.components().count()
    }
}

/// Finds a path in the text of /proc/self/mountinfo as the kernel walks it: from a root to the mount that is met first on
/// the way, and from there on, so that what a later mount hides is not found. Of two at one place the later counts.
pub(super) fn in_table(table: &str, path: &Path) -> Option<String> {
    let mounts: Vec<Mount<'_>> = table.lines().filter_map(Mount::read).collect();
    let holding = || mounts.iter().filter(|mount| path.starts_with(&mount.point));
    let has_parent =
        |mount: &Mount<'_>| mounts.iter().any(|other| other.id == mount.parent && other.id != mount.id);
    let mut found = holding().filter(|mount| !has_parent(mount)).max_by_key(|mount| mount.depth())?;
    for _ in 0..mounts.len() {
        let children = holding().filter(|mount| mount.parent == found.id && mount.id != found.id);
        // Of equals `min_by_key` returns the first.
        match children.rev().min_by_key(|mount| mount.depth()) {
            Some(child) => found = child,
            None => break,
        }
    }
    Some(found.kind.to_owned())
}

/// Whether a file system of this type is refused.
pub(super) fn is_network(kind: &str) -> bool {
    NETWORK.contains(&kind) || kind.starts_with("fuse") && !LOCAL_FUSE.contains(&kind)
}

/// The table writes blanks, tabs, line ends and backslashes as a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}
