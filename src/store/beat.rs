//! The heartbeat: what tells a store that is there from one that is away, was restarted, or has lost something.

/// A part of a store that can be away by itself: a primary of a cluster.
///
/// A number that is worth something to its own store alone: nothing is kept under it, and another instance may number
/// the same parts in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Part(u32);

impl Part {
    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl From<u32> for Part {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

/// What a heartbeat found.
///
/// A store whose `server` and `generation` stay, and whose `before` is never less than a `value` that was seen
/// earlier, still has what it acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Differs when another server answers than before, or the same one after a restart.
    pub server: u64,
    /// Differs when the store came back empty since the beat before: drawn anew whenever no beat was found.
    pub generation: u64,
    /// What the last beat of anyone left; `None`: there was none.
    pub before: Option<u64>,
    /// What this one left: more than `before` and more than `least`.
    pub value: u64,
}
