//! What of the sessions outlives a crash of their server.

use super::{Level, Verdict, good};
use crate::admin::facts::Facts;

pub(super) fn persistence(facts: &Facts) -> Verdict {
    if facts
        .field("rdb_last_bgsave_status")
        .is_some_and(|status| status != "ok")
        || facts
            .field("aof_last_write_status")
            .is_some_and(|status| status != "ok")
    {
        return (
            Level::Error,
            "the last write to disk failed".into(),
            Some("look at the disk, and at the log of Redis: it may take no writes until then"),
        );
    }
    if facts.is("aof_enabled", "1") {
        return good("every write goes to the append-only file");
    }
    (
        Level::Warning,
        "no append-only file: a restart forgets the last minutes, or everything".into(),
        Some(
            "set appendonly yes: sessions that were lost are signed out, and ends that were lost must be asserted again",
        ),
    )
}

pub(super) fn replication(facts: &Facts) -> Verdict {
    if facts.is("role", "slave") {
        return (
            Level::Error,
            "it is a replica: it takes no writes".into(),
            Some("give the address of the primary"),
        );
    }
    match facts.number("connected_slaves") {
        None | Some(0) => (
            Level::Note,
            "it has no replica: while it is away, applications live from memory".into(),
            Some("a replica, and something that promotes it, make outages shorter"),
        ),
        Some(number) => {
            let what = format!("{number} replicas");
            // The field is there only where min-replicas-to-write is set.
            if facts.field("min_slaves_good_slaves").is_some() {
                good(format!(
                    "{what}, and writes wait for some of them to be there"
                ))
            } else {
                (
                    Level::Warning,
                    format!(
                        "{what}; a primary that is cut off from them goes on taking writes that a failover loses"
                    ),
                    Some("set min-replicas-to-write 1 and min-replicas-max-lag 10"),
                )
            }
        }
    }
}

pub(super) fn cluster(facts: &Facts) -> Verdict {
    let field = |name: &str| facts.cluster.get(name).map_or("?", String::as_str);
    let what = format!(
        "{}, {} of 16384 slots are served",
        field("cluster_state"),
        field("cluster_slots_ok")
    );
    if field("cluster_state") == "ok" && field("cluster_slots_ok") == "16384" {
        good(what)
    } else {
        let advice =
            "see CLUSTER INFO and CLUSTER SHARDS: users whose slot is not served cannot sign in";
        (Level::Error, what, Some(advice))
    }
}
