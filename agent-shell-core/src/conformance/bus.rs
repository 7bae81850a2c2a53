//! The bus: messages in order, handed to every group until they are committed, and never lost for want of room.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;

use super::BusFixture;
use super::bus_scene::{Place, commit, finds_nothing, fresh_topic, group, poll, sorted, texts};
use super::concurrency::spawn;
use crate::ports::{At, BusError, Delivery, Lag, Peeked, route};
use crate::words::Timestamp;

/// A topic that was not opened takes and gives nothing; one that is opened again is the same.
pub async fn a_topic_must_be_opened(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let (bus, other) = (&place.bus, fresh_topic());
    let refused = |answer: Option<BusError>| {
        let refused = matches!(answer, Some(BusError::NoTopic { .. }));
        assert!(refused, "a topic that was not opened must be refused as NoTopic, not {answer:?}");
    };
    refused(bus.publish(&other, place.messages(["a"])).await.err());
    refused(bus.peek(&other, 0, At::Last).await.err());
    refused(bus.join(&other, &group("group")).await.err());
    refused(bus.lag(&other, &group("group")).await.err());
    refused(bus.peek(&place.topic, place.partitions, At::Last).await.err());
    place.publish(&place.messages(["a"])).await;
    assert_eq!(
        bus.open(&place.topic).await,
        Ok(place.partitions),
        "a topic that is there is opened as it is"
    );
    assert_eq!(place.lag("group").await.messages, 1, "and keeps what is in it");
}

/// Messages come as they were published, in the partition of their key, those of a key in their order.
pub async fn messages_of_a_key_keep_their_order(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let keys = ["a", "b", "c", "a", "d", "b", "a", "e", "f", "a"];
    let mut published = Vec::new();
    for _ in 0..4 {
        let messages = place.messages(keys);
        place.publish(&messages).await;
        published.extend(messages);
    }
    let mut member = place.join("group").await;
    let read = place.drain(&mut member, published.len()).await;
    let mut by_partition: BTreeMap<u32, Vec<&Delivery>> = BTreeMap::new();
    for delivery in &read {
        let partition = route(&delivery.message.key, place.partitions);
        assert_eq!(delivery.partition, partition, "a message must go to the partition of its key");
        by_partition.entry(partition).or_default().push(delivery);
    }
    for (partition, read) in by_partition {
        let expected: Vec<_> =
            published.iter().filter(|message| route(&message.key, place.partitions) == partition).collect();
        let messages: Vec<_> = read.iter().map(|delivery| &delivery.message).collect();
        assert_eq!(messages, expected, "a partition must hold its messages in order, as they were published");
        let contiguous = read.windows(2).all(|pair| pair[1].offset == pair[0].offset + 1);
        assert!(contiguous, "offsets of a partition must follow one another");
    }
}

/// What a member read and did not commit is read again, by it and by whoever comes after it.
pub async fn what_is_not_committed_comes_again(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let messages = place.messages(["a", "b", "c", "d"]);
    place.publish(&messages).await;
    let mut member = place.join("group").await;
    let first = poll(&mut member, 100).await;
    assert_eq!(poll(&mut member, 100).await, first, "a member must be handed again what it did not commit");
    drop(member);
    let mut next = place.join("group").await;
    let again = place.drain(&mut next, messages.len()).await;
    assert_eq!(texts(&again), sorted(&messages), "and so must the next member");
}

/// What was committed does not come again; what follows does.
pub async fn what_is_committed_does_not_come_again(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let messages = place.messages(["a", "a", "a", "a"]);
    place.publish(&messages).await;
    let mut member = place.join("group").await;
    let read = poll(&mut member, 100).await;
    commit(&mut member, &read[..2]).await;
    assert_eq!(poll(&mut member, 100).await, read[2..], "what follows a commit must come");
    drop(member);
    let mut member = place.join("group").await;
    assert_eq!(poll(&mut member, 100).await, read[2..], "also to the next member");
    commit(&mut member, &read[2..]).await;
    assert!(finds_nothing(&mut member).await, "what is committed must not come again");
}

/// A commit that is behind another changes nothing.
pub async fn a_commit_does_not_go_back(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    place.publish(&place.messages(["a", "a", "a"])).await;
    let mut member = place.join("group").await;
    let read = poll(&mut member, 100).await;
    commit(&mut member, &read[..2]).await;
    commit(&mut member, &read[..1]).await;
    assert_eq!(poll(&mut member, 100).await, read[2..], "a commit must not go back");
}

/// Every group gets every message, whatever the others do.
pub async fn groups_read_for_themselves(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let (mut one, mut two) = (place.join("one").await, place.join("two").await);
    let messages = place.messages(["a", "b", "c"]);
    place.publish(&messages).await;
    assert_eq!(texts(&place.drain(&mut one, 3).await), sorted(&messages), "a group must get every message");
    assert_eq!(place.lag("two").await.messages, 3, "what one group commits must stay for the other");
    assert_eq!(texts(&place.drain(&mut two, 3).await), sorted(&messages), "and so must the other");
}

/// A group that joins late begins with what the bus still has, and that is what no group has committed at least.
pub async fn a_group_begins_with_what_is_there(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let messages = place.messages(["a", "b", "c"]);
    place.publish(&messages).await;
    let mut late = place.join("late").await;
    assert_eq!(texts(&place.drain(&mut late, 3).await), sorted(&messages), "nothing was committed before it");
}

/// Each partition is one member's at a time, and all of them are somebody's.
pub async fn members_share_the_partitions(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let all: Vec<u32> = (0..place.partitions).collect();
    let one = place.join("group").await;
    assert_eq!(one.assigned(), all, "a member alone must have all partitions");
    let two = place.join("group").await;
    let mut both = [one.assigned(), two.assigned()].concat();
    both.sort();
    assert_eq!(both, all, "two members must share the partitions");
    assert!(place.partitions < 2 || !two.assigned().is_empty(), "and each must have some");
    drop(one);
    assert_eq!(two.assigned(), all, "who stays must have all partitions again");
    assert_eq!(place.join("other").await.assigned(), all, "another group must have its own");
}

/// A member can't commit for a partition that is another's by now.
pub async fn a_commit_needs_the_partition(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let keys: Vec<String> = (0..8 * place.partitions).map(|key| key.to_string()).collect();
    let messages = place.messages(keys.iter().map(String::as_str));
    place.publish(&messages).await;
    let mut old = place.join("group").await;
    let read = poll(&mut old, messages.len()).await;
    let mut new = place.join("group").await;
    let Some(taken) = new.assigned().first().copied() else { return };
    let offsets: Vec<_> = read.iter().map(|delivery| (delivery.partition, delivery.offset)).collect();
    let refused = old.commit(&offsets).await;
    let refused =
        matches!(refused, Err(BusError::NotAssigned { partition }) if new.assigned().contains(&partition));
    assert!(refused, "a commit for another member's partition must be refused");
    let left = poll(&mut new, messages.len()).await;
    assert!(
        left.iter().any(|delivery| delivery.partition == taken),
        "what was refused must come to the other"
    );
    let kept = old.assigned();
    assert!(left.iter().all(|delivery| !kept.contains(&delivery.partition)), "and nothing else must");
    assert!(finds_nothing(&mut old).await, "the other partitions of the commit must be committed");
}

/// Who reads an empty topic waits until there is something.
pub async fn a_poll_waits_for_a_message(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let mut member = place.join("group").await;
    assert!(finds_nothing(&mut member).await, "there is nothing to read");
    let reading = spawn(async move { member.poll(10).await });
    let publishing = async {
        tokio::task::yield_now().await;
        place.publish(&place.messages(["a"])).await;
    };
    let (read, ()) = futures::join!(reading, publishing);
    assert_eq!(read.map(|read| texts(&read)), Ok(vec!["a 0".to_owned()]), "a reader must be woken");
}

/// A read that is given up loses nothing.
pub async fn a_dropped_poll_loses_nothing(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let mut member = place.join("group").await;
    assert!(member.poll(10).now_or_never().is_none(), "there is nothing to read");
    let messages = place.messages(["a", "b"]);
    place.publish(&messages).await;
    drop(member.poll(10).now_or_never());
    assert_eq!(texts(&place.drain(&mut member, 2).await), sorted(&messages), "nothing must be lost");
}

/// A read holds no more than was asked for, and by and by everything, whichever partition it stands in.
pub async fn polls_keep_to_their_limit(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let keys: Vec<String> = (0..3 * place.partitions).map(|key| key.to_string()).collect();
    let messages = place.messages(keys.iter().map(String::as_str));
    place.publish(&messages).await;
    let mut member = place.join("group").await;
    let mut all = Vec::new();
    while all.len() < messages.len() {
        let read = poll(&mut member, 2).await;
        assert!((1..=2).contains(&read.len()), "a read must hold something, and no more than asked");
        commit(&mut member, &read).await;
        all.extend(read);
    }
    assert_eq!(texts(&all), sorted(&messages), "reads must hold every message once");
}

/// Whoever publishes can look what stands at a place: the last message always, one that was let go as `Past`, and
/// nothing where nothing was accepted.
pub async fn places_can_be_looked_at(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let partition = route("a", place.partitions);
    assert_eq!(place.peek(partition, At::Last).await, Peeked::Nothing, "nothing was published yet");
    assert_eq!(place.peek(partition, At::Offset(0)).await, Peeked::Nothing, "nothing was published yet");
    let mut member = place.join("group").await;
    let messages = place.messages(["a", "a", "a"]);
    place.publish(&messages).await;
    let read = poll(&mut member, 100).await;
    let last = Peeked::Found(read[2].clone());
    assert_eq!(place.peek(partition, At::Last).await, last, "the last message must be found");
    for delivery in &read {
        let found = place.peek(partition, At::Offset(delivery.offset)).await;
        assert_eq!(found, Peeked::Found(delivery.clone()), "a message must be found at its offset");
    }
    let after = At::Offset(read[2].offset + 1);
    assert_eq!(place.peek(partition, after).await, Peeked::Nothing, "nothing stands after the last message");
    commit(&mut member, &read).await;
    assert_eq!(place.peek(partition, At::Last).await, last, "also when every group has committed it");
    assert_eq!(place.peek(partition, after).await, Peeked::Nothing, "and still nothing after it");
    for delivery in &read {
        let found = place.peek(partition, At::Offset(delivery.offset)).await;
        let known = found == Peeked::Past || found == Peeked::Found(delivery.clone());
        assert!(known, "what was committed must not look lost: {found:?}");
    }
}

/// A call brings no more than the bus says, and one that does leaves nothing.
pub async fn a_batch_is_bounded(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let capabilities = place.bus.capabilities();
    let small = |count: usize| (0..count).map(|_| place.message("a", "")).collect::<Vec<_>>();
    let large = vec![place.message("a", &"x".repeat(capabilities.batch_bytes))];
    for batch in [small(capabilities.batch_messages + 1), large] {
        let refused = place.bus.publish(&place.topic, batch).await;
        assert!(matches!(refused, Err(BusError::TooLarge { .. })), "too much at once must be refused");
        assert_eq!(place.lag("group").await.messages, 0, "and leave nothing");
    }
    place.publish(&small(capabilities.batch_messages)).await;
}

/// A bus that is full refuses, keeps what it has, and goes on when its consumers have committed. A fixture whose bus
/// does not fill says so.
pub async fn a_full_bus_refuses_and_loses_nothing(fixture: &dyn BusFixture) {
    let Some(capacity) = fixture.capacity() else { return };
    let place = Place::of(fixture).await;
    let mut member = place.join("group").await;
    let mut kept = Vec::new();
    let refused = loop {
        let message = place.message("a", &format!("{:08}", kept.len()));
        match place.bus.publish(&place.topic, vec![message.clone()]).await {
            Ok(()) => kept.push(message),
            Err(error) => break error,
        }
        assert!(kept.len() <= capacity, "the fixture says that {capacity} messages fill it");
    };
    assert_eq!(refused, BusError::Full, "a bus without room must say that it is full");
    let read = place.drain(&mut member, kept.len()).await;
    assert_eq!(texts(&read), sorted(&kept), "a full bus must keep what it has, and nothing more");
    place.publish(&place.messages(["b"])).await;
    assert_eq!(place.drain(&mut member, 1).await.len(), 1, "what was committed must make room");
}

/// Lag counts what a group has not committed, and how long ago the oldest of it was written.
pub async fn lag_is_what_is_not_committed(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let mut member = place.join("group").await;
    assert_eq!(place.lag("group").await, Lag::default(), "nothing was published yet");
    let mut messages = place.messages(["a", "a", "a"]);
    let minutes = [9, 7, 3];
    for (message, minutes) in messages.iter_mut().zip(minutes) {
        message.written = Timestamp::from_millis(place.now.as_millis() - minutes * 60_000);
    }
    place.publish(&messages).await;
    let read = poll(&mut member, 100).await;
    for (committed, left) in [(0, 3), (1, 2), (2, 1)] {
        commit(&mut member, &read[..committed]).await;
        let lag = place.lag("group").await;
        let least = Duration::from_secs(60 * minutes[committed]);
        assert_eq!(lag.messages, left, "lag must count what is not committed");
        assert!(lag.time >= least && lag.time < least + Duration::from_secs(60), "{lag:?} is not {least:?}");
    }
    commit(&mut member, &read).await;
    assert_eq!(place.lag("group").await, Lag::default(), "all is committed");
    assert_eq!(
        place.lag("never joined").await.messages > 0,
        place.peek(read[0].partition, At::Offset(read[0].offset)).await != Peeked::Past,
        "a group that never joined has before it what is there"
    );
}

/// What several publish at once is all there, that of each in its order.
pub async fn concurrent_publishers_lose_nothing(fixture: &dyn BusFixture) {
    let place = Place::of(fixture).await;
    let mut member = place.join("group").await;
    let publishers = (0..8).map(|publisher| {
        let key = format!("key {publisher}");
        let batches: Vec<_> = (0..10)
            .map(|batch| {
                (0..4)
                    .map(|place_in| place.message(&key, &format!("{key} {:04}", batch * 4 + place_in)))
                    .collect::<Vec<_>>()
            })
            .collect();
        let (bus, topic) = (place.bus.clone(), place.topic.clone());
        spawn(async move {
            for batch in batches {
                assert_eq!(bus.publish(&topic, batch).await, Ok(()), "there is room for what is published");
            }
        })
    });
    join_all(publishers).await;
    let read = place.drain(&mut member, 8 * 40).await;
    let mut by_key: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for delivery in &read {
        by_key.entry(&delivery.message.key).or_default().push(&delivery.message.payload);
    }
    assert_eq!(by_key.len(), 8, "every publisher's messages must be there");
    for (key, read) in by_key {
        let expected: Vec<_> = (0..40).map(|place| format!("{key} {place:04}").into_bytes()).collect();
        assert_eq!(read, expected, "each publisher's messages must be there once, in order");
    }
}
