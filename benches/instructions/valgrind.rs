//! One row in a process of its own, under callgrind.

use std::path::Path;
use std::process::Command;

use sessile_benches::row::Row;

/// In a subject's place: building the requests alone.
pub const BUILDING: &str = "building";

/// The instructions of all requests of the row.
pub fn count(subject: &str, row: Row, file: Option<&Path>) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let file = file.unwrap_or_else(|| Path::new("/dev/null"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*::counted"])
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
