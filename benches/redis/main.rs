//! The same handlers over one Redis.
//!
//! ```text
//! redis serve SUBJECT redis://ADDRESS     serves on one thread: what `scripts/bench_redis.sh` puts under load
//! redis count redis://ADDRESS             counts what each request asks of Redis, and what a session takes in it
//! ```
//!
//! `serve` prints where it listens, in the first line.

mod counts;
mod monitor;

use std::io::Write as _;
use std::net::SocketAddr;

use sessile_benches::app::{App, Kind};
use sessile_benches::subject::{REDIS_SUBJECTS, actix};
use sessile_benches::versions;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", subject, url] => serve(subject, url),
        ["count", url] => {
            versions::print();
            counts::print(url);
        }
        _ => println!("`make bench-redis` runs this: see scripts/bench_redis.sh"),
    }
}

fn serve(subject: &str, url: &str) {
    let subject = REDIS_SUBJECTS
        .into_iter()
        .find(|other| other.name == subject)
        .expect("a subject");
    if subject.kind == Kind::Actix {
        return actix_web::rt::System::new()
            .block_on(actix::serve(url, tell))
            .expect("it serves for ever");
    }
    // One thread: the server has one core, and the other is for Redis and for the load.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            let App::Axum(router) = (subject.open)(url).await else {
                unreachable!("actix-web was served above")
            };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port is free");
            tell(listener.local_addr().expect("it is bound"));
            let serving = if subject.kind == Kind::AxumWithAddress {
                axum::serve(
                    listener,
                    router.into_make_service_with_connect_info::<SocketAddr>(),
                )
                .await
            } else {
                axum::serve(listener, router).await
            };
            serving.expect("it serves for ever");
        });
}

fn tell(address: SocketAddr) {
    println!("{address}");
    std::io::stdout().flush().expect("stdout is open");
}
