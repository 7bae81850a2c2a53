//! File systems of a network: what the kernel says of its mounts is replaced by a text of the test's.

use agent_shell_core::ErrorKind;
use agent_shell_tests::disk::{Event, FaultLibrary, HostProcess, Setting};

use super::life::{folder, library, program};
use super::{SOON, limits};

/// Opens a host where everything lies on a file system of this type, as the kernel would say it.
fn opens_on(kind: &str) -> Event {
    let (_folder, journal) = folder();
    let (table, report) = (journal.with_extension("mounts"), journal.with_extension("report"));
    std::fs::write(&table, format!("21 1 0:19 / / rw,relatime shared:1 - {kind} server:/export rw\n"))
        .unwrap();
    let mut program = program();
    library().mounts(&mut program, &table, &report);
    let setting = Setting { journal: journal.clone(), limits: limits(), checkpoint_pages: None };
    let mut host = HostProcess::start(program, &setting).unwrap();
    let opened = host.hear(SOON).unwrap().expect("a host says whether it opened");
    let (status, errors) = host.end().unwrap();
    assert!(status.success() && !errors.contains("panicked"), "{status}: {errors}");
    assert!(FaultLibrary::report(&report).0 > 0, "the kernel's word must have been replaced");
    assert!(opened == Event::Opened || !journal.exists(), "nothing is made where it is refused");
    opened
}

#[test]
fn network_file_systems_are_refused_with_what_to_do() {
    let network = "nfs nfs4 cifs smb3 smbfs 9p virtiofs vboxsf afs coda ceph lustre gpfs beegfs gfs2 ocfs2 orangefs \
                   glusterfs acfs panfs wekafs moosefs fuse fuse.glusterfs fuse.sshfs fuse.s3fs fuse.rclone fuse.juicefs \
                   fuse.unheard-of";
    for kind in network.split(' ') {
        let opened = opens_on(kind);
        let Event::Failed { message, .. } = &opened else { panic!("{kind}: {opened:?}") };
        assert!(opened.is(ErrorKind::Unsupported), "{kind}: {opened:?}");
        assert!(message.contains(kind) && message.contains("put it on a local disk"), "{message}");
    }
    for kind in ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs", "fuseblk"] {
        assert_eq!(opens_on(kind), Event::Opened, "{kind}");
    }
}
