//! At a terminal: questions and their answers, a screen that is too narrow, Ctrl-C.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use sessile::{RedisStore, SessionStore};

use super::fixture::made;
use crate::support::{Server, dump};

/// Runs the program at a terminal of so many columns, and gives the exit code and what stands on the screen. `script` is
/// the terminal: what is typed into it reaches the program as from a keyboard, Ctrl-C too, also where whoever started the
/// tests ignores that. `typed`: the answer, to be typed when it is asked for.
fn at_terminal(
    server: &Server,
    columns: u16,
    arguments: &str,
    typed: Option<&str>,
) -> (i32, String) {
    let command = format!(
        "stty cols {columns} rows 40; exec env --default-signal=INT {} {arguments} --redis {}",
        env!("CARGO_BIN_EXE_sessile"),
        server.url()
    );
    // What waits for ever fails.
    let mut child = Command::new("timeout")
        .args(["60", "script", "--quiet", "--return"])
        .args(["--command", &command, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script (util-linux) starts");
    let mut keyboard = child.stdin.take().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (mut screen, mut chunk) = (Vec::new(), [0; 4096]);
    let mut typed = typed;
    loop {
        let number = out.read(&mut chunk).unwrap();
        screen.extend_from_slice(&chunk[..number]);
        if number == 0 {
            break;
        }
        let is_asked = dump::contains(&screen, b"Type yes to go on: ");
        if let Some(answer) = typed.take_if(|_| is_asked) {
            keyboard.write_all(answer.as_bytes()).unwrap();
        }
    }
    // Until here the keyboard is there: without one `script` hangs up.
    let status = child.wait().unwrap();
    drop(keyboard);
    let screen = String::from_utf8_lossy(&screen).replace('\r', "");
    (status.code().unwrap_or(-1), screen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_at_the_terminal_and_only_yes_is_yes() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    made(&store, "alice", 1).await;
    for answer in ["no\n", "\n", "yesterday\n"] {
        let (code, screen) = at_terminal(&server, 80, "end-all alice", Some(answer));
        assert_eq!(code, 1, "{screen}");
        assert!(
            screen.contains("This ends all sessions of alice. Type yes to go on:"),
            "{screen}"
        );
        assert!(screen.contains("Nothing was changed."), "{screen}");
        assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
    }
    // Ctrl-C is no answer, and ends it.
    let (code, screen) = at_terminal(&server, 80, "end-all alice", Some("\u{3}"));
    assert_ne!(code, 0, "{screen}");
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
    let (code, screen) = at_terminal(&server, 80, "end-all alice", Some("yes\n"));
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("1 session was ended."), "{screen}");
    assert_eq!(store.list("alice".into()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_too_narrow_for_a_table_gets_all_of_it_line_by_line() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (_, handle) = made(&store, "alice", 1).await;
    for columns in [1, 20, 60] {
        let (code, screen) = at_terminal(&server, columns, "list alice", None);
        assert_eq!(code, 0, "{screen}");
        assert!(screen.contains(&format!("handle: {handle}\n")), "{screen}");
        assert!(screen.contains("address: 192.0.2.1\n"), "{screen}");
        assert!(!screen.contains('\u{1b}'), "a user agent moves no cursor");
    }
    let (_, screen) = at_terminal(&server, 250, "list alice", None);
    assert!(screen.starts_with("HANDLE "), "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_shows_at_a_terminal_how_far_it_is_and_leaves_the_report() {
    let server = Server::start();
    let mut connection = server.connection();
    let mut pipeline = redis::pipe();
    for n in 0..2_000 {
        let key = format!("session:user_{n}_{}", 1_741_081_542_000u64 + n);
        let record = r#"{"user_id": "u1", "last_activity": null}"#.replace("u1", &n.to_string());
        let set = pipeline.cmd("SET").arg(key).arg(record);
        set.arg("EX").arg(3600).ignore();
    }
    pipeline.exec(&mut connection).unwrap();
    for columns in [10, 80] {
        let (code, screen) = at_terminal(&server, columns, "migrate --from legacy --yes", None);
        assert_eq!(code, 0, "{screen}");
        assert!(
            screen.contains(" a second") && screen.contains('%') || columns < 80,
            "{screen}"
        );
        assert!(
            screen.contains("2000 keys") || screen.contains("2000"),
            "{screen}"
        );
    }
}
