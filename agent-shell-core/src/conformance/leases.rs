//! Leases: how long an owner lives.

use super::StoreFixture;
use super::scene::{Scene, named, post, unique};
use crate::data::MailKind;
use crate::ports::OwnershipError;

/// A lease that is renewed in time does not run out.
pub async fn a_renewed_lease_goes_on(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut held = scene.owned().await;
    scene.accept(post(held.session, MailKind::Submit, "work")).await;
    for _ in 0..4 {
        fixture.advance(fixture.lease() * 6 / 10).await;
        let renewed = scene.store.ownership.renew(held.fence.owner).await;
        assert_eq!(
            renewed.map(|lease| lease.lasts),
            Ok(fixture.lease()),
            "a lease is renewed as it was given"
        );
        let claims = scene.claim(scene.owner().await, named([held.session])).await;
        assert_eq!(claims, [], "an owner that renews in time must be left alone");
    }
    let append = held.append(["alive"]);
    held.write(&scene.store, append).await;
}

/// A lease that is not renewed runs out, and not before its time.
pub async fn a_lease_runs_out(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let held = scene.owned().await;
    fixture.advance(fixture.lease() / 2).await;
    let heir = scene.owner().await;
    assert_eq!(
        scene.claim(heir, named([held.session])).await,
        [],
        "a lease must last as long as it was given"
    );
    fixture.advance(fixture.lease() * 7 / 10).await;
    let heir = scene.owner().await;
    assert_eq!(scene.claim(heir, named([held.session])).await.len(), 1, "a lease must end when it is over");
}

/// The lease that is given is the one that was asked for.
pub async fn a_lease_is_given_as_asked(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let lease = scene.store.ownership.enlist(unique(), fixture.lease()).await;
    let lasts = lease.expect("a store must enlist an owner").lasts;
    assert_eq!(lasts, fixture.lease(), "a lease must last as long as was asked");
}

/// Who was replaced can't renew; enlisted again it is alive, but holds nothing.
pub async fn who_was_replaced_must_enlist_again(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let dead = scene.owner().await;
    let taken = scene.take(dead, scene.session().await.id).await;
    let left = scene.take(dead, scene.session().await.id).await;
    scene.outlive_leases().await;
    let heir = scene.owner().await;
    scene.take(heir, taken.session).await;
    let ownership = &scene.store.ownership;
    assert_eq!(ownership.renew(dead).await, Err(OwnershipError::NotEnlisted), "who was replaced can't renew");
    let claims = scene.claim_at_most(dead, named([left.session]), 9).await;
    assert_eq!(claims, Err(OwnershipError::NotEnlisted), "who was replaced can't claim");
    assert!(ownership.enlist(dead, fixture.lease()).await.is_ok(), "who was replaced may enlist again");
    let owner = scene.entry(left.session).await.owner;
    assert_eq!(owner, None, "who enlists anew must hold nothing of its earlier lease");
    assert_eq!(scene.entry(taken.session).await.owner, Some(heir), "and must leave others' sessions alone");
    let again = scene.take(dead, left.session).await;
    assert_eq!(again.fence.epoch, left.fence.epoch.next(), "what it claims anew has the next epoch");
    assert!(ownership.renew(dead).await.is_ok(), "an owner that is enlisted again may renew");
}

/// A lease that ran out unnoticed may be renewed or not; the answer must be true either way.
pub async fn a_late_renewal_is_answered_truly(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut held = scene.owned().await;
    scene.outlive_leases().await;
    let renewed = scene.store.ownership.renew(held.fence.owner).await;
    let claims = scene.claim(scene.owner().await, named([held.session])).await;
    match renewed {
        Ok(_) => {
            assert_eq!(claims, [], "a session of an owner whose lease was renewed must be left alone");
            let append = held.append(["renewed"]);
            held.write(&scene.store, append).await;
        }
        Err(error) => {
            assert_eq!(error, OwnershipError::NotEnlisted, "a lease that ran out is said to be gone");
            assert_eq!(claims.len(), 1, "and its sessions can be claimed");
        }
    }
}

/// Enlisting again while the lease runs begins the lease anew and drops nothing.
pub async fn enlisting_again_keeps_what_is_held(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut held = scene.owned().await;
    fixture.advance(fixture.lease() * 6 / 10).await;
    let again = scene.store.ownership.enlist(held.fence.owner, fixture.lease()).await;
    assert!(again.is_ok(), "an owner may enlist again: {again:?}");
    fixture.advance(fixture.lease() * 6 / 10).await;
    let claims = scene.claim(scene.owner().await, named([held.session])).await;
    assert_eq!(claims, [], "a repeated enlisting must begin the lease anew");
    let append = held.append(["still mine"]);
    held.write(&scene.store, append).await;
}

/// Who is not enlisted has no lease to renew.
pub async fn a_stranger_renews_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let answer = scene.store.ownership.renew(unique()).await;
    assert_eq!(answer, Err(OwnershipError::NotEnlisted), "who never enlisted has no lease to renew");
}

/// Who resigns lets go of everything at once, and has no lease any more.
pub async fn who_resigns_lets_go_of_everything(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let owner = scene.owner().await;
    let one = scene.take(owner, scene.session().await.id).await;
    let two = scene.take(owner, scene.session().await.id).await;
    let stays = scene.owned().await;
    assert_eq!(scene.store.ownership.resign(owner).await, Ok(()), "an owner may resign");
    let renewed = scene.store.ownership.renew(owner).await;
    assert_eq!(renewed, Err(OwnershipError::NotEnlisted), "who resigned has no lease");
    let heir = scene.owner().await;
    let claims = scene.claim(heir, named([one.session, two.session, stays.session])).await;
    let mut freed = [one.session, two.session];
    freed.sort();
    assert_eq!(super::scene::ids(&claims), freed, "all that it held must be free, and nothing else");
    for claim in claims {
        assert_eq!(claim.entry.epoch, one.fence.epoch.next(), "the next claim must take the next epoch");
    }
}

/// Owners live and die one by one.
pub async fn leases_run_one_by_one(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let (mut kept, lost) = (scene.owned().await, scene.owned().await);
    fixture.advance(fixture.lease() * 6 / 10).await;
    assert!(scene.store.ownership.renew(kept.fence.owner).await.is_ok(), "a living owner may renew");
    fixture.advance(fixture.lease() * 6 / 10).await;
    let claims = scene.claim(scene.owner().await, named([kept.session, lost.session])).await;
    assert_eq!(super::scene::ids(&claims), [lost.session], "only the dead owner's session may be claimed");
    let append = kept.append(["alive"]);
    kept.write(&scene.store, append).await;
}
