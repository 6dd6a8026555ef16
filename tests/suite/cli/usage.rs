//! Help, usage, and what goes wrong before anything is done.

use std::net::TcpListener;

use super::fixture::{on, sessile};
use crate::support::Server;

const COMMANDS: [&str; 10] = [
    "migrate", "list", "show", "stats", "history", "watch", "end", "end-all", "cleanup", "doctor",
];

const HANDLE: &str = "7b1f5c54-0d3b-4d47-9a57-3d3c5c8f7f10";

#[test]
fn help_names_every_command_and_each_commands_help_its_options() {
    let help = sessile(&["--help"]).done();
    for command in COMMANDS {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}: {help}"
        );
        let help = sessile(&[command, "--help"]).done();
        for option in [
            "--redis <URL>",
            "--namespace <NAME>",
            "--json",
            "Usage: sessile",
        ] {
            assert!(help.contains(option), "{command}: {option}: {help}");
        }
        let asks = matches!(command, "migrate" | "end" | "end-all" | "cleanup");
        assert_eq!(help.contains("--yes"), asks, "{command}");
    }
    let help = sessile(&["migrate", "--help"]).done();
    for text in [
        "Stop the old application first",
        "tower-sessions",
        "--dry-run",
        "--report <FILE>",
    ] {
        assert!(help.contains(text), "{text}");
    }
    assert!(sessile(&["--version"]).done().starts_with("sessile "));
}

#[test]
fn what_cannot_be_meant_is_refused_with_2_and_in_words() {
    for arguments in [
        &["fly"][..],
        &[],
        &["migrate"],
        &["migrate", "--from", "php"],
        &["migrate", "--from", "legacy", "--only", "nothing"],
        &["migrate", "--from", "legacy", "--local-offset", "late"],
        &["migrate", "--from", "legacy", "--prefix", "x"],
        &["migrate", "--from", "legacy", "--user-key", "x"],
        &[
            "migrate",
            "--from",
            "actix-session",
            "--local-offset",
            "+01:00",
        ],
        &["list"],
        &["show", "alice"],
        &["end", "alice"],
        &["end", "alice", "no-uuid", "--yes"],
        &["doctor", "--yes"],
        &["list", "alice", "--redis"],
    ] {
        let stderr = sessile(arguments).failed(2);
        assert!(
            stderr.contains("Usage") || stderr.contains("error:"),
            "{arguments:?}: {stderr}"
        );
    }
}

#[test]
fn what_changes_something_asks_and_without_a_terminal_wants_yes() {
    let server = Server::start();
    for arguments in [
        &["migrate", "--from", "legacy"][..],
        &["end", "alice", HANDLE],
        &["end-all", "alice"],
        &["cleanup"],
    ] {
        let before = server.dump();
        let stderr = on(&server, arguments).failed(2);
        assert!(stderr.contains("say --yes"), "{stderr}");
        assert_eq!(server.dump(), before);
    }
    on(&server, &["migrate", "--from", "legacy", "--dry-run"]).done();
    on(&server, &["cleanup", "--dry-run"]).done();
}

#[test]
fn a_server_that_is_not_there_is_1_and_in_words_without_the_password() {
    // Bound and let go: nothing listens there.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("redis://user:secret@127.0.0.1:{port}");
    for arguments in [
        &["list", "alice"][..],
        &["show", HANDLE],
        &["stats"],
        &["history", "alice"],
        &["watch", "alice"],
        &["end", "alice", HANDLE, "--yes"],
        &["end-all", "alice", "--yes"],
        &["cleanup", "--yes"],
    ] {
        let said = sessile(&[arguments, &["--redis", &url]].concat());
        let stderr = said.failed(1);
        assert!(
            stderr.contains("Redis cannot be reached"),
            "{arguments:?}: {stderr}"
        );
        assert!(!stderr.contains("secret"), "{stderr}");
    }
    let said = sessile(&["doctor", "--redis", &url]);
    assert_eq!(said.code, 1);
    assert!(
        said.stdout.contains("reachable") && !said.stdout.contains("secret"),
        "{}",
        said.stdout
    );
    for url in ["http://example.org", "redis://user:secret@host:port"] {
        let stderr = sessile(&["list", "alice", "--redis", url]).failed(2);
        assert!(
            stderr.contains("address of Redis") && !stderr.contains("secret"),
            "{stderr}"
        );
    }
    let stderr = sessile(&["list", "alice", "--namespace", "Shop"]).failed(2);
    assert!(stderr.contains("namespace"), "{stderr}");
}

#[test]
fn the_server_may_be_named_by_a_variable() {
    let server = Server::start();
    let output = super::fixture::command(&["stats", "--json"])
        .env("SESSILE_REDIS", server.url())
        .output()
        .unwrap();
    assert_eq!(super::fixture::Said::of(&output).json()["user_sessions"], 0);
}
