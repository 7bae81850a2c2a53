//! What is too large to come back in one transaction does not leave.

use super::records::Handles;
use super::run;
use crate::conformance::Scene;
use crate::ports::{ArchiveError, Archived, Blob, Mark};
use crate::words::{Digest, Seq, Timestamp};

#[test]
fn what_could_not_come_back_does_not_leave() {
    run(async {
        let handles = Handles::new();
        let scene = Scene::new(&handles).await;
        for (bytes, leaves) in [(1 << 19, true), (1 << 20, false)] {
            let mut writer = scene.owned().await;
            let mut append = writer.append(["one"]);
            let sealed = vec![7; bytes];
            append.blobs = vec![Blob { address: Digest::of(&sealed), sealed }];
            append.mark = Some(Mark::default());
            writer.write(&scene.store, append).await;
            let session = writer.session;
            let held = vec![(session, writer.fence.epoch)];
            scene.store.ownership.release(writer.fence.owner, held).await.unwrap();
            let archived =
                Archived { head: writer.head, at: Timestamp::from_millis(1), file: Digest::of("the file") };
            let left = scene.store.archive.archive(session, writer.head, archived).await;
            match left {
                Ok(()) => assert!(leaves, "the body comes on top of {bytes} bytes"),
                Err(ArchiveError::TooLarge { bytes: all, allowed }) => {
                    assert!(!leaves && all > bytes && allowed == 1 << 20, "{all} of {allowed}");
                    let records = scene.store.journal.read(session, Seq::ZERO, 9).await.unwrap();
                    assert_eq!(records.len(), 1, "nothing was changed");
                    assert_eq!(scene.store.archive.blobs(session, None, 9).await.unwrap().len(), 1);
                }
                Err(error) => panic!("{bytes} bytes: {error}"),
            }
        }
    });
}
