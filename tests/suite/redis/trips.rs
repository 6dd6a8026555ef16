//! How often a request goes to Redis, and with what: the table of the design, operation for operation.

use std::collections::BTreeMap;

use axum::Router;
use sessile::{RedisStore, SessionLayer};

use super::fixture::warm_up;
use crate::harness::{COOKIE, Client, with};
use crate::support::monitor::Monitor;
use crate::support::redis::Server;

struct Counted {
    app: Router,
    monitor: Monitor,
    // Last, and so ended last.
    _server: Server,
}

impl Counted {
    async fn start() -> Self {
        let server = Server::start();
        let store = RedisStore::connect(&server.url()).await.unwrap();
        warm_up(&store).await;
        Self {
            app: with(SessionLayer::builder(store)),
            monitor: server.monitor(),
            _server: server,
        }
    }

    /// What clients sent since the last time, but for the heartbeat. Scripts call commands too, which are no round
    /// trips.
    #[track_caller]
    fn sent(&mut self, expected: &[(&str, u64)]) {
        let expected: BTreeMap<_, _> = expected
            .iter()
            .map(|(name, calls)| ((*name).to_owned(), *calls))
            .collect();
        let sent = self.monitor.take().without_heartbeat().clients;
        assert_eq!(sent, expected);
    }

    async fn stranger_with_a_session(&mut self) -> Client {
        let mut client = Client::new(&self.app);
        client.post("/put/cart/pear").await.ok();
        self.monitor.take();
        client
    }

    async fn signed_in(&mut self, user: &str) -> Client {
        let client = Client::signed_in(&self.app, user).await;
        self.monitor.take();
        client
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inv09_who_touches_no_session_sends_nothing() {
    let mut counted = Counted::start().await;
    let mut client = Client::new(&counted.app);
    for path in ["/ping", "/look", "/who", "/get/cart"] {
        client.get(path).await;
    }
    let mut client = counted.signed_in("alice").await;
    client.get("/ping").await.ok();
    counted.sent(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_one_get_and_a_write_one_script_more() {
    let mut counted = Counted::start().await;
    let mut client = counted.signed_in("alice").await;
    client.get("/me").await.ok();
    counted.sent(&[("GET", 1)]);
    client.get("/sessions").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    client.post("/put/cart/pear").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    client.post("/count/n").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    client.post("/add/m/5").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_touch_is_one_script_more_and_goes_along_with_a_write() {
    let mut counted = Counted::start().await;
    let mut client = counted.signed_in("alice").await;
    // Another agent is told at once, but for the first ten seconds: so the session must be older than that.
    let seen = |ago| std::time::SystemTime::now() - std::time::Duration::from_secs(ago);
    let id = client.id().unwrap().to_owned();
    age(&counted._server, seen(70));
    client.get("/me").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    client.get("/me").await.ok();
    counted.sent(&[("GET", 1)]);
    age(&counted._server, seen(70));
    client.post("/put/cart/pear").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    assert_eq!(client.id(), Some(&*id));
}

/// Makes the only session of the server look as if it had been seen last at that instant.
fn age(server: &Server, seen: std::time::SystemTime) {
    let micros = seen
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_micros();
    let script = r"
        for _, key in ipairs(redis.call('KEYS', 'session:*')) do
            local parts = cmsgpack.unpack(redis.call('GET', key))
            if parts.s and not parts.x and string.find(parts.m, ' 5 alice', 1, true) then
                parts.s = string.gsub(parts.s, '^%d+', ARGV[1])
                redis.call('SET', key, cmsgpack.pack(parts), 'KEEPTTL')
            end
        end";
    let _: () = redis::cmd("EVAL")
        .arg(script)
        .arg(0)
        .arg(micros.to_string())
        .query(&mut server.connection())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_write_and_a_login_without_a_session_are_one_script() {
    let mut counted = Counted::start().await;
    let mut client = Client::new(&counted.app);
    client.post("/put/cart/pear").await.ok();
    counted.sent(&[("EVALSHA", 1)]);
    let mut client = Client::new(&counted.app);
    client.post("/login/alice").await.ok();
    counted.sent(&[("EVALSHA", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_from_a_session_is_two_and_from_a_strangers_three() {
    let mut counted = Counted::start().await;
    let mut client = counted.stranger_with_a_session().await;
    client.post("/login/alice").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 2)]);
    client.post("/login/alice").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    client.post("/login/bob").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_id_and_a_logout_are_two() {
    let mut counted = Counted::start().await;
    let mut client = counted.signed_in("alice").await;
    client.post("/regenerate").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    client.post("/reauthenticate").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    client.post("/logout").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_sessions_is_one_beside_the_own_read() {
    let mut counted = Counted::start().await;
    let other = counted.signed_in("alice").await.get("/handle").await.ok();
    let mut client = counted.signed_in("alice").await;
    client.post(&format!("/end/{other}")).await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    client.post("/end-others").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    client.post("/end-all").await.ok();
    counted.sent(&[("GET", 1), ("EVALSHA", 1)]);
    // Whoever administers has no session of their own.
    Client::new(&counted.app)
        .post("/revoke/alice/why")
        .await
        .ok();
    counted.sent(&[("EVALSHA", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn twin_cookies_are_looked_up_together() {
    let mut counted = Counted::start().await;
    let client = counted.signed_in("alice").await;
    let mut stale = counted.signed_in("alice").await;
    stale.post("/logout").await.ok();
    counted.monitor.take();
    let mut request = client.request("GET", "/me");
    let ids = [stale.id().unwrap_or("none"), client.id().unwrap()];
    let gone = counted.signed_in("bob").await;
    let twins = format!("{COOKIE}={}; {COOKIE}={}", gone.id().unwrap(), ids[1]);
    request
        .headers_mut()
        .insert(http::header::COOKIE, twins.parse().unwrap());
    let reply = Client::new(&counted.app).send(request).await;
    assert_eq!(reply.ok(), "bob");
    counted.sent(&[("GET", 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r69_no_request_sends_what_looks_at_many_keys_or_at_the_server() {
    let mut counted = Counted::start().await;
    let mut client = Client::new(&counted.app);
    client.post("/put/cart/pear").await.ok();
    for path in [
        "/login/alice",
        "/regenerate",
        "/put/cart/plum",
        "/count/n",
        "/reauthenticate",
    ] {
        client.post(path).await.ok();
    }
    client.get("/sessions").await.ok();
    client.post("/end-others").await.ok();
    client.post("/logout").await.ok();
    let calls = counted.monitor.take().without_heartbeat();
    let sent: Vec<_> = calls.clients.keys().map(String::as_str).collect();
    assert_eq!(sent, ["EVALSHA", "GET"]);
    let allowed = [
        "DEL",
        "EXISTS",
        "GET",
        "LTRIM",
        "PEXPIREAT",
        "PTTL",
        // One word to whoever waits for the end of a session.
        "PUBLISH",
        "RPUSH",
        "SET",
        "TIME",
        "ZADD",
        "ZCARD",
        "ZRANGE",
        "ZRANGEBYSCORE",
        "ZRANK",
        "ZREM",
        "ZSCORE",
    ];
    let called: Vec<_> = calls
        .scripts
        .keys()
        .map(String::as_str)
        .filter(|name| !allowed.contains(name))
        .collect();
    assert_eq!(called, [""; 0]);
}
