//! One row in a process of its own, under callgrind.

use std::path::Path;
use std::process::Command;

use sessile_benches::app::Kind;
use sessile_benches::row::Row;

/// In a subject's place: building the requests alone.
pub const fn building(kind: Kind) -> &'static str {
    match kind {
        Kind::Axum => "building",
        Kind::AxumWithAddress => "building, with address",
        Kind::Actix => "building, actix-web",
    }
}

/// What stands in a subject's place, if it does.
pub fn kind_that_is_built(subject: &str) -> Option<Kind> {
    Kind::ALL
        .into_iter()
        .find(|kind| building(*kind) == subject)
}

/// The instructions of all requests of the row.
pub fn count(subject: &str, row: Row, file: Option<&Path>) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let file = file.unwrap_or_else(|| Path::new("/dev/null"));
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--toggle-collect=instructions::counted*",
        ])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["--count", subject, row.name()])
        .output()
        .expect("valgrind is there: `make callgrind` installs it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{subject}, {}: {said}", row.name());
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, number)| number.trim().parse().ok());
    match collected {
        Some(count) if count > 0 => count,
        _ => panic!("callgrind did not count: {said}"),
    }
}
