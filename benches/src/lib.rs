//! What the programs of this package share.

pub mod report;
pub mod request;
pub mod row;
pub mod subject;
