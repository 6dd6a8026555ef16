//! The contract of a store, on every store there is, and through wrappers.

use std::collections::HashSet;
use std::time::Duration;

use sessile::store::wrappers::{Failing, Holding, Slow, Spy};
use sessile::{ManualClock, MemoryStore, store_conformance};

use crate::on_redis::OnRedis;

store_conformance!(memory, || async { MemoryStore::new() });
// What happens within one tick of a clock must be told apart all the same.
store_conformance!(memory_while_the_clock_stands_still, || async {
    MemoryStore::builder().clock(ManualClock::new()).build()
});
// A wrapper that hands a call on wrongly would break the tests that use it in ways that are hard to see.
store_conformance!(spied, || async { Spy::new(MemoryStore::new()) });
store_conformance!(wrapped, || async {
    let slow = Slow::new(MemoryStore::new(), Duration::ZERO);
    Failing::new(Holding::new(slow))
});
store_conformance!(redis, || async {
    let store = OnRedis::start().await;
    store.report();
    store
});

#[test]
fn every_case_is_in_the_list_and_every_rule_has_a_case() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/conformance");
    let mut written = HashSet::new();
    for file in std::fs::read_dir(&folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for rest in text.split("pub async fn ").skip(1) {
            let name = rest.split(['<', '(']).next().unwrap().to_owned();
            assert!(written.insert(name), "two cases have one name");
        }
    }
    let list = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    let listed: Vec<_> = list
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("rule_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        listed.len(),
        written.len(),
        "a case is listed twice or not at all"
    );
    assert_eq!(listed.into_iter().collect::<HashSet<_>>(), written);
    for rule in 1..=16 {
        let prefix = format!("rule_{rule:02}_");
        assert!(
            written.iter().any(|name| name.starts_with(&prefix)),
            "rule {rule}"
        );
    }
}
