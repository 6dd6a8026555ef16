//! The same handlers over one Redis, served on one thread: what `scripts/bench_redis.sh` puts under load.
//!
//! ```text
//! redis SUBJECT redis://ADDRESS
//! ```
//!
//! The first line on stdout is where it listens.

mod hand;
mod own;
mod tower;

use std::io::Write as _;

use axum::Router;
use axum::routing::get;

/// The data of a session: 200 bytes as JSON.
const DATA_BYTES: usize = 198;

fn data() -> String {
    "x".repeat(DATA_BYTES)
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let (Some(subject), Some(url)) = (arguments.next(), arguments.next()) else {
        println!("`make bench-redis` runs this: see scripts/bench_redis.sh");
        return;
    };
    // One thread: the server has one core, and the other is for Redis and for the load.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime is there to be had")
        .block_on(serve(&subject, &url));
}

async fn serve(subject: &str, url: &str) {
    let app = match subject {
        "bare" => Router::new().route("/plain", get(async || "ok")),
        "hand" => hand::app(url).await,
        "sessile" => own::app(url, false).await,
        "sessile-alone" => own::app(url, true).await,
        "tower-sessions" => tower::app(url).await,
        _ => panic!("no subject is called {subject}"),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    println!("{address}");
    std::io::stdout().flush().expect("stdout is open");
    axum::serve(listener, app)
        .await
        .expect("it serves for ever");
}
