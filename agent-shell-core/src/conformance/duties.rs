//! Duties: what one process of a store does for all.

use super::StoreFixture;
use super::scene::{Scene, unique};
use crate::ports::{Duty, OwnershipError};
use crate::words::OwnerId;

impl Scene<'_> {
    async fn holds(&self, owner: OwnerId) -> bool {
        let held = self.store.ownership.hold(owner, Duty::Publish).await;
        held.expect("an owner with a lease may ask for a duty")
    }
}

/// A duty has one owner at a time, which may ask for it again; a living one keeps it.
pub async fn a_duty_has_one_owner(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let (one, two) = (scene.owner().await, scene.owner().await);
    for _ in 0..2 {
        assert!(scene.holds(one).await, "who has a duty must keep it");
        assert!(!scene.holds(two).await, "a duty must not be taken from an owner that lives");
    }
}

/// A duty is free when its owner resigns or dies.
pub async fn a_duty_is_taken_over(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let (one, two) = (scene.owner().await, scene.owner().await);
    assert!(scene.holds(one).await, "a duty that nobody has must be given");
    assert_eq!(scene.store.ownership.resign(one).await, Ok(()), "an owner may resign");
    assert!(scene.holds(two).await, "who resigns must let go of its duties");
    scene.outlive_leases().await;
    let three = scene.owner().await;
    assert!(scene.holds(three).await, "a duty must be taken from an owner whose lease has run out");
    let again = scene.store.ownership.enlist(two, fixture.lease()).await;
    assert!(again.is_ok(), "who was replaced may enlist again");
    assert!(!scene.holds(two).await, "but what it lost is another's now");
}

/// Who is not enlisted holds nothing.
pub async fn a_stranger_has_no_duty(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let answer = scene.store.ownership.hold(unique(), Duty::Publish).await;
    assert_eq!(answer, Err(OwnershipError::NotEnlisted), "who is not enlisted must not get a duty");
}
