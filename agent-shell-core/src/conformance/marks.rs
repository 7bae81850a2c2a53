//! Marks: one for each group and session, and only upwards.

use super::StoreFixture;
use super::scene::{ALL, Scene, unique};
use crate::ports::HighWater;
use crate::words::{GroupName, SessionId};

fn group(name: &str) -> GroupName {
    GroupName::new(name).expect("the suite's groups have valid names")
}

fn mark(done: u64, seen: u64) -> HighWater {
    HighWater { done, seen }
}

impl Scene<'_> {
    pub(super) async fn save_marks(&self, name: &str, marks: &[(SessionId, HighWater)]) {
        let saved = self.store.marks.save(&group(name), marks).await;
        assert_eq!(saved, Ok(()), "a store must save marks");
    }

    pub(super) async fn marks(&self, name: &str, sessions: &[SessionId]) -> Vec<HighWater> {
        self.store.marks.load(&group(name), sessions).await.expect("a store must load marks")
    }

    async fn behind(
        &self,
        name: &str,
        after: Option<SessionId>,
        limit: usize,
    ) -> Vec<(SessionId, HighWater)> {
        self.store.marks.behind(&group(name), after, limit).await.expect("a store must tell who is behind")
    }
}

/// Marks are kept by group and session; one that was never saved is zero.
pub async fn marks_are_kept_by_group_and_session(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let (a, b, c): (SessionId, SessionId, SessionId) = (unique(), unique(), unique());
    scene.save_marks("one", &[(a, mark(1, 2)), (b, mark(3, 3))]).await;
    scene.save_marks("two", &[(a, mark(7, 9))]).await;
    let one = scene.marks("one", &[c, b, a]).await;
    assert_eq!(one, [mark(0, 0), mark(3, 3), mark(1, 2)], "marks must come in the order that was asked for");
    assert_eq!(scene.marks("two", &[a, b]).await, [mark(7, 9), mark(0, 0)], "groups must not share marks");
    assert_eq!(scene.marks("three", &[]).await, [], "nothing was asked for");
}

/// Each number of a mark only grows.
pub async fn marks_only_rise(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let session: SessionId = unique();
    let saves = [((2, 5), (2, 5)), ((1, 7), (2, 7)), ((4, 6), (4, 7)), ((0, 0), (4, 7)), ((9, 9), (9, 9))];
    for ((done, seen), (kept_done, kept_seen)) in saves {
        scene.save_marks("group", &[(session, mark(done, seen))]).await;
        let kept = scene.marks("group", &[session]).await;
        assert_eq!(kept, [mark(kept_done, kept_seen)], "each number of a mark must only grow");
    }
}

/// The sessions of which a group has seen more than it has done are listed, in pages.
pub async fn who_is_behind_is_listed(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut sessions: Vec<SessionId> = (0..6).map(|_| unique()).collect();
    sessions.reverse();
    for (&session, done) in sessions.iter().zip(0..) {
        scene.save_marks("group", &[(session, mark(done, 3))]).await;
        scene.save_marks("other", &[(session, mark(0, 9))]).await;
    }
    let mut expected: Vec<_> = sessions[..3].iter().zip(0..).map(|(id, done)| (*id, mark(done, 3))).collect();
    expected.sort_by_key(|(session, _)| *session);
    assert_eq!(scene.behind("group", None, ALL).await, expected, "who is behind must be listed, by id");
    let first = scene.behind("group", None, 2).await;
    assert_eq!(first, expected[..2], "a page must hold no more than asked");
    let rest = scene.behind("group", Some(first[1].0), 2).await;
    assert_eq!(rest, expected[2..], "the next page must follow");
    scene.save_marks("group", &[(expected[0].0, mark(3, 0))]).await;
    assert_eq!(scene.behind("group", None, ALL).await, expected[1..], "who has caught up must not be listed");
}

/// Marks outlive a reopening.
pub async fn marks_outlive_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let (a, b): (SessionId, SessionId) = (unique(), unique());
    scene.save_marks("group", &[(a, mark(4, 4)), (b, mark(1, 2))]).await;
    let scene = scene.reopened().await;
    assert_eq!(
        scene.marks("group", &[a, b]).await,
        [mark(4, 4), mark(1, 2)],
        "marks must outlive a reopening"
    );
    assert_eq!(scene.behind("group", None, ALL).await, [(b, mark(1, 2))], "and so must what is owed");
}
