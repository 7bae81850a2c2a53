//! The outbox: rows in the order of commits, until they are acknowledged and trimmed.

use super::StoreFixture;
use super::scene::{ALL, Scene, unique};
use super::writer::envelope;
use crate::ports::{Append, AppendError, OutboxItem, OutboxPosition};
use crate::words::Timestamp;

fn positions(rows: &[OutboxItem]) -> Vec<OutboxPosition> {
    rows.iter().map(|row| row.position).collect()
}

fn sequences(rows: &[OutboxItem]) -> Vec<u64> {
    rows.iter().map(|row| row.outgoing.sequence).collect()
}

/// Rows of all sessions are pending in the order of their commits, in pages.
pub async fn rows_are_pending_in_the_order_of_commits(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writers = [scene.owned().await, scene.owned().await];
    let mut written = Vec::new();
    for (turn, count) in [(0, 2), (1, 1), (0, 1), (1, 3)] {
        let append = writers[turn].envelopes(count);
        written.extend(append.outbox.iter().map(|outgoing| (append.session, outgoing.clone())));
        writers[turn].write(&scene.store, append).await;
    }
    let all = scene.pending().await;
    let read: Vec<_> = all.iter().map(|row| (row.session, row.outgoing.clone())).collect();
    assert_eq!(read, written, "rows must be pending in the order of their commits, as they were written");
    assert!(positions(&all).is_sorted_by(|one, two| one < two), "a later row must have a higher position");
    assert!(all[0].position > OutboxPosition::default(), "position zero stands before the first row");
    let mut paged: Vec<OutboxItem> = Vec::new();
    while paged.len() < all.len() {
        let after = paged.last().map_or_else(OutboxPosition::default, |row| row.position);
        let page = scene.store.outbox.pending(after, 3).await.expect("an outbox must answer");
        assert!((1..=3).contains(&page.len()), "a page must hold something, and no more than asked");
        paged.extend(page);
    }
    assert_eq!(paged, all, "pages must hold every row once");
}

/// Acknowledged rows are pending no more, up to and including the position; later ones are.
pub async fn acknowledged_rows_are_pending_no_more(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let append = writer.envelopes(4);
    writer.write(&scene.store, append).await;
    let all = scene.pending().await;
    for acknowledged in [1, 1, 3, 2] {
        let through = all[acknowledged - 1].position;
        assert_eq!(
            scene.store.outbox.acknowledge(through).await,
            Ok(()),
            "a row may be acknowledged, also again"
        );
    }
    assert_eq!(scene.pending().await, all[3..], "what is acknowledged must be pending no more");
    let from_start = scene.store.outbox.pending(all[0].position, ALL).await;
    assert_eq!(from_start.as_deref(), Ok(&all[3..]), "also for who asks from an earlier position");
}

/// A row that is written after an acknowledgement is pending, however far that reached.
pub async fn later_rows_are_not_acknowledged(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let append = writer.envelopes(1);
    writer.write(&scene.store, append).await;
    let last = scene.pending().await[0].position;
    for through in [last, OutboxPosition(last.0 + 5)] {
        assert_eq!(scene.store.outbox.acknowledge(through).await, Ok(()), "rows may be acknowledged");
        assert_eq!(scene.pending().await, [], "all rows are acknowledged");
        let append = writer.envelopes(1);
        writer.write(&scene.store, append).await;
        let pending = sequences(&scene.pending().await);
        assert_eq!(pending, [writer.sequence], "a row to come must not be acknowledged with earlier ones");
        let through = scene.pending().await[0].position;
        assert_eq!(scene.store.outbox.acknowledge(through).await, Ok(()), "rows may be acknowledged");
    }
}

/// A session's rows can be read again from any sequence, acknowledged or not.
pub async fn a_sessions_rows_are_replayed(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut one = scene.owned().await;
    let mut two = scene.owned().await;
    for _ in 0..3 {
        let append = one.envelopes(2);
        one.write(&scene.store, append).await;
        let append = two.envelopes(1);
        two.write(&scene.store, append).await;
    }
    let third = scene.pending().await[2].position;
    assert_eq!(scene.store.outbox.acknowledge(third).await, Ok(()), "rows may be acknowledged");
    for (sequence, limit, expected) in
        [(1, ALL, &[1, 2, 3, 4, 5, 6][..]), (0, 2, &[1, 2]), (2, 3, &[2, 3, 4]), (6, 9, &[6]), (7, 9, &[])]
    {
        let rows =
            scene.store.outbox.replay(one.session, sequence, limit).await.expect("an outbox must answer");
        assert_eq!(
            sequences(&rows),
            expected,
            "a replay from {sequence} must hold the session's rows in order"
        );
        assert!(rows.iter().all(|row| row.session == one.session), "a replay must hold one session's rows");
    }
    let unknown = scene.store.outbox.replay(unique(), 1, ALL).await;
    assert_eq!(unknown, Ok(Vec::new()), "an unknown session has no rows");
}

/// Rows that are not trimmed can be read in the order of their commits, acknowledged or not.
pub async fn kept_rows_are_read_acknowledged_or_not(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writers = [scene.owned().await, scene.owned().await];
    for turn in [0, 1, 1, 0] {
        let append = writers[turn].envelopes(2);
        writers[turn].write(&scene.store, append).await;
    }
    let outbox = &scene.store.outbox;
    let all = scene.pending().await;
    assert_eq!(outbox.acknowledge(all[4].position).await, Ok(()), "rows may be acknowledged");
    let kept = |after: OutboxPosition, limit| outbox.kept(after, limit);
    assert_eq!(kept(OutboxPosition::default(), ALL).await.as_ref(), Ok(&all), "acknowledged rows are kept");
    assert_eq!(kept(all[1].position, 4).await.as_deref(), Ok(&all[2..6]), "in pages");
    assert_eq!(kept(all[7].position, ALL).await, Ok(Vec::new()), "up to the last");
    let trimmed = outbox.trim(Timestamp::from_millis(u64::MAX >> 12)).await;
    assert_eq!(trimmed, Ok(5), "what is acknowledged may go");
    let left = kept(OutboxPosition::default(), ALL).await;
    assert_eq!(left.as_deref(), Ok(&all[5..]), "what was trimmed is kept no more");
}

/// An entry tells the sequence of the session's last envelope, also when its row is gone.
pub async fn an_entry_tells_the_last_sequence(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    assert_eq!(scene.entry(writer.session).await.sequence, 0, "nothing was written yet");
    for expected in [2, 4] {
        let append = writer.envelopes(2);
        writer.write(&scene.store, append).await;
        assert_eq!(scene.entry(writer.session).await.sequence, expected, "the last one must be told");
        let rows = scene.pending().await;
        let last = rows.last().map_or_else(OutboxPosition::default, |row| row.position);
        assert_eq!(scene.store.outbox.acknowledge(last).await, Ok(()), "rows may be acknowledged");
        let trimmed = scene.store.outbox.trim(Timestamp::from_millis(u64::MAX >> 12)).await;
        assert_eq!(trimmed, Ok(2), "all rows are old");
        assert_eq!(scene.entry(writer.session).await.sequence, expected, "also when its row is gone");
        let claimed = scene.take(writer.fence.owner, writer.session).await;
        assert_eq!(claimed.sequence, expected, "an owner must learn it with its claim");
        writer = claimed;
    }
}

/// Only rows that are acknowledged and old are trimmed.
pub async fn only_old_acknowledged_rows_are_trimmed(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let mut append = writer.envelopes(5);
    for (row, written) in append.outbox.iter_mut().zip([10, 30, 20, 10, 10]) {
        row.written = Timestamp::from_millis(written);
    }
    writer.write(&scene.store, append).await;
    let outbox = &scene.store.outbox;
    let all = scene.pending().await;
    assert_eq!(outbox.trim(Timestamp::from_millis(99)).await, Ok(0), "what is not acknowledged must stay");
    assert_eq!(outbox.acknowledge(all[3].position).await, Ok(()), "rows may be acknowledged");
    assert_eq!(outbox.trim(Timestamp::from_millis(20)).await, Ok(2), "acknowledged rows from before must go");
    let left = outbox.replay(writer.session, 1, ALL).await.expect("an outbox must answer");
    assert_eq!(sequences(&left), [2, 3, 5], "what is younger or not acknowledged must stay");
    assert_eq!(sequences(&scene.pending().await), [5], "what is not acknowledged must stay pending");
    assert_eq!(outbox.trim(Timestamp::from_millis(31)).await, Ok(2), "they must go when their time has come");
    assert_eq!(sequences(&scene.pending().await), [5], "what is not acknowledged must stay pending");
}

/// A session's envelopes have contiguous sequences from 1; an append that breaks this is refused.
pub async fn a_gap_in_the_outbox_is_refused(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    for (before, sequences) in
        [(0, vec![2]), (0, vec![0]), (2, vec![2]), (2, vec![4]), (2, vec![3, 5]), (2, vec![4, 3])]
    {
        if writer.sequence < before {
            let append = writer.envelopes(before);
            writer.write(&scene.store, append).await;
        }
        let outbox = sequences.iter().map(|&sequence| envelope(writer.session, sequence)).collect();
        let answer = scene.append(Append { outbox, ..writer.append(["gap"]) }).await;
        let corrupt = matches!(answer, Err(AppendError::Corrupt { .. }));
        assert!(corrupt, "sequences {sequences:?} after {before} must be refused as Corrupt, not {answer:?}");
        assert_eq!(scene.entry(writer.session).await.head, writer.head, "and nothing of the append be kept");
    }
    let append = writer.envelopes(2);
    writer.write(&scene.store, append).await;
    assert_eq!(
        sequences(&scene.pending().await),
        [1, 2, 3, 4],
        "a refused append must not use up a sequence"
    );
}

/// Sequences and positions go on after all rows were trimmed.
pub async fn sequences_go_on_after_a_trim(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut writer = scene.owned().await;
    let append = writer.envelopes(3);
    writer.write(&scene.store, append).await;
    let last = scene.pending().await[2].position;
    assert_eq!(scene.store.outbox.acknowledge(last).await, Ok(()), "rows may be acknowledged");
    assert_eq!(
        scene.store.outbox.trim(Timestamp::from_millis(u64::MAX >> 12)).await,
        Ok(3),
        "all rows are old"
    );
    let outbox = vec![envelope(writer.session, 1)];
    let answer = scene.append(Append { outbox, ..writer.append(["again"]) }).await;
    let corrupt = matches!(answer, Err(AppendError::Corrupt { .. }));
    assert!(corrupt, "a trim must not let sequences begin again: {answer:?}");
    let append = writer.envelopes(1);
    writer.write(&scene.store, append).await;
    let pending = scene.pending().await;
    assert_eq!(sequences(&pending), [4], "the next sequence must follow the trimmed ones");
    assert!(pending[0].position > last, "a position must not be used again");
}
