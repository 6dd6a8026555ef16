//! A million sessions with 200 bytes of data: what they take, and whether anything gets slower on the way there.
//!
//! ```text
//! memory [--quick] [--ten-million]
//! ```
//!
//! Each case runs in a process of its own, which this program starts, for memory that was once used does not go back.
//! Everything goes through the layer, with the requests of the other programs. Repeats are interleaved.

mod case;
mod expiry;
mod far;

use std::process::Command;

use case::{Case, Figures};
use sessile_benches::report::{Rounds, table};
use sessile_benches::{is_quick, versions};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [case, subject, does, sessions] = &arguments[..]
        && case == "--case"
    {
        let sessions = sessions.parse().expect("a number");
        print!("{}", Case::new(subject, does, sessions).run().to_lines());
        return;
    }
    let (repeats, most) = if is_quick() {
        (1, 100_000)
    } else {
        (3, 1_000_000)
    };
    versions::print();
    println!("\n{repeats} runs, each in a process of its own; median (least–most).");
    growth(repeats, most);
    expiry(repeats, most);
    if arguments.iter().any(|argument| argument == "--ten-million") {
        far(10 * most);
    }
}

fn growth(repeats: usize, most: usize) {
    let mut cases = vec![Case::new("floor", "/plain", 1000)];
    for subject in ["sessile", "tower-sessions", "axum_session"] {
        let sizes = [1000, 10_000, 100_000, 1_000_000];
        for sessions in sizes.into_iter().filter(|sessions| *sessions <= most) {
            cases.push(Case::new(subject, "/create", sessions));
        }
        cases.push(Case::new(subject, "/enter", most));
    }
    cases.push(Case::new("sessile", "/create without user agent", most));
    // Who is signed in, and no data.
    cases.push(Case::new("session-guard", "/enter", 1000));
    cases.push(Case::new("session-guard", "/enter", most));
    let columns = [
        ("bytes each", "bytes", 0),
        ("slowest create (µs)", "slowest", 0),
        ("99.9 % of creates (µs)", "slow", 1),
        ("ns a read", "read", 0),
        ("2 threads × 1", "threads", 2),
    ];
    measure("Memory", &cases, &columns, repeats);
}

/// `tower-sessions`' store in memory drops nothing that is over, and `axum_session` first looks an hour after its start,
/// which no setting brings nearer: neither can be measured here.
fn expiry(repeats: usize, most: usize) {
    let cases = [
        Case::new("sessile", "expires", most),
        Case::new("sessile", "expires not", most),
        Case::new("session-guard", "expires", most),
    ];
    let columns = [
        ("all dropped within (ms)", "purge", 0),
        ("slowest request meanwhile (µs)", "slowest meanwhile", 0),
        ("without waiting for a processor (µs)", "slowest by itself", 0),
        ("bytes each, filled again after it", "again", 0),
    ];
    measure("Memory: all are over at once", &cases, &columns, repeats);
}

fn far(sessions: usize) {
    let columns = [
        ("bytes each", "bytes", 0),
        ("slowest create (µs)", "slowest", 0),
        ("ns a read, of the same hundred", "near", 0),
        ("ns a read, each of another", "read", 0),
        ("ns to touch as much memory", "touch", 0),
    ];
    let cases = [Case::new("sessile", "far reads", sessions)];
    measure("Memory: random reads", &cases, &columns, 1);
}

fn measure(title: &str, cases: &[Case], columns: &[(&str, &str, usize)], repeats: usize) {
    let mut runs: Vec<Vec<Figures>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..repeats {
        for (case, runs) in cases.iter().zip(&mut runs) {
            runs.push(in_own_process(case));
        }
    }
    let mut head = vec!["subject", "made by", "sessions"];
    head.extend(columns.iter().map(|(title, ..)| *title));
    let rows: Vec<Vec<String>> = cases
        .iter()
        .zip(&runs)
        .map(|(case, runs)| {
            let mut cells = vec![
                case.subject.clone(),
                case.does.clone(),
                case.sessions.to_string(),
            ];
            cells.extend(
                columns
                    .iter()
                    .map(|(_, name, digits)| cell(runs, name, *digits)),
            );
            cells
        })
        .collect();
    table(title, &head, &rows);
}

fn in_own_process(case: &Case) -> Figures {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .args(["--case", &case.subject, &case.does])
        .arg(case.sessions.to_string())
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

fn cell(runs: &[Figures], name: &str, digits: usize) -> String {
    let values: Vec<f64> = runs.iter().filter_map(|run| run.get(name)).collect();
    if values.is_empty() {
        return String::new();
    }
    let rounds = Rounds::new(values);
    format!(
        "{:.digits$} ({})",
        rounds.median(),
        rounds.least_to_most(digits)
    )
}
