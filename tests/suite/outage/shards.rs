//! One of three masters is away: the others live on, and it is served by policy.

use std::collections::BTreeMap;

use sessile::store::Mode;
use sessile::{Bucket, Outage, RedisStore, UserId};

use super::fixture::{Browser, Instance, LEASE, is_live, key_of};
use crate::support::Cluster;
use crate::support::wait::wait_until;

/// A user for each master, by the numbers of the nodes.
fn users(cluster: &Cluster) -> BTreeMap<usize, String> {
    let mut users = BTreeMap::new();
    for n in 0.. {
        let user = format!("user-{n}");
        let bucket = Bucket::of("", &UserId::from(user.as_str()));
        let slot = cluster.slot_of(format!("{{{bucket}}}"));
        users.entry(cluster.master_of(slot)).or_insert(user);
        if users.len() == 3 {
            break;
        }
    }
    users
}

async fn instance(cluster: &Cluster) -> Instance {
    let store = RedisStore::cluster(cluster.urls()).connect().await.unwrap();
    Instance::over(store, |builder| {
        builder.outage(Outage::Local { lease: LEASE })
    })
}

fn has(cluster: &Cluster, node: usize, browser: &Browser) -> bool {
    let key = key_of(browser.id());
    assert_eq!(
        cluster.master_of(cluster.slot_of(format!("{{{}}}", key.bucket))),
        node
    );
    is_live(cluster.node(node), browser.id())
}

#[tokio::test(flavor = "multi_thread")]
async fn inv08_one_shard_of_three_is_away_and_the_others_live() {
    let cluster = Cluster::with(0, &["cluster-require-full-coverage no"]);
    let instance = instance(&cluster).await;
    let users = users(&cluster);
    let mut browsers = BTreeMap::new();
    for (node, user) in &users {
        let mut browser = instance.signed_in(user).await;
        browser.is(user).await;
        browsers.insert(*node, browser);
    }
    let away = 1;
    cluster.node(away).stop();
    let what = "what is known is served for the master that is away";
    wait_until(what, async || {
        let browser = browsers.get_mut(&away).unwrap();
        browser.freshness().await == "stale" && instance.health().mode == Mode::Degraded
    })
    .await;
    // Each by itself: also while one of them is away, the others are asked.
    let mut news = BTreeMap::new();
    for (node, user) in &users {
        let browser = browsers.get_mut(node).unwrap();
        browser.is(user).await;
        let mut new = instance.signed_in(user).await;
        let expected = if *node == away {
            ["stale", "local"]
        } else {
            ["live", "live"]
        };
        let freshness = [browser.freshness().await, new.freshness().await];
        assert_eq!(freshness, expected, "node {node}");
        assert_eq!(
            browser.post("/commit/a/1").await.ok(),
            if *node == away {
                "pending"
            } else {
                "committed"
            }
        );
        assert_eq!(
            browser.post("/end-the-others").await.ok(),
            if *node == away {
                "pending"
            } else {
                "committed"
            }
        );
        new.is_refused("revoked").await;
        let mut last = instance.signed_in(user).await;
        last.is(user).await;
        news.insert(*node, last);
    }
    // Those who have no session yet are served, whichever master would have had it.
    for _ in 0..10 {
        let mut stranger = instance.browser();
        stranger.given("/put/cart/pear").await.ok();
        assert_eq!(stranger.get("/get/cart").await.ok(), "pear");
    }
    cluster.node(away).resume();
    instance.is_back().await;
    for (node, user) in &users {
        let browser = browsers.get_mut(node).unwrap();
        assert_eq!(browser.freshness().await, "live");
        assert_eq!(browser.get("/get/a").await.ok(), "1");
        let new = news.get_mut(node).unwrap();
        assert!(has(&cluster, *node, new), "node {node}");
        match *node == away {
            true => new.settles(user).await,
            false => new.is(user).await,
        }
    }
}
