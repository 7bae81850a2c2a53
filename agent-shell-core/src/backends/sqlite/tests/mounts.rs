//! Which file systems are taken for a network's.

use std::path::Path;

use crate::backends::sqlite::mounts::{in_table, is_network};

const TABLE: &str = "\
22 27 0:21 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:22 / /proc rw - proc proc rw
30 22 0:40 / /home rw,relatime shared:7 master:2 - nfs4 server:/home rw,vers=4.2
31 30 8:1 / /home/local rw - xfs /dev/sda1 rw
32 22 0:41 / /mnt/with\\040blank rw - fuse.sshfs me@host: rw
33 22 8:2 / /mnt/over rw - ext4 /dev/sdb1 rw
34 22 0:42 / /mnt/over rw - cifs //server/share rw
35 22 8:3 / /srv/data/fast rw - ext4 /dev/sdc1 rw
36 22 0:43 / /srv/data rw - nfs4 server:/data rw
37 36 8:4 / /srv/data/near rw - xfs /dev/sdd1 rw
38 33 0:44 / /mnt/over/below rw - nfs4 server:/below rw
";

fn check(path: &str, expected: &str) {
    let found = in_table(TABLE, Path::new(path));
    assert_eq!(found.as_deref(), Some(expected), "the file system of {path}");
}

#[test]
fn the_deepest_mount_that_holds_a_path_counts() {
    check("/var/lib/shell.db", "ext4");
    check("/home/ada/shell.db", "nfs4");
    check("/home/local/shell.db", "xfs");
    check("/homework/shell.db", "ext4");
}

#[test]
fn a_mount_over_another_hides_it() {
    check("/mnt/over/shell.db", "cifs");
    check("/mnt/over/below/shell.db", "cifs");
    check("/srv/data/fast/shell.db", "nfs4");
    check("/srv/data/near/shell.db", "xfs");
}

#[test]
fn names_with_blanks_are_read() {
    check("/mnt/with blank/shell.db", "fuse.sshfs");
}

#[test]
fn networks_are_told_from_local_disks() {
    for kind in ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "fuse", "fuse.sshfs", "fuse.s3fs"] {
        assert!(is_network(kind), "{kind} is a network's");
    }
    for kind in ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "fuseblk", "fuse.fuse-overlayfs"]
    {
        assert!(!is_network(kind), "{kind} is local");
    }
}
