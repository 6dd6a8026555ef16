//! What the programs of this package share.

pub mod app;
pub mod report;
pub mod request;
pub mod row;
pub mod subject;
pub mod versions;

/// Whether the caller asked for fewer rounds: enough to see that everything works, and not to judge by.
pub fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}
