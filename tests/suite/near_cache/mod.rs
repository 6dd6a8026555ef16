//! A near cache: what it spares, what it never serves, and what becomes of it when its connection does not do its part.

mod bounds;
mod checker;
mod coherence;
mod connection;
mod fixture;
mod hot;
mod others;
mod own;
mod refusals;
mod showcase;
