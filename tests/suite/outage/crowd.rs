//! Many at once: what memory may take, and requests in flight when it goes away.

use axum::Router;
use futures_util::future::join_all;
use http::StatusCode;
use sessile::Outage;
use tower::ServiceExt;

use super::fixture::{Browser, Instance, LEASE, Network, keys};
use crate::support::proxy::Stall;

/// The least that may be given.
const MEMORY: usize = 1 << 20;

async fn small(network: &Network) -> Instance {
    Instance::set_up(&network.url(), |builder| {
        builder
            .outage(Outage::Local { lease: LEASE })
            .outage_memory(MEMORY)
    })
    .await
}

/// The answer's status; nothing is kept of it.
async fn status(app: &Router, browser: &Browser, path: &str) -> StatusCode {
    let request = browser.request("POST", path);
    app.clone().oneshot(request).await.unwrap().status()
}

/// A session is more than this.
const LEAST: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn f18_inv11_bots_fill_no_more_than_their_share_and_drop_no_users_session() {
    const BOTS: usize = 50_000;
    let network = Network::start();
    let instance = small(&network).await;
    let mut known = instance.signed_in("alice").await;
    network.cut_off(&instance).await;
    let mut users = Vec::new();
    for n in 0..20 {
        users.push(instance.signed_in(&format!("user-{n}")).await);
    }
    let nobody = instance.browser();
    let floods = (0..4).map(|_| {
        let (app, nobody) = (instance.app.clone(), nobody.clone());
        tokio::spawn(async move {
            for _ in 0..BOTS / 4 {
                let status = status(&app, &nobody, "/put/cart/pear").await;
                assert!([200, 503].contains(&status.as_u16()), "{status}");
            }
        })
    });
    for flood in join_all(floods).await {
        flood.unwrap();
    }
    let local = instance.health().local;
    assert!(local <= MEMORY / LEAST, "{local}");
    for (n, browser) in users.iter_mut().enumerate() {
        browser.is(&format!("user-{n}")).await;
    }
    known.is("alice").await;
    // Strangers make room for each other, and so there is always room for a user.
    instance.signed_in("late").await.is("late").await;
}

/// Users' sessions make room for nobody: when there is none left, the next is told to come again.
#[tokio::test(flavor = "multi_thread")]
async fn f18_inv11_bots_that_sign_in_are_refused_when_there_is_no_room_left() {
    const BOTS: usize = 10_000;
    let network = Network::start();
    let instance = small(&network).await;
    network.cut_off(&instance).await;
    let mut first = instance.signed_in("alice").await;
    let nobody = instance.browser();
    let mut refused = 0;
    for n in 0..BOTS {
        let path = format!("/login/bot-{n}");
        refused += usize::from(status(&instance.app, &nobody, &path).await == 503);
    }
    assert!(refused > 0);
    assert_eq!(instance.health().local, BOTS + 1 - refused);
    assert!(instance.health().local <= MEMORY / LEAST);
    first.is("alice").await;
    // And nobody is ended for it: an end finds its place.
    assert_eq!(first.post("/end-all-of-them").await.ok(), "pending");
    first.is_refused("revoked").await;
    network.reconnect(&instance).await;
    assert_eq!(instance.health().local, 0);
}

/// Leases take the place of older ones, and never more than their share.
#[tokio::test(flavor = "multi_thread")]
async fn f18_inv11_leases_are_bounded() {
    let network = Network::start();
    let instance = small(&network).await;
    let nobody = instance.browser();
    for n in 0..6_000 {
        let status = status(&instance.app, &nobody, &format!("/login/user-{n}")).await;
        assert_eq!(status, 200);
    }
    let mut last = instance.signed_in("last").await;
    let leases = instance.health().leases;
    assert!(leases > 100, "{leases}");
    assert!(leases <= MEMORY / LEAST, "{leases}");
    network.cut_off(&instance).await;
    last.is("last").await;
}

/// Whoever was on the way when it went away is served as those who come after, and keeps their cookie.
#[tokio::test(flavor = "multi_thread")]
async fn inv08_requests_in_flight_when_redis_goes_away() {
    let network = Network::start();
    let instance = Instance::at(&network.url()).await;
    let mut browsers = Vec::new();
    for n in 0..40 {
        browsers.push(instance.signed_in(&format!("user-{n}")).await);
    }
    for round in 0..3 {
        network.proxy.stall(Stall::Replies);
        let requests = browsers.iter().enumerate().map(|(n, browser)| {
            let mut browser = browser.clone();
            tokio::spawn(async move {
                match n % 4 {
                    0 | 1 => browser.is(&format!("user-{n}")).await,
                    2 => {
                        let path = format!("/put/round/{round}");
                        let status = browser.post(&path).await.status;
                        assert!([200, 503].contains(&status.as_u16()), "{status}");
                    }
                    _ => {
                        let status = browser.post("/add/n/1").await.status;
                        assert!([200, 503].contains(&status.as_u16()), "{status}");
                    }
                }
            })
        });
        let requests: Vec<_> = requests.collect();
        // All of them wait for an answer by now, or will find that there is none.
        tokio::task::yield_now().await;
        network.cut();
        network.proxy.flow();
        for request in requests {
            request.await.unwrap();
        }
        network.reconnect(&instance).await;
        for (n, browser) in browsers.iter_mut().enumerate() {
            browser.is(&format!("user-{n}")).await;
        }
    }
    let sessions = keys(&network.server)
        .into_iter()
        .filter(|key| key.starts_with("session:"));
    assert_eq!(sessions.count(), 40);
}
