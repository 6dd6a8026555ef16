//! The whole of sessile as one small web application: an API under `/api`, and pages for people.
//!
//! ```text
//! cargo run --release --example showcase -- --help
//! ```
//!
//! | file | shows |
//! |---|---|
//! | `options.rs` | the command line, and the layer that it asks for |
//! | `backend.rs` | memory or Redis, and how it does |
//! | `identity.rs` | signing in and out, who is there, a new id |
//! | `data.rs` | values: staged, committed, counted |
//! | `demo.rs` | a demo: its industry, its conversation, its progress |
//! | `assistant.rs` | who answers in a demo's conversation |
//! | `devices.rs` | a user's sessions, and ending them |
//! | `security.rs` | what a user did, what happened to their sessions, and how that looks |
//! | `live.rs` | streams: what happens to a session, until it ends; how the store does |
//! | `figures.rs` | figures as JSON, and for Prometheus |
//! | `object.rs` | a body that is a JSON object |
//! | `problems.rs` | one look for every refusal, of the crate, of axum and of this application |
//! | `time.rs` | how instants are written |
//! | `pages/` | the same for people: forms; a script for the one picture that moves |
//! | `serve.rs` | the server, and its graceful end |
//!
//! There are no passwords: whoever says a name is that user. `examples/login.rs` shows where the check goes.

mod api;
mod assistant;
mod backend;
mod data;
mod demo;
mod devices;
mod figures;
mod identity;
mod live;
mod object;
mod options;
mod pages;
mod problems;
mod security;
mod serve;
mod time;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use axum::{Router, middleware};
use sessile::SessionLayer;

use backend::Backend;
use live::Stopping;
use metrics_exporter_prometheus::PrometheusHandle;
use options::Options;

/// What the routes know of the server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) options: Options,
    pub(crate) backend: Backend,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) stopping: Stopping,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(options) => options,
        Err(code) => return code,
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .init();
    // Before the layer tells anything.
    let metrics = match figures::collect() {
        Ok(metrics) => metrics,
        Err(error) => return complain(1, &error),
    };
    let (sessions, backend) = match backend::connect(&options).await {
        Ok(connected) => connected,
        Err(error) => return complain(2, &error),
    };
    let listen = options.listen;
    let stopping = Stopping::new();
    let server = Arc::new(Server {
        options,
        backend,
        metrics,
        stopping: stopping.clone(),
    });
    let app = app(sessions, Arc::clone(&server));
    match serve::run(listen, app, &stopping).await {
        Ok(()) => {
            server.backend.say_what_is_lost();
            ExitCode::SUCCESS
        }
        Err(error) => complain(1, &error),
    }
}

/// Every route, with sessions around them, and around those what makes refusals presentable.
fn app(sessions: SessionLayer, server: Arc<Server>) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(pages::routes())
        .layer(sessions)
        .layer(middleware::from_fn(serve::whole_body))
        .layer(middleware::from_fn(problems::present))
        .with_state(server)
}

/// A sentence on stderr, and the exit code. Not `eprintln!`: a closed stderr must not turn this into a panic.
fn complain(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(code)
}
