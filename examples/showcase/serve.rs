//! The server, and its graceful end.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use crate::live::Stopping;

/// More than this is no request for this application.
const BODY_BYTES: usize = 16 << 20;

/// Serves until Ctrl-C or SIGTERM; what is running then is finished. A second signal does not wait for that.
pub(crate) async fn run(
    listen: SocketAddr,
    app: Router,
    stopping: Stopping,
) -> Result<(), CannotServe> {
    let failed = |error| CannotServe { listen, error };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let stop = Stop::listen().map_err(failed)?;
    let at_once = Stop::listen().map_err(failed)?;
    announce(listener.local_addr().map_err(failed)?).map_err(failed)?;

    // The peer's address: what a user's list of sessions shows, and what trusted proxies are known by.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let serve = axum::serve(listener, app).with_graceful_shutdown(async move {
        stop.signal().await;
        // Streams are running requests that are never done.
        stopping.stop();
        tracing::info!("stopping as soon as the running requests are done");
    });
    tokio::select! {
        served = serve.into_future() => served.map_err(failed),
        () = at_once.two_signals() => Ok(()),
    }
}

/// Takes in the whole body before anybody answers: a response that leaves while the client still sends costs both of
/// them the connection, and may be lost with it.
pub(crate) async fn whole_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match to_bytes(body, BODY_BYTES).await {
        Ok(bytes) => next.run(Request::from_parts(parts, bytes.into())).await,
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    }
}

/// The only line on stdout: whoever started this on port 0 reads the port from it.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on http://{address}")?;
    stdout.flush()
}

/// The signals that ask a process to end.
struct Stop {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(not(unix))]
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn signal(mut self) {
        self.next().await;
    }

    async fn two_signals(mut self) {
        self.next().await;
        self.next().await;
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// The port is taken, or not ours to take.
#[derive(Debug)]
pub(crate) struct CannotServe {
    listen: SocketAddr,
    error: io::Error,
}

impl fmt::Display for CannotServe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot serve on {}: {}", self.listen, self.error)
    }
}
