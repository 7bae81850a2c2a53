//! Whether a path lies on a file system of a network, where SQLite's locks and syncs can't be relied on.

use std::path::Path;

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

/// Finds a path in the text of /proc/self/mountinfo (proc_pid_mountinfo(5)): of the mounts that hold it the deepest,
/// and of those the latest, which covers the others.
pub(super) fn in_table(table: &str, path: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in table.lines() {
        let (mount, kind) = line.split_once(" - ")?;
        let point = unescaped(mount.split(' ').nth(4)?);
        let depth = Path::new(&point).components().count();
        if path.starts_with(&point) && best.is_none_or(|(deepest, _)| depth >= deepest) {
            best = Some((depth, kind.split(' ').next()?));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
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
