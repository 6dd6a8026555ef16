//! How often a request allocates. Growing an allocation counts as one more; building the request counts as none.

use allocation_counter::measure;
use sessile_benches::report::{Rounds, table};
use sessile_benches::row::{Row, Run};
use sessile_benches::subject::SUBJECTS;

const WARM_UP: usize = 2000;
const REQUESTS: usize = 1001;

fn main() {
    let counted: Vec<(Row, Vec<(Rounds, Rounds)>)> = Row::ALL
        .into_iter()
        .map(|row| {
            (
                row,
                SUBJECTS
                    .iter()
                    .map(|subject| count(&mut Run::new(subject, row)))
                    .collect(),
            )
        })
        .collect();
    for (at, subject) in SUBJECTS.iter().enumerate() {
        let rows: Vec<Vec<String>> = counted
            .iter()
            .map(|(row, counts)| {
                let (floor, (own, bytes)) = (&counts[0].0, &counts[at]);
                let (least, most) = own.spread();
                vec![
                    row.name().into(),
                    format!("{}", own.median()),
                    format!("{least}–{most}"),
                    format!("{:+}", own.median() - floor.median()),
                    format!("{}", bytes.median()),
                ]
            })
            .collect();
        let head = [
            "row",
            "allocations",
            "least–most",
            "over the floor",
            "bytes",
        ];
        table(&format!("Allocations: {}", subject.name), &head, &rows);
    }
}

/// Allocations and their bytes, request by request. Where a table grows there are more: hence the median.
fn count(run: &mut Run) -> (Rounds, Rounds) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
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
