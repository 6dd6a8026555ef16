//! Two processes with near caches on one Redis.

use crate::support::Pair;
use crate::support::wait::wait_for;

#[test]
fn hot_sessions_are_served_from_memory_and_ends_are_seen() {
    let pair = Pair::start(&["--near-cache", "100"]);
    let alice = pair.signed_in(0, "alice");
    let elsewhere = |path: &str| {
        let [_, mut there] = pair.both(&alice);
        there.get(path)
    };
    let near = |name: &str| elsewhere("/api/stats").json()["near"][name].as_u64();
    wait_for("a copy answers", || {
        assert_eq!(elsewhere("/api/me").status, 200);
        (near("hits")? > 0).then_some(())
    });
    assert_eq!(elsewhere("/api/session").json()["freshness"], "live");
    let [mut here, _] = pair.both(&alice);
    assert_eq!(here.post("/api/logout").status, 200);
    wait_for("the end is seen", || {
        (elsewhere("/api/me").status == 401).then_some(())
    });
    wait_for("it was told", || (near("invalidations")? > 0).then_some(()));
}
