//! Whether there is room, and what goes when there is none.

use super::{Level, Verdict, good};
use crate::admin::facts::Facts;

pub(super) fn memory(facts: &Facts) -> Verdict {
    let used = facts.number("used_memory").unwrap_or(0);
    match facts.number("maxmemory").filter(|most| *most > 0) {
        None => good(format!("{} MiB used, without a limit", used >> 20)),
        Some(most) => {
            let share = 100.0 * used as f64 / most as f64;
            let what = format!("{} of {} MiB used ({share:.0} %)", used >> 20, most >> 20);
            let advice = "raise maxmemory: when it is full nobody can sign in, though reading and ending go on";
            if share >= 100.0 {
                (Level::Error, what, Some(advice))
            } else if share > 85.0 {
                (Level::Warning, what, Some(advice))
            } else {
                good(what)
            }
        }
    }
}

pub(super) fn eviction(facts: &Facts) -> Verdict {
    let policy = facts.field("maxmemory_policy").unwrap_or("noeviction");
    let has_limit = facts.number("maxmemory").is_some_and(|most| most > 0);
    let advice =
        "set maxmemory-policy noeviction: any other drops sessions, and what keeps ended ones out";
    match (policy, has_limit) {
        ("noeviction", _) => good("nothing is dropped for want of memory"),
        (policy, true) => (
            Level::Error,
            format!("sessions, and what ended them, are dropped when memory is full ({policy})"),
            Some(advice),
        ),
        (policy, false) => (
            Level::Note,
            format!("the policy is {policy}, and would drop sessions if memory had a limit"),
            Some(advice),
        ),
    }
}
