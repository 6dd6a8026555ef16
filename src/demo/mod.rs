//! Demo sessions: a second kind, beside the user's or without one.
//!
//! 1. A demo has a cookie, a key space and a clock of its own: 24 hours in all, moved by nothing, unless an idle time is
//!    set apart. Its id is ours, never the client's, and only the holder of its cookie reads it or adds to it.
//! 2. It holds an industry and a conversation: messages in order, with the store's time, none lost however many write at
//!    once. Each is added by itself and stored when [`DemoSession::add_message`] returns; nothing of it is staged.
//! 3. Progress is counted in messages. A demo that is completed takes more of them, up to its bounds.
//! 4. Signing in crosses nothing, unless the login says [`adopt_demo`](crate::Login::adopt_demo): then the demo gets a new id
//!    within its own slot, is the user's from then on, and keeps what was said.
//!
//! A request that changes its user's session and its demo commits twice: the two may be in two slots of a cluster, and one of them
//! may be stored where the other could not be.
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! use axum::{Json, extract::Path};
//! use sessile::{Demo, DemoSession, Error};
//!
//! async fn start(demo: Demo, Path(industry): Path<String>) -> Result<String, Error> {
//!     let demo = demo.start(&industry).await?;            // the one that there is, if there is one
//!     Ok(demo.status()?.industry.to_string())
//! }
//!
//! async fn ask(demo: DemoSession, question: String) -> Result<String, Error> {
//!     demo.add_message("user", &question).await?;
//!     demo.add_message("assistant", "Interesting.").with("confidence", 0.9).await?;
//!     Ok(format!("{} % done", demo.status()?.progress_percentage))
//! }
//! # }
//! ```

mod config;
mod counts;
mod handle;
mod industry;
mod message;
mod session;
mod status;

pub(crate) use config::{DemoConfig, Demos};
pub use counts::DemoCounts;
pub use handle::Demo;
pub use industry::Industry;
pub use message::Message;
pub use session::{AddMessage, AddMessageFuture, DemoSession};
pub use status::{DemoProgress, DemoStatus};

use crate::key::Key;

/// What the demo is about.
const INDUSTRY: Key<Industry> = Key::new("industry");
/// How many messages complete it.
const STEPS: Key<u32> = Key::new("steps");
