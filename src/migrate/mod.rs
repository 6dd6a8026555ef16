//! Moving sessions here from another system, in the same Redis (feature `admin`).
//!
//! ```no_run
//! use sessile::RedisStore;
//! use sessile::migrate::{Migration, Source};
//!
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::connect("redis://127.0.0.1/").await?;
//! let report = Migration::new(&store, Source::Legacy).run(|_| {}).await?;
//! println!("{report}");
//! assert!(report.adds_up());
//! # Ok(())
//! # }
//! ```
//!
//! 1. A session moves in one script: there is no instant at which it is in both places or in neither. So a migration may
//!    be killed anywhere, and started again; what was migrated once is never made again.
//! 2. What cannot be read is left alone, whole, and told with its reason.
//! 3. No session lives longer than it would have: its end is the expiry that it had.
//! 4. The server is asked in small steps, and this process holds a few hundred sessions at a time.
//! 5. What an old id is replaced by is told in [the guide](crate::guide::migrating), as is what must be stopped first.

mod json;
mod large;
mod legacy;
mod old;
mod peers;
mod report;
mod run;
mod source;
mod step;
mod time;

pub use report::{ByShape, KeyProblem, OldIndexes, Report, Shape};
pub use run::{MigrateError, Migration, Progress};
pub use source::Source;
