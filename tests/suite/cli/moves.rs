//! migrate, as a program.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sessile::RedisStore;

use super::fixture::{Said, command, on};
use crate::support::Server;

const N: u64 = 2_000;

fn fill(server: &Server) {
    let mut pipeline = redis::pipe();
    for n in 0..N {
        let text = format!(
            r#"{{"user_id": "user_{}", "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": {{"n": {n}}}}}"#,
            n % 100
        );
        pipeline
            .cmd("SET")
            .arg(format!(
                "session:user_{}_{}",
                n % 100,
                1_741_081_542_000 + n
            ))
            .arg(text)
            .arg("EX")
            .arg(3600)
            .ignore();
    }
    pipeline.exec(&mut server.connection()).unwrap();
}

fn counts(json: &Value) -> (u64, u64) {
    let migrated: u64 = json["migrated"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    (migrated, json["already"].as_u64().unwrap())
}

#[tokio::test]
async fn a_migration_reports_in_words_and_as_json_and_shows_no_id() {
    let server = Server::start();
    fill(&server);
    let secret = "user_7_1741081542007";
    let bad = "broken-secret-id-0123456789";
    let mut connection = server.connection();
    redis::cmd("SET")
        .arg(format!("session:{bad}"))
        .arg("{")
        .arg("EX")
        .arg(60)
        .exec(&mut connection)
        .unwrap();
    let dry = on(
        &server,
        &["migrate", "--from", "legacy", "--dry-run", "--json"],
    );
    assert_eq!(dry.code, 1, "one of them cannot be read");
    assert_eq!(counts(&serde_json::from_str(&dry.stdout).unwrap()), (N, 0));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let said = on(
        &server,
        &[
            "migrate",
            "--from",
            "legacy",
            "--yes",
            "--report",
            path.to_str().unwrap(),
        ],
    );
    assert_eq!(said.code, 1);
    for text in [&*said.stdout, &*said.stderr, &*dry.stdout, &*dry.stderr] {
        assert!(!text.contains(secret) && !text.contains(bad), "{text}");
    }
    assert!(
        said.stdout.contains(&format!("{N}  migrated")),
        "{}",
        said.stdout
    );
    assert!(
        said.stdout
            .contains("session:bro… (27 bytes): it is cut off"),
        "{}",
        said.stdout
    );
    assert!(
        !said.stderr.contains('\u{1b}'),
        "without a terminal there is no bar"
    );
    // The file is the operator's alone, and has what they need.
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(counts(&report), (N, 0));
    assert_eq!(report["problems"][0]["key"], format!("session:{bad}"));

    let _: i64 = redis::cmd("DEL")
        .arg(format!("session:{bad}"))
        .query(&mut connection)
        .unwrap();
    let again = on(&server, &["migrate", "--from", "legacy", "--yes", "--json"]).json();
    assert_eq!((counts(&again), &again["ours"]), ((0, 0), &N.into()));
    let list = on(&server, &["list", "user_7", "--json"]).json();
    assert_eq!(list.as_array().unwrap().len() as u64, N / 100);
}

#[tokio::test]
async fn a_report_that_cannot_be_written_stops_it_before_anything_is_done() {
    let server = Server::start();
    fill(&server);
    let said = on(
        &server,
        &[
            "migrate",
            "--from",
            "legacy",
            "--yes",
            "--report",
            "/no/such/folder/report",
        ],
    );
    assert!(said.failed(1).contains("the report cannot be written"));
    assert_eq!(server.dump().len() as u64, N);
}

#[tokio::test]
async fn a_process_that_is_killed_or_interrupted_loses_nothing_and_the_next_goes_on() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut partly = 0;
    for (n, signal) in ["KILL", "INT", "KILL", "INT", "KILL", "INT", "KILL", "INT"]
        .into_iter()
        .enumerate()
    {
        redis::cmd("FLUSHALL")
            .exec(&mut server.connection())
            .unwrap();
        fill(&server);
        let url = server.url();
        let mut child = command(&[
            "migrate", "--from", "legacy", "--yes", "--json", "--redis", &url,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        // As soon as it has begun, and a little later each time.
        let began = |server: &Server| {
            let keys: Vec<String> = redis::cmd("KEYS")
                .arg("legacy:*")
                .query(&mut server.connection())
                .unwrap();
            !keys.is_empty()
        };
        while !began(&server) && child.try_wait().unwrap().is_none() {}
        std::thread::sleep(Duration::from_millis(3 * n as u64));
        let id = child.id().to_string();
        let _ = std::process::Command::new("kill")
            .args(["-s", signal, &id])
            .status();
        let output = child.wait_with_output().unwrap();
        let said = Said::of(&output);
        let left: Vec<String> = redis::cmd("KEYS")
            .arg("session:user_*")
            .query(&mut server.connection())
            .unwrap();
        partly += u64::from(!left.is_empty());
        if signal == "INT" && said.code != 0 && !said.stdout.is_empty() {
            let report: Value = serde_json::from_str(&said.stdout).unwrap();
            assert_eq!(report["stopped"], true);
            assert_eq!(
                counts(&report).0,
                N - left.len() as u64,
                "it tells what it did"
            );
        }
        let rest = on(&server, &["migrate", "--from", "legacy", "--yes", "--json"]).json();
        assert_eq!(counts(&rest).0, left.len() as u64, "round {n}");
        for user in 0..100 {
            let user = format!("user_{user}");
            let listed = sessile::SessionStore::list(&store, user.as_str().into())
                .await
                .unwrap();
            assert_eq!(listed.len() as u64, N / 100, "{user} in round {n}");
        }
    }
    assert!(partly > 0, "none came in the middle");
}

#[tokio::test]
async fn a_cluster_is_refused_in_words() {
    let cluster = Server::with(&["cluster-enabled yes"]);
    let url = cluster.url();
    let said = super::fixture::sessile(&["migrate", "--from", "legacy", "--yes", "--redis", &url]);
    assert!(said.failed(1).contains("Redis Cluster"));
}
