//! How often a request allocates. Growing an allocation counts as one more; building the request counts as none.

use allocation_counter::measure;
use sessile_benches::report::{Rounds, table};
use sessile_benches::row::{Row, Run};
use sessile_benches::subject::{SUBJECTS, Subject};

const WARM_UP: usize = 2000;
const REQUESTS: usize = 1001;

fn main() {
    for row in Row::ALL {
        let counted: Vec<(&Subject, Rounds, Rounds)> = SUBJECTS
            .into_iter()
            .filter(|subject| subject.has(row))
            .map(|subject| {
                let (counts, bytes) = count(subject, row);
                (subject, counts, bytes)
            })
            .collect();
        let rows: Vec<Vec<String>> = counted
            .iter()
            .map(|(subject, counts, bytes)| {
                let floor = counted
                    .iter()
                    .find(|(floor, ..)| floor.name == subject.floor)
                    .map_or(0.0, |(_, counts, _)| counts.median());
                vec![
                    subject.name.into(),
                    format!("{}", counts.median()),
                    counts.least_to_most(0),
                    format!("{:+}", counts.median() - floor),
                    format!("{}", bytes.median()),
                ]
            })
            .collect();
        let head = [
            "subject",
            "allocations",
            "least–most",
            "over the floor",
            "bytes",
        ];
        table(&format!("Allocations: {}", row.name()), &head, &rows);
    }
}

/// Allocations and their bytes, request by request. Where a table grows there are more: hence the median.
fn count(subject: &'static Subject, row: Row) -> (Rounds, Rounds) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut run = runtime.block_on(Run::new(subject, row, ""));
    runtime.block_on(run.prepare(WARM_UP));
    runtime.block_on(run.send(WARM_UP));
    runtime.block_on(run.prepare(REQUESTS));
    let (mut counts, mut bytes) = (Vec::new(), Vec::new());
    for n in 0..REQUESTS {
        let mut request = Some(run.request(n));
        let info = measure(|| {
            let request = request.take().expect("there is one");
            drop(runtime.block_on(run.answer(request)));
        });
        counts.push(info.count_total as f64);
        bytes.push(info.bytes_total as f64);
    }
    (Rounds::new(counts), Rounds::new(bytes))
}
