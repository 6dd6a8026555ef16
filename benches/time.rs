//! How long a request takes, in this process, without a network.
//!
//! The subjects take turns, a short round each, so that what else the machine does meets all alike. A number is the
//! median of the rounds. The building of the request is in it; what that alone takes is measured the same way.

use std::time::Instant;

use sessile_benches::app::Kind;
use sessile_benches::report::{Rounds, table};
use sessile_benches::row::{Row, Run};
use sessile_benches::subject::{SUBJECTS, Subject};
use sessile_benches::{is_quick, versions};

const WARM_UP: usize = 4;
const REQUESTS: usize = 1000;

fn main() {
    let rounds = if is_quick() { 7 } else { 41 };
    versions::print();
    println!("\n{rounds} rounds of {REQUESTS} requests; median, least–most.");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    for row in Row::ALL {
        let measured = runtime.block_on(Measured::of(row, WARM_UP + rounds));
        let head = [
            "subject",
            "ns a request",
            "least–most",
            "× floor",
            "× floor, without building",
        ];
        let rows: Vec<Vec<String>> = measured
            .subjects
            .iter()
            .map(|(subject, rounds)| measured.cells(subject, rounds))
            .chain([measured.building()])
            .collect();
        table(&format!("Time: {}", row.name()), &head, &rows);
    }
}

struct Measured {
    subjects: Vec<(&'static Subject, Rounds)>,
    /// Building the request alone.
    builds: Vec<(Kind, Rounds)>,
}

impl Measured {
    async fn of(row: Row, rounds: usize) -> Self {
        let mut runs = Vec::new();
        for subject in SUBJECTS.into_iter().filter(|subject| subject.has(row)) {
            runs.push((subject, Run::new(subject, row, "").await, Vec::new()));
        }
        let mut builds: Vec<(Kind, Vec<f64>)> = Kind::ALL
            .into_iter()
            .map(|kind| (kind, Vec::new()))
            .collect();
        for round in 0..rounds {
            for (_, run, took) in &mut runs {
                run.prepare(REQUESTS).await;
                let began = Instant::now();
                run.send(REQUESTS).await;
                note(round, began, took);
            }
            for (kind, took) in &mut builds {
                let began = Instant::now();
                row.build_alone(*kind, REQUESTS);
                note(round, began, took);
            }
        }
        let mut subjects = Vec::new();
        for (subject, mut run, took) in runs {
            run.check().await;
            subjects.push((subject, Rounds::new(took)));
        }
        let builds = builds
            .into_iter()
            .map(|(kind, took)| (kind, Rounds::new(took)))
            .collect();
        Self { subjects, builds }
    }

    fn cells(&self, subject: &Subject, rounds: &Rounds) -> Vec<String> {
        let (floor, floor_rounds) = self
            .subjects
            .iter()
            .find(|(floor, _)| floor.name == subject.floor)
            .expect("the floors lack no row");
        let (own, floor_time) = (rounds.median(), floor_rounds.median());
        let answering = own - self.build(subject.kind);
        let floor_answering = floor_time - self.build(floor.kind);
        vec![
            subject.name.into(),
            format!("{own:.0}"),
            rounds.least_to_most(0),
            format!("{:.2}", own / floor_time),
            format!("{:.2}", answering / floor_answering),
        ]
    }

    fn build(&self, kind: Kind) -> f64 {
        self.builds
            .iter()
            .find(|(other, _)| *other == kind)
            .map_or(0.0, |(_, rounds)| rounds.median())
    }

    fn building(&self) -> Vec<String> {
        vec![
            "building the request alone: axum, with address, actix-web".into(),
            Kind::ALL
                .map(|kind| format!("{:.0}", self.build(kind)))
                .join(", "),
            String::new(),
            String::new(),
            String::new(),
        ]
    }
}

fn note(round: usize, began: Instant, rounds: &mut Vec<f64>) {
    let took = began.elapsed();
    if round >= WARM_UP {
        rounds.push(took.as_nanos() as f64 / REQUESTS as f64);
    }
}
