//! A showcase whose Redis restarts, or is not there yet.

use serde_json::json;

use crate::showcase::{assert_ended, refusal};
use crate::showcase_redis::keys;
use crate::support::wait::wait_for;
use crate::support::{Client, Server, Showcase};

/// The status of the first answer that is not 503: for a moment after it went away, Redis may not be answering.
fn status_in_time(client: &mut Client, path: &str) -> u16 {
    wait_for("Redis answers again", || {
        let answer = client.get(path);
        (answer.status != 503).then_some(answer.status)
    })
}

#[test]
fn a_redis_that_restarts_with_its_data_keeps_sessions_and_ends() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    let showcases = [(); 2].map(|()| Showcase::on(&server.url(), &[]));
    let mut client = showcases[0].signed_in("alice");
    let mut over = showcases[0].signed_in("alice");
    assert_eq!(client.put("/api/data/x", &json!("kept")).status, 204);
    let ended = over.clone();
    assert_eq!(over.post("/api/logout").status, 200);
    server.kill();
    server.restart();
    for (showcase, newcomer) in showcases.iter().zip(["bob", "carol"]) {
        client.go_to(showcase);
        assert_eq!(status_in_time(&mut client, "/api/data/x"), 200);
        assert_eq!(client.get("/api/data/x").json(), json!("kept"));
        assert_eq!(client.listed().len(), 1);
        assert_ended(&mut ended.at(showcase), "logged_out");
        assert!(showcase.signed_in(newcomer).is_signed_in());
    }
}

#[test]
fn after_a_redis_that_restarts_without_its_data_everybody_is_a_stranger() {
    let mut server = Server::start();
    let showcases = [(); 2].map(|()| Showcase::on(&server.url(), &[]));
    let user = showcases[0].signed_in("alice");
    let mut anonymous = showcases[0].client();
    anonymous.put("/api/data/x", &json!(1));
    server.kill();
    server.restart();
    for showcase in &showcases {
        for (client, path) in [(&user, "/api/session"), (&anonymous, "/api/data/x")] {
            let mut tab = client.at(showcase);
            status_in_time(&mut tab, "/api/session");
            let session = tab.get("/api/session");
            assert_eq!(
                (session.status, session.json()["kind"].as_str()),
                (200, Some("none"))
            );
            let answer = tab.get(path);
            assert!([200, 404].contains(&answer.status), "{}", answer.text());
            assert_eq!(tab.get("/api/me").refused().0, 401);
            assert_eq!(tab.get("/").status, 200);
            assert_eq!(tab.cookie, client.cookie, "the cookie is left alone");
        }
    }
    assert!(keys(&server).is_empty(), "nobody uploads what Redis lost");
    for showcase in &showcases {
        let mut tab = user.at(showcase);
        assert_eq!(tab.login("alice").status, 200);
        assert!(tab.is_signed_in());
    }
}

#[test]
fn a_showcase_starts_while_redis_is_away_and_works_as_soon_as_it_is_there() {
    let mut server = Server::start();
    server.kill();
    let showcase = Showcase::on(&server.url(), &[]);
    let mut client = showcase.client();
    assert_eq!(client.get("/api/ping").status, 200);
    let session = client.get("/api/session");
    assert_eq!(
        (session.status, session.json()["kind"].as_str()),
        (200, Some("none"))
    );
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.get("/api/health").status, 200);
    // Where sessions may not live in the process, nobody signs in.
    let refusing = Showcase::on(&server.url(), &["--outage", "refuse"]);
    let mut refused = refusing.client();
    let login = refused.login("alice");
    assert_eq!(login.refused(), refusal(503, "store_unavailable"));
    assert!(login.header("retry-after").is_some());
    assert_eq!(client.login("alice").status, 200);
    let session = client.get("/api/session");
    assert_eq!(session.json()["freshness"], "local");

    server.restart();
    wait_for("somebody can sign in", || {
        (refused.login("alice").status == 200).then_some(())
    });
    assert!(refused.is_signed_in());
    wait_for("who signed in before is known to Redis", || {
        let session = client.get("/api/session").json();
        assert_eq!(session["user"], "alice");
        (session["freshness"] == "live").then_some(())
    });
}

#[test]
fn under_an_id_that_nobody_can_look_up_one_signs_in_and_nothing_else() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    let mut client = Showcase::on(&server.url(), &[]).signed_in("alice");
    let old = client.clone();
    server.kill();
    // Another process, that never read it.
    let showcase = Showcase::on(&server.url(), &[]);
    client.go_to(&showcase);
    for path in ["/api/session", "/api/me", "/api/data/x", "/api/sessions"] {
        let answer = client.get(path);
        assert_eq!(
            answer.refused(),
            refusal(503, "store_unavailable"),
            "{path}"
        );
        assert!(answer.header("retry-after").is_some(), "{path}");
        assert_eq!(answer.set_cookie(), None, "{path}");
    }
    let answer = client.post("/api/logout");
    assert_eq!(answer.refused(), refusal(503, "store_unavailable"));
    assert_eq!(client.login("").refused().0, 422);
    assert_eq!(client.cookie, old.cookie, "the cookie is left alone");
    assert_eq!(client.login("alice").status, 200);
    let session = client.get("/api/session").json();
    assert_eq!(
        (&session["user"], &session["freshness"]),
        (&json!("alice"), &json!("local"))
    );
    server.restart();
    wait_for("Redis knows who signed in", || {
        let session = client.get("/api/session").json();
        assert_eq!(session["user"], "alice");
        (session["freshness"] == "live").then_some(())
    });
    let another = Showcase::on(&server.url(), &[]);
    for showcase in [&showcase, &another] {
        assert_ended(&mut old.at(showcase), "regenerated");
        assert!(client.at(showcase).is_signed_in());
    }
}

#[test]
fn a_program_that_stops_before_redis_has_everything_says_so() {
    let server = Server::start();
    let mut showcase = Showcase::on(&server.url(), &[]);
    let client = showcase.signed_in("alice");
    server.stop();
    assert_eq!(
        client.clone().post("/api/logout").json()["outcome"],
        "pending"
    );
    let mut local = showcase.client();
    assert_eq!(local.login("bob").status, 200);
    assert_eq!(local.get("/api/session").json()["freshness"], "local");
    showcase.signal("TERM");
    assert!(showcase.wait().0.success());
    let log = showcase.log();
    let warning = log.lines().find(|line| line.contains("are lost"));
    let warning = warning.unwrap_or_else(|| panic!("it is said: {log}"));
    for part in ["WARN", "pending=1", "local=1"] {
        assert!(warning.contains(part), "{part} in {warning}");
    }
}

#[test]
fn health_says_since_when_redis_is_away() {
    let mut server = Server::start();
    let showcase = Showcase::on(&server.url(), &[]);
    // Whoever has a session asks Redis, and so does the heartbeat.
    let mut client = showcase.signed_in("alice");
    let mut health_is = |mode: &str| {
        wait_for(mode, || {
            let health = client.get("/api/health");
            assert_eq!(
                (health.status, &health.json()["backend"]),
                (200, &"redis".into())
            );
            (health.json()["mode"] == mode).then(|| health.json()["since"].to_string())
        })
    };
    let began = health_is("healthy");
    server.kill();
    let away = health_is("degraded");
    assert_eq!(health_is("degraded"), away);
    server.restart();
    let back = health_is("healthy");
    assert!(began < away && away < back, "{began} {away} {back}");
}
