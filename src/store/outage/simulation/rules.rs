//! Each rule is needed: with one switched off, a history is found that breaks what it keeps.

use std::collections::BTreeMap;

use super::truth::Property;
use super::{STEPS, walk};
use crate::store::outage::rule::{Rule, switch_off};

/// So many histories are tried.
const SEEDS: u64 = 3000;

/// Which properties are broken with the rule off, each with its first seed, until this one is.
fn broken(off: Rule, wanted: Property) -> BTreeMap<Property, u64> {
    let mut found = BTreeMap::new();
    switch_off(Some(off));
    for seed in 0..SEEDS {
        if let Some(violation) = walk::history(seed, STEPS, false).violation {
            found.entry(violation.property).or_insert(seed);
            if violation.property == wanted {
                break;
            }
        }
    }
    switch_off(None);
    eprintln!("without {off:?}: {found:?}");
    found
}

fn is_needed(rule: Rule, property: Property) {
    let found = broken(rule, property);
    assert!(
        found.contains_key(&property),
        "without {rule:?}, only {found:?}"
    );
}

#[test]
fn without_ends_first_the_store_is_read_while_ends_wait() {
    is_needed(Rule::EndsFirst, Property::ToldBeforeRead);
}

#[test]
fn without_create_only_a_promotion_brings_back_what_was_ended() {
    is_needed(Rule::CreateOnly, Property::NotPastRevocation);
}

#[test]
fn without_the_lease_limit_a_lease_never_ends() {
    is_needed(Rule::LeaseLimit, Property::LeaseEnds);
}

#[test]
fn a_lease_that_counts_from_the_answer_is_too_long() {
    is_needed(Rule::LeaseFromSending, Property::LeaseEnds);
}

#[test]
fn without_the_barrier_an_end_that_the_store_lost_stays_lost() {
    is_needed(Rule::Barrier, Property::ToldBeforeRead);
}

#[test]
fn without_the_barrier_a_lease_shows_what_never_was() {
    is_needed(Rule::Barrier, Property::LeaseIsTrue);
}

#[test]
fn without_not_after_a_command_that_was_given_up_acts() {
    is_needed(Rule::NotAfter, Property::LateChangesNothing);
}

#[test]
fn without_since_a_login_survives_the_end_of_all() {
    is_needed(Rule::Since, Property::SinceHolds);
}

#[test]
fn without_remembering_what_was_refused_is_accepted_again() {
    is_needed(Rule::Remembered, Property::NotAcceptedAgain);
}
