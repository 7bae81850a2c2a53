//! The lists of properties, each in one place: the suites and the macros that make tests are read from them.

use super::{BusProperty, KeyProperty, StoreProperty};

/// The properties that every store keeps, by name.
pub fn store_suite() -> Vec<(&'static str, StoreProperty)> {
    crate::with_store_properties! { property_list StoreProperty }
}

/// The properties that a store which outlives its process keeps besides, by name.
pub fn durable_store_suite() -> Vec<(&'static str, StoreProperty)> {
    crate::with_durable_store_properties! { property_list StoreProperty }
}

/// The properties that every key store keeps, by name.
pub fn key_suite() -> Vec<(&'static str, KeyProperty)> {
    crate::with_key_properties! { property_list KeyProperty }
}

/// The properties that a key store which outlives its process keeps besides, by name.
pub fn durable_key_suite() -> Vec<(&'static str, KeyProperty)> {
    crate::with_durable_key_properties! { property_list KeyProperty }
}

/// The properties that every bus keeps, by name.
pub fn bus_suite() -> Vec<(&'static str, BusProperty)> {
    crate::with_bus_properties! { property_list BusProperty }
}

/// Makes one test of each property that every store keeps. See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! store_conformance {
    ($(#[$attribute:meta])* $fixture:expr) => {
        $crate::with_store_properties! { property_tests [$(#[$attribute])*] $fixture }
    };
}

/// Makes one test of each property that a durable store keeps. See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! durable_store_conformance {
    ($(#[$attribute:meta])* $fixture:expr) => {
        $crate::with_store_properties! { property_tests [$(#[$attribute])*] $fixture }
        $crate::with_durable_store_properties! { property_tests [$(#[$attribute])*] $fixture }
    };
}

/// Makes one test of each property that every bus keeps. See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! bus_conformance {
    ($(#[$attribute:meta])* $fixture:expr) => {
        $crate::with_bus_properties! { property_tests [$(#[$attribute])*] $fixture }
    };
}

/// Makes one test of each property that every key store keeps. See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! key_conformance {
    ($(#[$attribute:meta])* $fixture:expr) => {
        $crate::with_key_properties! { property_tests [$(#[$attribute])*] $fixture }
    };
}

/// Makes one test of each property that a durable key store keeps. See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! durable_key_conformance {
    ($(#[$attribute:meta])* $fixture:expr) => {
        $crate::with_key_properties! { property_tests [$(#[$attribute])*] $fixture }
        $crate::with_durable_key_properties! { property_tests [$(#[$attribute])*] $fixture }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! property_list {
    (($kind:ident) $($module:ident::$property:ident,)+) => {
        vec![$((
            stringify!($property),
            (|fixture| Box::pin($crate::conformance::$module::$property(fixture))) as $kind,
        )),+]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! property_tests {
    (([$(#[$attribute:meta])*] $fixture:expr) $($module:ident::$property:ident,)+) => {
        $crate::property_tests! { @each [$(#[$attribute])*] $fixture; $($module::$property,)+ }
    };
    (@each $attributes:tt $fixture:expr; $($module:ident::$property:ident,)+) => {
        $($crate::property_tests! { @one $attributes $fixture; $module::$property })+
    };
    (@one [$(#[$attribute:meta])*] $fixture:expr; $module:ident::$property:ident) => {
        #[test]
        $(#[$attribute])*
        fn $property() {
            $crate::conformance::run(async {
                let fixture = $fixture;
                $crate::conformance::$module::$property(&fixture).await;
            });
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! with_store_properties {
    ($then:ident $($given:tt)*) => {
        $crate::$then! { ($($given)*)
            listing::a_session_is_registered_as_asked,
            listing::a_name_finds_the_first_session,
            listing::a_name_belongs_to_its_tenant,
            listing::a_name_is_unique_under_concurrent_callers,
            listing::sessions_are_listed_in_the_order_of_their_ids,
            listing::sessions_are_filtered,
            append::records_are_kept_as_they_were_written,
            append::records_are_contiguous,
            append::an_append_takes_effect_whole,
            append::a_refused_append_leaves_nothing,
            append::records_must_be_the_appends_own,
            append::an_unknown_session_takes_no_append,
            append::what_an_append_does_not_change_stays,
            purge::a_purge_erases_all_but_the_chain,
            purge::a_purged_session_takes_nothing,
            purge::a_purged_sessions_name_is_free,
            archive::a_finished_session_leaves_whole,
            archive::only_what_is_finished_leaves,
            archive::mail_and_the_archive_exclude_one_another,
            archive::an_archived_session_takes_a_purge_alone,
            archive::what_left_comes_back,
            archive::a_purged_session_leaves_its_end,
            archive::an_expired_session_is_gone,
            archive::an_expired_sessions_account_is_gone,
            fencing::a_session_without_an_owner_takes_no_append,
            fencing::another_owner_is_fenced,
            fencing::another_epoch_is_fenced,
            fencing::a_stale_writer_is_fenced,
            fencing::a_released_session_takes_no_append,
            fencing::an_owner_that_resigned_is_fenced,
            fencing::only_a_claim_fences,
            fencing::another_place_is_a_conflict,
            fencing::another_hash_is_a_conflict,
            fencing::the_fence_is_judged_before_the_head,
            fencing::every_claim_takes_the_next_epoch,
            idempotence::an_append_is_idempotent_by_id,
            idempotence::a_repeat_is_recognised_after_later_appends,
            idempotence::a_repeat_is_recognised_before_the_fence,
            idempotence::a_repeat_tells_whether_the_caller_owns_the_session,
            idempotence::a_committed_id_wins_over_other_content,
            idempotence::another_id_is_not_a_repeat,
            idempotence::a_refused_id_may_be_committed_later,
            reading::records_are_read_in_pages,
            reading::the_unknown_is_absent,
            reading::blobs_are_kept_by_session_and_address,
            reading::a_snapshot_replaces_the_one_before,
            reading::turns_are_found_from_start_to_end,
            reading::actors_are_kept_by_tenant,
            reading::sessions_have_chains_of_their_own,
            mail::mail_is_kept_as_it_was_posted,
            mail::a_turn_is_registered_with_its_mail,
            mail::an_owner_is_not_told_of_inputs_behind_a_turn,
            mail::mail_is_read_in_the_order_of_its_posts,
            mail::mail_is_read_in_lanes,
            mail::mail_is_read_in_pages,
            mail::an_owner_finds_the_mail_of_what_it_holds,
            mail::a_post_is_idempotent_by_id,
            mail::an_unknown_session_takes_no_mail,
            mail::consumed_mail_is_gone,
            mail::mail_is_bounded_by_its_quota,
            mail::system_mail_has_a_quota_of_its_own,
            mail::an_append_posts_mail_within_the_system_quota,
            mail::an_append_registers_the_turns_that_its_mail_asks_for,
            dedupe::a_repeat_gets_the_first_turn,
            dedupe::a_used_key_with_another_input_is_a_mismatch,
            dedupe::keys_are_apart_by_session_and_kind,
            dedupe::a_key_stays_used_after_consumption,
            dedupe::a_repeat_is_answered_in_a_full_mailbox,
            dedupe::the_first_use_of_a_key_can_be_asked_for,
            dedupe::an_appends_mail_is_deduplicated,
            claims::what_has_work_is_claimed,
            claims::inputs_behind_a_turn_are_no_work,
            claims::what_is_named_is_claimed_without_work,
            claims::the_living_are_left_alone,
            claims::an_owner_may_claim_its_own_by_name,
            claims::the_dead_are_replaced,
            claims::requirements_must_be_offered,
            claims::a_purge_waits_for_no_requirement,
            claims::claims_are_filtered_by_tenant,
            claims::claims_keep_to_their_limit,
            claims::claims_are_spread_over_tenants,
            claims::a_stranger_claims_nothing,
            claims::a_stale_release_is_passed_over,
            fairness::no_session_starves,
            fairness::who_waits_is_served_before_all_who_come,
            fairness::no_tenant_starves,
            leases::a_renewed_lease_goes_on,
            leases::a_lease_runs_out,
            leases::a_lease_is_given_as_asked,
            leases::who_was_replaced_must_enlist_again,
            leases::a_late_renewal_is_answered_truly,
            leases::enlisting_again_keeps_what_is_held,
            leases::a_stranger_renews_nothing,
            leases::who_resigns_lets_go_of_everything,
            leases::leases_run_one_by_one,
            outbox::rows_are_pending_in_the_order_of_commits,
            outbox::acknowledged_rows_are_pending_no_more,
            outbox::later_rows_are_not_acknowledged,
            outbox::a_sessions_rows_are_replayed,
            outbox::kept_rows_are_read_acknowledged_or_not,
            outbox::an_entry_tells_the_last_sequence,
            outbox::only_old_acknowledged_rows_are_trimmed,
            outbox::a_gap_in_the_outbox_is_refused,
            outbox::sequences_go_on_after_a_trim,
            duties::a_duty_has_one_owner,
            duties::a_duty_is_taken_over,
            duties::a_stranger_has_no_duty,
            marks::marks_are_kept_by_group_and_session,
            marks::marks_only_rise,
            marks::who_is_behind_is_listed,
            ledger::a_reservation_is_taken_from_each_account,
            ledger::a_reservation_takes_all_accounts_or_none,
            ledger::a_ceiling_bounds_each_dimension,
            ledger::what_is_not_bounded_is_taken,
            ledger::a_lowered_ceiling_applies_at_once,
            ledger::a_reservation_is_idempotent_by_its_attempt,
            ledger::a_repeat_is_answered_under_a_full_ceiling,
            ledger::another_reservation_of_an_attempt_is_a_mismatch,
            ledger::attempts_are_apart,
            ledger::the_ledger_is_fenced,
            ledger::a_turn_that_ended_reserves_nothing,
            ledger::concurrent_reservations_keep_to_the_ceiling,
            ledger::concurrent_repeats_reserve_once,
            ledger_settle::a_settlement_frees_what_was_not_spent,
            ledger_settle::a_settlement_is_made_once,
            ledger_settle::what_is_not_reserved_is_passed_over,
            ledger_settle::an_append_settles_with_its_records,
            ledger_settle::a_refused_append_settles_nothing,
            ledger_settle::a_repeated_append_settles_once,
            ledger_settle::a_turns_end_settles_what_is_left,
            ledger_settle::a_purge_settles_what_is_left,
            ledger_settle::a_sweep_takes_earlier_epochs_alone,
            ledger_settle::turns_end_one_by_one,
            ledger_close::an_overrun_closes_each_account,
            ledger_close::an_overrun_counts_in_each_dimension,
            ledger_close::reopening_needs_the_overrun_seen,
            ledger_close::a_bill_replaces_what_was_settled,
            ledger_close::a_bill_counts_once,
            ledger_close::a_bill_above_the_reservation_closes,
            ledger_close::a_bill_may_come_late,
            ledger_close::no_sum_saturates,
            ledger_order::every_change_is_an_operation,
            ledger_order::operations_make_the_balances,
            ledger_order::operations_are_read_in_pages,
            ledger_order::a_trim_removes_what_is_old_and_settled,
            ledger_order::no_operation_passes_a_ceiling,
            concurrency::appends_are_judged_one_by_one,
            concurrency::concurrent_repeats_are_committed_once,
            concurrency::concurrent_claims_share_nothing,
            concurrency::concurrent_posts_are_judged_one_by_one,
            concurrency::sessions_may_write_to_one_another,
            concurrency::a_publisher_misses_no_row,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! with_durable_store_properties {
    ($then:ident $($given:tt)*) => {
        $crate::$then! { ($($given)*)
            durability::everything_outlives_a_reopening,
            durability::a_registration_outlives_a_reopening,
            durability::epochs_outlive_a_reopening,
            durability::a_repeat_is_recognised_after_a_reopening,
            durability::mail_outlives_a_reopening,
            durability::the_outbox_outlives_a_reopening,
            durability::a_refusal_leaves_nothing_after_a_reopening,
            marks::marks_outlive_a_reopening,
            purge::a_purge_outlives_a_reopening,
            archive::an_archive_outlives_a_reopening,
            ledger_order::the_ledger_outlives_a_reopening,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! with_key_properties {
    ($then:ident $($given:tt)*) => {
        $crate::$then! { ($($given)*)
            keys::a_key_is_kept,
            keys::a_key_is_made_once,
            keys::a_key_is_made_once_under_concurrent_callers,
            keys::a_missing_key_is_lost_not_destroyed,
            keys::a_destroyed_key_is_gone_for_good,
            keys::a_tombstone_needs_no_key,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! with_bus_properties {
    ($then:ident $($given:tt)*) => {
        $crate::$then! { ($($given)*)
            bus::a_topic_must_be_opened,
            bus::messages_of_a_key_keep_their_order,
            bus::what_is_not_committed_comes_again,
            bus::what_is_committed_does_not_come_again,
            bus::a_commit_does_not_go_back,
            bus::groups_read_for_themselves,
            bus::a_group_begins_with_what_is_there,
            bus::members_share_the_partitions,
            bus::a_commit_needs_the_partition,
            bus::a_poll_waits_for_a_message,
            bus::a_dropped_poll_loses_nothing,
            bus::polls_keep_to_their_limit,
            bus::places_can_be_looked_at,
            bus::a_batch_is_bounded,
            bus::a_full_bus_refuses_and_loses_nothing,
            bus::lag_is_what_is_not_committed,
            bus::concurrent_publishers_lose_nothing,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! with_durable_key_properties {
    ($then:ident $($given:tt)*) => {
        $crate::$then! { ($($given)*)
            keys::keys_outlive_a_reopening,
            keys::tombstones_outlive_a_reopening,
            keys::a_destroyed_key_leaves_no_bytes,
        }
    };
}
