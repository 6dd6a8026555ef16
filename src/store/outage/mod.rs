//! What carries on while a store is away.

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "nothing ends during an outage yet")
)]
mod file;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "nothing ends during an outage yet")
)]
mod journal;
