//! Moving sessions here from another system.

mod browser;
mod cookies;
mod corpus;
mod fixture;
mod long;
mod moving;
mod scale;
mod side_by_side;
