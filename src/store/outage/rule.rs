//! The rules that the guarantee rests on, by name. The simulation switches each off to see that it is needed.

/// A rule, at whose place in the code [`holds`] is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// Ends reach the store before anything is read from it again.
    EndsFirst,
    /// What was made here while the store was away gets there by being created, or not at all.
    CreateOnly,
    /// A lease ends.
    LeaseLimit,
    /// A lease counts from when its read was sent, not from when the answer came.
    LeaseFromSending,
    /// Leases are dropped, and ends asserted again, before the store is read again.
    Barrier,
    /// A command that arrives too late changes nothing: the scripts see to it.
    #[cfg_attr(not(test), expect(dead_code, reason = "asked by the simulated store"))]
    NotAfter,
    /// Who signed in before all of a user's sessions were ended is not let in after it.
    Since,
    /// What was refused as ended is not accepted again.
    Remembered,
}

/// Whether a rule holds: always.
#[cfg(not(test))]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}

#[cfg(test)]
thread_local! {
    static OFF: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(crate) fn holds(rule: Rule) -> bool {
    OFF.get() != Some(rule)
}

/// Switches one rule off on this thread, or all on again.
#[cfg(test)]
pub(crate) fn switch_off(rule: Option<Rule>) {
    OFF.set(rule);
}
