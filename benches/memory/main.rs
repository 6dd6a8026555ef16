//! A million sessions with 200 bytes of data: what they take, and whether anything gets slower on the way there.
//!
//! Each case runs in a process of its own, which this program starts, for memory that was once used does not go back.
//! Everything goes through the layer, with the requests of the other programs.

mod case;

use std::process::Command;

use case::{Case, Figures};
use sessile_benches::report::{Rounds, table};

const REPEATS: usize = 3;

const CASES: [Case; 10] = [
    Case::new("floor", "/plain", 1000),
    Case::new("sessile", "/create", 1000),
    Case::new("sessile", "/create", 1_000_000),
    Case::new("sessile", "/create without user agent", 1_000_000),
    Case::new("sessile", "/enter", 1_000_000),
    Case::new("tower-sessions", "/create", 1000),
    Case::new("tower-sessions", "/create", 1_000_000),
    Case::new("tower-sessions", "/create without user agent", 1_000_000),
    Case::new("tower-sessions", "/enter", 1_000_000),
    Case::new("sessile", "/create and purge", 1_000_000),
];

fn main() {
    let wanted = std::env::args()
        .nth(1)
        .and_then(|at| at.parse::<usize>().ok());
    if let Some(case) = wanted.and_then(|at| CASES.get(at)) {
        print!("{}", case.run().to_lines());
        return;
    }
    let rows: Vec<Vec<String>> = CASES
        .iter()
        .enumerate()
        .map(|(at, case)| {
            row(
                case,
                &(0..REPEATS).map(|_| in_own_process(at)).collect::<Vec<_>>(),
            )
        })
        .collect();
    let head = [
        "subject",
        "made by",
        "sessions",
        "bytes each",
        "slowest create (µs)",
        "99.9 % of creates (µs)",
        "ns a read",
        "2 threads × 1",
        "purge of all (ms)",
        "bytes each, filled again after it",
    ];
    table("Memory", &head, &rows);
}

fn in_own_process(at: usize) -> Figures {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .arg(at.to_string())
        .output()
        .expect("it runs again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Figures::from_lines(&text)
}

fn row(case: &Case, runs: &[Figures]) -> Vec<String> {
    let cell = |name: &str, digits: usize| {
        let values: Vec<f64> = runs.iter().filter_map(|run| run.get(name)).collect();
        if values.is_empty() {
            return "".into();
        }
        let rounds = Rounds::new(values);
        let (least, most) = rounds.spread();
        format!(
            "{:.digits$} ({least:.digits$}–{most:.digits$})",
            rounds.median()
        )
    };
    vec![
        case.subject.into(),
        case.route.into(),
        case.sessions.to_string(),
        cell("bytes", 0),
        cell("slowest", 0),
        cell("slow", 1),
        cell("read", 0),
        cell("threads", 2),
        cell("purge", 0),
        cell("again", 0),
    ]
}
