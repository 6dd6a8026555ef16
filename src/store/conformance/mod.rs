//! One list of cases that every store has to pass (feature `test-util`).
//!
//! [`store_conformance!`](crate::store_conformance) makes a test of each, named after the rule of
//! [`SessionStore`](super::SessionStore) that it holds the store to:
//!
//! ```
//! async fn fresh() -> sessile::MemoryStore {
//!     sessile::MemoryStore::new()
//! }
//!
//! sessile::store_conformance!(conformance, fresh);
//! # fn main() {}
//! ```
//!
//! What the suite expects, and what it does not:
//!
//! 1. The second argument is called once a test and gives a future of a store: a function, or a closure. The stores
//!    may share one server: each case has users, keys and handles of its own.
//! 2. A record limit (rule 14) between 16 KiB and 1 MiB.
//! 3. A test has a runtime of its own, with several threads, so that races are races. Nothing else is needed: no
//!    dependency, and no attribute.
//! 4. The store's clock is read and never moved, and nothing sleeps: sessions that are over are made so that they
//!    are over already.
//! 5. What cannot be seen from outside is not judged: whether memory is given back (rule 15), what a future that is
//!    dropped halfway leaves behind, what becomes of a call when the store is away (rule 16). A store has tests of
//!    its own for these.
//!
//! A case is a function like any other; one can be called on its own, while a store is being built.

mod changing;
mod conversing;
mod creating;
mod crowding;
mod earlier;
mod ending;
mod fixture;
mod newer;
mod racing;
mod reading;
mod remembering;
mod replacing;
mod reviving;

use std::future::Future;

pub use changing::*;
pub use conversing::*;
pub use creating::*;
pub use crowding::*;
pub use earlier::*;
pub use ending::*;
pub use racing::*;
pub use reading::*;
pub use remembering::*;
pub use replacing::*;
pub use reviving::*;

/// Runs one test to its end, in a runtime of its own with several threads.
///
/// # Panics
/// When the test does, or no runtime can be had.
pub fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        // Not as many as there are processors: on a machine with one, a race must still be one.
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime is there to be had")
        .block_on(test);
}

/// Makes a module of tests that hold a store to the contract (feature `test-util`): see
/// [`conformance`](crate::store::conformance).
///
/// `store_conformance!(module, make)`: `make` is called without arguments and returns a future of a store.
///
/// ```
/// use sessile::MemoryStore;
///
/// sessile::store_conformance!(small, || async { MemoryStore::builder().max_entries(10_000).build() });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($module:ident, $make:expr) => {
        #[cfg(test)]
        mod $module {
            #[allow(unused_imports)] // Where `make` names nothing of the module around.
            use super::*;

            $crate::store_conformance! { cases ($make)
                rule_01_a_touch_does_not_revive_what_is_over
                rule_01_apply_to_an_ended_session_does_not_revive_it
                rule_01_apply_to_an_unknown_key_creates_nothing
                rule_01_replace_does_not_revive_what_is_over
                rule_01_replace_of_an_unknown_key_creates_nothing
                rule_01_the_end_of_an_unknown_key_creates_nothing
                rule_02_an_end_and_a_new_id_come_one_after_the_other
                rule_02_parallel_additions_lose_none
                rule_02_parallel_changes_of_different_values_all_survive
                rule_02_parallel_guarded_changes_lose_none
                rule_03_a_save_in_parallel_does_not_revive_an_ended_session
                rule_03_a_second_end_changes_nothing
                rule_03_a_session_of_the_other_kind_ends_too
                rule_03_ending_all_ends_all_of_one_user
                rule_03_ending_by_handle_ends_that_one_only
                rule_03_ending_one_gives_the_record_as_last_stored
                rule_03_ending_the_others_spares_one
                rule_03_whoever_loads_an_ended_session_is_told_why
                rule_04_create_over_a_tombstone_is_refused_with_its_reason
                rule_04_create_over_another_session_changes_nothing
                rule_04_create_sent_twice_at_the_limit_ends_nobody
                rule_04_create_sent_twice_made_one_session
                rule_04_the_same_creation_in_parallel_makes_one_session
                rule_04_the_same_digest_of_another_kind_is_another_session
                rule_04_what_was_created_is_loaded_as_it_was
                rule_05_a_session_past_its_absolute_end_is_over
                rule_05_a_session_past_its_idle_end_is_over_as_idle
                rule_05_a_session_within_its_threshold_is_live
                rule_05_a_wrong_bucket_or_kind_is_none
                rule_05_load_each_answers_in_the_order_of_the_keys
                rule_05_what_is_read_at_once_is_what_is_loaded
                rule_05_what_was_never_there_is_none
                rule_05_where_both_ends_are_past_the_earlier_is_the_reason
                rule_06_a_clear_removes_all_but_what_it_keeps
                rule_06_a_guard_holds_what_was_read
                rule_06_additions_answer_with_the_sum
                rule_06_all_changes_are_applied_or_none
                rule_06_apply_to_a_superseded_id_is_moved
                rule_06_values_that_are_not_named_stay
                rule_06_what_a_newer_version_wrote_is_kept
                rule_07_a_long_agent_is_cut
                rule_07_a_newer_request_moves_seen_forward
                rule_07_an_older_request_does_not_move_seen_back
                rule_08_a_new_id_is_the_same_session
                rule_08_a_sign_in_takes_over_what_it_names_and_nothing_else
                rule_08_a_successor_is_replaced_in_its_turn
                rule_08_a_superseded_id_is_not_replaced_again
                rule_08_at_no_instant_do_both_ids_open_the_session_nor_neither
                rule_08_of_many_that_replace_one_wins
                rule_08_proving_oneself_again_starts_both_clocks
                rule_08_replace_sent_again_after_the_end_tells_of_the_end
                rule_08_replace_sent_twice_is_done_once
                rule_08_the_end_of_a_superseded_id_ends_nothing
                rule_08_the_old_id_names_its_successor
                rule_09_a_list_holds_the_records_as_they_are
                rule_09_a_list_is_exactly_the_live_sessions_of_the_user
                rule_09_a_list_is_newest_first
                rule_09_a_long_list_is_complete
                rule_09_live_sessions_are_counted
                rule_10_a_limit_that_refuses_changes_nothing
                rule_10_a_lowered_limit_ends_as_many_as_it_takes
                rule_10_a_sign_in_does_not_count_the_session_that_it_replaces
                rule_10_a_sign_in_from_a_session_keeps_to_the_limit
                rule_10_at_the_limit_the_one_signed_in_longest_ago_ends
                rule_10_only_the_users_own_sessions_count
                rule_10_parallel_logins_from_sessions_keep_to_the_limit
                rule_10_parallel_logins_keep_to_a_limit_that_ends_the_oldest
                rule_10_parallel_logins_keep_to_a_limit_that_refuses
                rule_10_sessions_that_are_over_do_not_count
                rule_11_a_login_that_began_after_the_end_of_all_is_let_in
                rule_11_a_login_that_began_before_the_end_of_all_is_refused
                rule_11_a_sign_in_from_a_session_that_began_before_is_refused
                rule_11_a_strangers_session_knows_no_end_of_all
                rule_11_an_end_that_comes_late_refuses_what_began_before_it
                rule_11_an_end_that_comes_late_spares_who_signed_in_after_it
                rule_11_an_end_that_comes_twice_is_one
                rule_11_no_end_is_later_than_now
                rule_11_since_never_moves_back
                rule_11_the_end_of_one_keeps_nobody_out
                rule_11_the_end_of_one_knows_no_before
                rule_12_ending_all_reaches_a_session_that_changes_its_id_without_end
                rule_12_ending_all_terminates_while_somebody_signs_in_without_end
                rule_13_ending_what_is_not_there_ends_nothing
                rule_13_ending_what_is_over_ends_nothing
                rule_13_the_end_of_what_may_come_keeps_it_out
                rule_14_a_change_that_is_too_large_changes_nothing
                rule_14_a_creation_that_is_too_large_changes_nothing
                rule_14_a_sign_in_that_is_too_large_changes_nothing
                rule_15_what_is_long_over_is_gone_for_everybody
                rule_16_any_user_id_will_do
                rule_18_a_demo_stands_in_nobodys_history
                rule_18_a_history_is_bounded
                rule_18_activities_are_kept_as_they_were_recorded
                rule_18_each_of_several_that_end_stands_there
                rule_18_each_step_of_a_life_stands_in_the_history
                rule_18_in_parallel_each_stands_there_once
                rule_18_what_changes_nothing_stands_nowhere
                rule_18_what_is_erased_is_gone
                rule_18_what_is_sent_twice_stands_there_once
                rule_18_what_is_too_old_is_not_told
                rule_17_a_conversation_is_not_the_records_size
                rule_17_a_creation_brings_its_conversation_along
                rule_17_a_message_of_before_has_its_own_instant
                rule_17_a_message_that_is_sent_again_is_there_once
                rule_17_a_new_id_keeps_the_conversation
                rule_17_a_session_that_is_adopted_is_its_users
                rule_17_an_end_in_parallel_is_not_undone
                rule_17_messages_stand_in_order_with_the_stores_instants
                rule_17_no_message_is_lost_while_the_id_changes
                rule_17_parallel_messages_lose_none
                rule_17_what_goes_over_the_bounds_changes_nothing
                rule_17_what_is_over_takes_no_message
            }
        }
    };
    (cases ($make:expr) $($case:ident)*) => {$(
        #[test]
        fn $case() {
            $crate::store::conformance::run(async {
                let make = $make;
                let store = ::std::sync::Arc::new(make().await);
                $crate::store::conformance::$case(store).await;
            });
        }
    )*};
}
