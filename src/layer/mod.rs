//! The tower trio: [`SessionLayer`] makes [`SessionService`], whose calls are [`ResponseFuture`]s.
//!
//! 1. A request that touches no session pays for one allocation, one scan of its `Cookie` headers and one extension.
//! 2. The record is read when somebody extracts the session, not before.
//! 3. The response leaves once what it says is stored. A future is boxed only if there is something to store.
//! 4. A response that cannot keep what the handler said is replaced by one that says why, with a
//!    [`Problem`](crate::Problem) in its extensions.

mod area;
mod future;
mod service;

pub(crate) use area::Area;
pub use area::SessionLayer;
pub use future::ResponseFuture;
pub use service::SessionService;
