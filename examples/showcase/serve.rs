//! The server, and its graceful end.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::live::Stopping;

/// More than this is no request for this application.
const BODY_BYTES: usize = 16 << 20;

/// So long a body may take to come: enough for the largest at 5 Mbit/s. Without a bound, half of one would be waited for
/// for ever.
const BODY_TIME: Duration = Duration::from_secs(30);

/// So long running requests may take to be done once the program is to stop: as long as a body may take to come, and the
/// slowest handler after it. Without a bound, half a request would keep the program for ever.
const STOP_TIME: Duration = BODY_TIME.saturating_add(Duration::from_secs(60));

/// Serves until Ctrl-C or SIGTERM; what is running then is finished, within [`STOP_TIME`]. A second signal does not wait
/// for that.
pub(crate) async fn run(
    listen: SocketAddr,
    app: Router,
    stopping: &Stopping,
) -> Result<(), CannotServe> {
    let failed = |error| CannotServe { listen, error };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let stop = Stop::listen().map_err(failed)?;
    let at_once = Stop::listen().map_err(failed)?;
    announce(listener.local_addr().map_err(failed)?).map_err(failed)?;

    // The peer's address: what a user's list of sessions shows, and what trusted proxies are known by.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let stop_serving = stopping.clone();
    let serve = axum::serve(listener, app).with_graceful_shutdown(async move {
        stop.signal().await;
        // Streams are running requests that are never done.
        stop_serving.stop();
        tracing::info!("stopping as soon as the running requests are done");
    });
    tokio::select! {
        served = serve.into_future() => served.map_err(failed),
        () = at_once.two_signals() => Ok(()),
        () = too_long(stopping) => Ok(()),
    }
}

/// Resolves when running requests had [`STOP_TIME`] to be done.
async fn too_long(stopping: &Stopping) {
    stopping.stopped().await;
    sleep(STOP_TIME).await;
    tracing::warn!("stopping while requests are not done that had {STOP_TIME:?} for it");
}

/// Takes in the whole body before anybody answers: a response that leaves while the client still sends costs both of
/// them the connection, and may be lost with it.
pub(crate) async fn whole_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Request::new(body);
    DefaultBodyLimit::max(BODY_BYTES).apply(&mut body);
    match timeout(BODY_TIME, Bytes::from_request(body, &())).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, bytes.into())).await,
        // Over the bound, or cut off, or malformed: axum tells which.
        Ok(Err(rejection)) => rejection.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::middleware;
    use futures_util::stream;
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_waited_for_for_half_a_minute() {
        let began = Instant::now();
        let app = Router::new().layer(middleware::from_fn(whole_body));
        let never = stream::pending::<Result<Bytes, io::Error>>();
        let request = Request::new(Body::from_stream(never));
        let response = app.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(began.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn running_requests_have_a_minute_and_a_half_from_the_signal_on() {
        let stopping = Stopping::new();
        let hour = Duration::from_secs(3600);
        let waits = timeout(hour, too_long(&stopping)).await;
        assert!(waits.is_err(), "nothing bounds them before");
        stopping.stop();
        let began = Instant::now();
        too_long(&stopping).await;
        assert_eq!(began.elapsed().as_secs(), 90);
    }
}
