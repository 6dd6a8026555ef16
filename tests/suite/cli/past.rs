//! history, watch.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use sessile::admin::Admin;
use sessile::store::{EndScope, EndSessions};
use sessile::{EndReason, HistoryEntry, RedisStore, SessionStore, UserId};

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

/// Starts to watch; what is told comes line by line.
fn watching(server: &Server, users: &[&str]) -> (Child, Receiver<String>) {
    let url = server.url();
    let arguments = [&["watch", "--json", "--redis", &url], users].concat();
    let mut child = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            tell.send(line).ok();
        }
    });
    (child, told)
}

/// Ctrl-C is no failure.
fn interrupt(child: &mut Child) {
    let pid = child.id().to_string();
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args(["-INT", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_user_is_told_as_it_happens_and_once() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    made(&store, "alice", 1).await;
    let (mut child, told) = watching(&server, &["alice"]);
    // Signing in again and again until it is told of: it may not have begun to watch yet.
    let mut made_since = 0_u8;
    let mut first = None;
    wait_until("a sign-in is told", async || {
        made(&store, "alice", 100 + made_since).await;
        made_since += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
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
    interrupt(&mut child);
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

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_all_users_is_told_as_it_happens_and_once() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    made(&store, "alice", 1).await;
    let (mut child, told) = watching(&server, &[]);
    // As above: it may not have begun to watch yet.
    let mut handles = Vec::new();
    let mut first = None;
    wait_until("a sign-in is told", async || {
        for user in ["alice", "bob", "a user: {0000}:x"] {
            handles.push((user, made(&store, user, 0).await.1.to_string()));
        }
        first = told.recv_timeout(Duration::from_millis(500)).ok();
        first.is_some()
    })
    .await;
    let row = |line: String| serde_json::from_str::<serde_json::Value>(&line).unwrap();
    let mut rows = vec![row(first.unwrap())];
    revoked(&store, "the last of them").await;
    wait_until("the ends are told", async || {
        rows.extend(told.try_iter().map(row));
        let ends = rows.iter().filter(|row| row["event"] == "ended");
        ends.count() > handles.len() / 3
    })
    .await;
    interrupt(&mut child);
    rows.extend(told.iter().map(row));
    // Whoever was told of first, from then on everything is, once, and with whom it is about.
    let signed_in: Vec<_> = rows
        .iter()
        .filter(|row| row["event"] == "signed_in")
        .map(|row| {
            (
                row["user"].as_str().unwrap(),
                row["handle"].as_str().unwrap(),
            )
        })
        .collect();
    for (user, handle) in &handles[handles.len() - 3..] {
        let times = signed_in.iter().filter(|told| **told == (*user, handle));
        assert_eq!(times.count(), 1, "{user} in {rows:?}");
    }
    let ends = rows.iter().filter(|row| row["event"] == "ended");
    assert_eq!(ends.count(), handles.len() / 3 + 1);
    assert!(
        rows.iter()
            .all(|row| row["event"] != "ended" || row["user"] == "alice")
    );
}

/// However its passes fall among what happens, each entry is in one of them.
#[tokio::test(flavor = "multi_thread")]
async fn each_pass_tells_what_happened_since_the_last_and_nothing_twice() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    made(&store, "alice", 1).await;
    let mut follow = Admin::new(&store).follow(Duration::ZERO).await.unwrap();
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut handles = Vec::new();
            for n in 0..300u16 {
                let user = format!("user-{}", n % 7);
                handles.push((user.clone(), made(&store, &user, 0).await.1));
            }
            handles
        })
    };
    let mut told: Vec<(UserId, HistoryEntry)> = Vec::new();
    while !writer.is_finished() {
        let pass = follow.pass(|user, entry| told.push((user, entry)));
        pass.await.unwrap();
    }
    let pass = follow.pass(|user, entry| told.push((user, entry)));
    pass.await.unwrap();
    let mut handles = writer.await.unwrap();
    let mut told: Vec<_> = told
        .into_iter()
        .map(|(user, entry)| (user.as_str().to_owned(), entry.handle))
        .collect();
    handles.sort();
    told.sort();
    assert_eq!(told, handles);
    // And nothing has happened since.
    follow.pass(|user, _| panic!("{user}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_nobody_reads_any_more_ends() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    for users in [&["alice"][..], &[]] {
        let url = server.url();
        let arguments = [&["watch", "--redis", &url], users].concat();
        let mut child = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        wait_until("it has ended", async || {
            made(&store, "alice", 0).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            child.try_wait().unwrap().is_some()
        })
        .await;
        assert!(child.wait().unwrap().success());
    }
}
