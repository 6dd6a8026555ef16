//! history, watch.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use sessile::store::{EndScope, EndSessions};
use sessile::{EndReason, RedisStore, SessionStore};

use super::fixture::{command, made, on};
use crate::support::Server;
use crate::support::wait::wait_until;

async fn revoked(store: &RedisStore, note: &str) {
    let end = EndSessions {
        scope: EndScope::All("alice".into()),
        reason: EndReason::Revoked,
        note: Some(note.into()),
        before: None,
    };
    store.end(end).await.unwrap();
}

#[tokio::test]
async fn a_users_history_is_told_for_people_and_for_programs() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (_, handle) = made(&store, "alice", 1).await;
    made(&store, "bob", 2).await;
    revoked(&store, "a stolen \u{1b}[2Jlaptop").await;
    let json = on(&server, &["history", "alice", "--json"]).json();
    let rows = json.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["event"], "ended");
    assert_eq!(rows[0]["reason"], "revoked");
    assert_eq!(rows[0]["handle"], handle.to_string());
    assert_eq!(rows[1]["event"], "signed_in");
    assert_eq!(rows[1]["reason"], serde_json::Value::Null);
    let table = on(&server, &["history", "alice"]).done();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("AT "));
    assert!(lines[1].contains("revoked") && lines[1].contains("laptop"));
    assert!(!table.contains('\u{1b}'), "a note moves no cursor");
    assert_eq!(
        on(&server, &["history", "nobody"]).done(),
        "Nothing is known of nobody.\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_user_is_told_as_it_happens_and_once() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    made(&store, "alice", 1).await;
    let url = server.url();
    let mut child = command(&["watch", "alice", "--json", "--redis", &url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            tell.send(line).ok();
        }
    });
    // Signing in again and again until it is told of: it may not have begun to watch yet.
    let mut made_since = 0_u8;
    let mut first = None;
    wait_until("a sign-in is told", async || {
        made(&store, "alice", 100 + made_since).await;
        made_since += 1;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        first = told.try_recv().ok();
        first.is_some()
    })
    .await;
    let row: serde_json::Value = serde_json::from_str(&first.unwrap()).unwrap();
    assert_eq!(row["event"], "signed_in");
    revoked(&store, "").await;
    let mut rows = vec![row];
    wait_until("the ends are told", async || {
        rows.extend(
            told.try_iter()
                .map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap()),
        );
        rows.iter().filter(|row| row["event"] == "ended").count() > usize::from(made_since)
    })
    .await;
    // Ctrl-C is no failure.
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .unwrap();
    assert!(sent.success());
    assert!(child.wait().unwrap().success());
    rows.extend(
        told.iter()
            .map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap()),
    );
    let ends = rows.iter().filter(|row| row["event"] == "ended").count();
    assert_eq!(
        ends,
        usize::from(made_since) + 1,
        "each once, and the one from before"
    );
}
