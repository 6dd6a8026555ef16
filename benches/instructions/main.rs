//! How many instructions a request takes, counted by callgrind: that repeats where a time does not.
//!
//! ```text
//! instructions --check         fails if a row of ours grew by more than 5 % over benches/instructions.txt
//! instructions --record        writes benches/instructions.txt
//! instructions --profile DIR   leaves what `callgrind_annotate` reads
//! ```
//!
//! Each row runs in a process of its own under valgrind, which this program starts. Only what happens within
//! [`counted`] is counted, and what building the requests takes is taken off. What is recorded is what ours adds to the
//! floor: that a newer axum or other requests take more is none of it. Valgrind's processor has no
//! instructions for SHA-256: where a real one has, hashing an id takes a small part of the 2,126 that are counted here.

mod recorded;
mod valgrind;

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;

use recorded::Recorded;
use sessile_benches::report::table;
use sessile_benches::row::{Row, Run};
use sessile_benches::subject::{OWN, SUBJECTS, Subject};

/// Tables, buffers and what is made once have their size after so many.
const WARM_UP: usize = 2000;
const REQUESTS: usize = 2000;
const RUNS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--count", subject, row] => count(subject, row),
        ["--profile", folder] => profile(Path::new(folder)),
        ["--record"] => {
            let own = compare();
            Recorded::now(own).write();
        }
        ["--check"] => return check(&compare()),
        _ => println!("`make callgrind` runs this"),
    }
    ExitCode::SUCCESS
}

/// Runs one row, or builds its requests alone: valgrind watches this.
fn count(subject: &str, row: &str) {
    let row = Row::ALL
        .into_iter()
        .find(|other| other.name() == row)
        .expect("a row");
    if let Some(kind) = valgrind::kind_that_is_built(subject) {
        // Once before, for what is made once.
        row.build_alone(kind, 1);
        return counted(|| row.build_alone(kind, black_box(REQUESTS)));
    }
    let subject = SUBJECTS
        .into_iter()
        .find(|other| other.name == subject)
        .expect("a subject");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut run = runtime.block_on(Run::new(subject, row, ""));
    runtime.block_on(run.prepare(WARM_UP));
    runtime.block_on(run.send(WARM_UP));
    runtime.block_on(run.prepare(REQUESTS));
    counted(|| runtime.block_on(run.send(black_box(REQUESTS))));
    runtime.block_on(run.check());
}

/// What is counted: valgrind knows it by its name.
#[inline(never)]
fn counted(work: impl FnOnce()) {
    work();
}

/// Counts every row of every subject, prints them, and returns what ours adds to the floor.
fn compare() -> Vec<(Row, u64)> {
    let mut counted = Vec::new();
    for subject in SUBJECTS {
        for row in Row::ALL.into_iter().filter(|row| subject.has(*row)) {
            counted.push((subject.name, row, instructions(subject, row)));
        }
    }
    let find = |name: &str, row: Row| {
        counted
            .iter()
            .find(|(other, of, _)| *other == name && *of == row)
            .map(|(.., count)| *count)
    };
    let mut head = vec!["subject"];
    head.extend(Row::ALL.map(Row::name));
    let table_of = |title: &str, cell: &dyn Fn(&Subject, Row) -> Option<u64>| {
        let rows: Vec<Vec<String>> = SUBJECTS
            .into_iter()
            .map(|subject| {
                let cells = Row::ALL.map(|row| {
                    cell(subject, row).map_or_else(String::new, |count| count.to_string())
                });
                [subject.name.to_owned()].into_iter().chain(cells).collect()
            })
            .collect();
        table(title, &head, &rows);
    };
    let added = |subject: &Subject, row: Row| {
        Some(find(subject.name, row)?.saturating_sub(find(subject.floor, row)?))
    };
    table_of(
        "Instructions a request, without building it",
        &|subject, row| find(subject.name, row),
    );
    table_of("Of these over the floor", &added);
    Row::ALL
        .into_iter()
        .filter_map(|row| Some((row, added(&OWN, row)?)))
        .collect()
}

/// The least of some runs: where the allocator finds its memory depends on random ids.
fn instructions(subject: &Subject, row: Row) -> u64 {
    let building = valgrind::count(valgrind::building(subject.kind), row, None);
    // The others are only printed.
    let is_recorded = subject.name == OWN.name || subject.name == OWN.floor;
    let least = (0..if is_recorded { RUNS } else { 1 })
        .map(|_| valgrind::count(subject.name, row, None))
        .min()
        .expect("there are some");
    (least - building) / REQUESTS as u64
}

fn profile(folder: &Path) {
    std::fs::create_dir_all(folder).expect("the folder can be made");
    for row in Row::ALL {
        let file = folder.join(format!("callgrind.out.{}", row.name().replace(' ', "-")));
        valgrind::count(OWN.name, row, Some(&file));
        println!("{}", file.display());
    }
}

fn check(own: &[(Row, u64)]) -> ExitCode {
    let recorded = match Recorded::read() {
        Ok(recorded) => recorded,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    match recorded.compare(own) {
        Ok(said) => {
            println!("\n{said}");
            ExitCode::SUCCESS
        }
        Err(said) => {
            eprintln!("\n{said}");
            ExitCode::FAILURE
        }
    }
}
