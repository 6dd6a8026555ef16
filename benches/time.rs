//! How long a request takes, in this process, without a network.
//!
//! The subjects take turns, a short round each, so that what else the machine does meets all alike. A number is the
//! median of the rounds. The building of the request is in it; what that alone takes is measured the same way.

use std::time::Instant;

use sessile_benches::report::{Rounds, table};
use sessile_benches::row::{Row, Run};
use sessile_benches::subject::SUBJECTS;

const ROUNDS: usize = 41;
const WARM_UP: usize = 4;
const REQUESTS: usize = 1000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let measured: Vec<(Row, Vec<Rounds>)> = Row::ALL
        .into_iter()
        .map(|row| (row, runtime.block_on(measure(row))))
        .collect();
    for (at, subject) in SUBJECTS.iter().enumerate() {
        let rows: Vec<Vec<String>> = measured
            .iter()
            .map(|(row, rounds)| {
                let building = rounds[SUBJECTS.len()].median();
                let (floor, own) = (rounds[0].median(), rounds[at].median());
                let (least, most) = rounds[at].spread();
                vec![
                    row.name().into(),
                    format!("{own:.0}"),
                    format!("{least:.0}–{most:.0}"),
                    format!("{:.2}", own / floor),
                    format!("{:.2}", (own - building) / (floor - building)),
                ]
            })
            .collect();
        let head = [
            "row",
            "ns a request",
            "least–most",
            "× floor",
            "× floor, without building",
        ];
        table(&format!("Time: {}", subject.name), &head, &rows);
    }
    let building: Vec<Vec<String>> = measured
        .iter()
        .map(|(row, rounds)| {
            let building = &rounds[SUBJECTS.len()];
            let (least, most) = building.spread();
            vec![
                row.name().into(),
                format!("{:.0}", building.median()),
                format!("{least:.0}–{most:.0}"),
            ]
        })
        .collect();
    table(
        "Time: building the request alone",
        &["row", "ns", "least–most"],
        &building,
    );
}

/// The rounds of each subject, and last those of building the request alone.
async fn measure(row: Row) -> Vec<Rounds> {
    let mut runs: Vec<Run> = SUBJECTS
        .iter()
        .map(|subject| Run::new(subject, row))
        .collect();
    let mut rounds = vec![Vec::new(); SUBJECTS.len() + 1];
    for round in 0..WARM_UP + ROUNDS {
        for (run, rounds) in runs.iter_mut().zip(&mut rounds) {
            run.prepare(REQUESTS).await;
            let took = Instant::now();
            run.send(REQUESTS).await;
            note(round, took, rounds);
        }
        let took = Instant::now();
        runs[0].build(REQUESTS);
        note(round, took, &mut rounds[SUBJECTS.len()]);
    }
    for run in &mut runs {
        run.check().await;
    }
    rounds.into_iter().map(Rounds::new).collect()
}

fn note(round: usize, began: Instant, rounds: &mut Vec<f64>) {
    let took = began.elapsed();
    if round >= WARM_UP {
        rounds.push(took.as_nanos() as f64 / REQUESTS as f64);
    }
}
