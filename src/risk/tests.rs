//! Each signal alone, and each without its input.

use std::time::{Duration, SystemTime};

use super::*;
use crate::clock::instant;
use crate::id::Handle;
use crate::record::{Activity, EndReason, HistoryEntry, HistoryEvent, NewRecord, Record, Seen};
use crate::session::SessionInfo;

const HOME: &str = "192.0.2.7";
const ELSEWHERE: &str = "198.51.100.9";
const MINUTE: Duration = Duration::from_secs(60);

fn now() -> SystemTime {
    instant(1_800_000_000_000_000)
}

fn handle(n: u128) -> Handle {
    uuid::Uuid::from_u128(n).into()
}

fn session(n: u128, address: Option<&str>, agent: Option<&str>) -> SessionInfo {
    let record = Record::new(&NewRecord {
        handle: handle(n),
        user: Some("alice".into()),
        created_at: now() - MINUTE,
        signed_in_at: Some(now() - MINUTE),
        absolute_end: now() + 60 * MINUTE,
        idle_timeout: 30 * MINUTE,
        touch_threshold: MINUTE,
        persistent: false,
        seen: Seen {
            at: now(),
            address: address.map(Into::into),
            agent: agent.map(Into::into),
        },
        values: Vec::new(),
    });
    SessionInfo::of(&record, true)
}

fn happened(
    n: u128,
    event: HistoryEvent,
    address: Option<&str>,
    agent: Option<&str>,
) -> HistoryEntry {
    HistoryEntry {
        at: now() - MINUTE,
        event,
        handle: handle(n),
        address: address.map(Into::into),
        user_agent: agent.map(Into::into),
    }
}

fn did(n: u128, ago: u32, resource: &str, address: Option<&str>, agent: Option<&str>) -> Activity {
    Activity {
        at: now() - ago * MINUTE / 60,
        kind: "view".into(),
        resource: resource.into(),
        handle: Some(handle(n)),
        address: address.map(Into::into),
        user_agent: agent.map(Into::into),
    }
}

/// One session that signed in and went on as it was: everything is known, and nothing is out of the ordinary.
fn quiet() -> Evidence {
    Evidence {
        now: now(),
        sessions: Some(vec![session(1, Some(HOME), Some("app/1"))]),
        history: Some(vec![happened(
            1,
            HistoryEvent::SignedIn,
            Some(HOME),
            Some("app/1"),
        )]),
        activities: Some(Vec::new()),
        requests: Some(1),
        ended_ids: Some(0),
    }
}

#[track_caller]
fn assert_raises(evidence: &Evidence, signals: &[Signal], level: RiskLevel) {
    let risk = Weighted::default().assess(evidence);
    assert_eq!(
        (&*risk.reasons, risk.level, &*risk.unknown),
        (signals, level, &[][..])
    );
}

/// Not known, and of no weight.
#[track_caller]
fn assert_unknown(evidence: &Evidence, signal: Signal) {
    let risk = Weighted::default().assess(evidence);
    assert!(risk.unknown.contains(&signal), "{risk:?}");
    assert_eq!((risk.reasons, risk.level), (Vec::new(), RiskLevel::Low));
}

#[test]
fn r55_a_new_session_is_low_and_everything_is_known_of_it() {
    assert_raises(&quiet(), &[], RiskLevel::Low);
}

#[test]
fn r55_where_nothing_is_known_every_signal_is_listed_and_the_level_is_low() {
    let risk = Weighted::default().assess(&Evidence::new(now()));
    assert_eq!(
        (risk.level, risk.reasons.len(), risk.unknown.len()),
        (RiskLevel::Low, 0, 8)
    );
}

#[test]
fn r55_another_family_of_user_agent_is_medium_by_itself_and_another_version_nothing() {
    let mut evidence = quiet();
    evidence.sessions = Some(vec![session(1, Some(HOME), Some("curl/9"))]);
    assert_raises(&evidence, &[Signal::UserAgentChanged], RiskLevel::Medium);
    evidence.sessions = Some(vec![session(1, Some(HOME), Some("app/2"))]);
    assert_raises(&evidence, &[], RiskLevel::Low);
    // Also where it went back to what it was.
    evidence.activities = Some(vec![did(1, 30, "page", Some(HOME), Some("curl/9"))]);
    assert_raises(&evidence, &[Signal::UserAgentChanged], RiskLevel::Medium);
    evidence.activities = None;
    evidence.history = Some(vec![happened(1, HistoryEvent::SignedIn, Some(HOME), None)]);
    assert_unknown(&evidence, Signal::UserAgentChanged);
}

#[test]
fn r55_another_network_is_a_reason_and_low_and_another_address_nothing() {
    let mut evidence = quiet();
    evidence.sessions = Some(vec![session(1, Some(ELSEWHERE), Some("app/1"))]);
    assert_raises(&evidence, &[Signal::NetworkChanged], RiskLevel::Low);
    evidence.sessions = Some(vec![session(1, Some("192.0.2.200"), Some("app/1"))]);
    assert_raises(&evidence, &[], RiskLevel::Low);
    evidence.sessions = Some(vec![session(1, None, Some("app/1"))]);
    assert_unknown(&evidence, Signal::NetworkChanged);
}

#[test]
fn r55_back_and_forth_between_two_networks_is_a_reason_beyond_the_change() {
    let mut evidence = quiet();
    evidence.activities = Some(vec![
        did(1, 10, "page", Some(ELSEWHERE), Some("app/1")),
        did(1, 20, "page", Some(HOME), Some("app/1")),
        did(1, 30, "page", Some(ELSEWHERE), Some("app/1")),
    ]);
    let both = [Signal::NetworkChanged, Signal::NetworksAlternate];
    assert_raises(&evidence, &both, RiskLevel::Medium);
    // There and back once is a day at work.
    evidence.activities = Some(vec![did(1, 20, "page", Some(ELSEWHERE), Some("app/1"))]);
    assert_raises(&evidence, &[Signal::NetworkChanged], RiskLevel::Low);
    // Nor is a journey through four networks.
    evidence.activities = Some(vec![
        did(1, 20, "page", Some("203.0.113.1"), Some("app/1")),
        did(1, 30, "page", Some(ELSEWHERE), Some("app/1")),
    ]);
    assert_raises(&evidence, &[Signal::NetworkChanged], RiskLevel::Low);
    evidence.activities = None;
    evidence.history = Some(vec![happened(
        1,
        HistoryEvent::SignedIn,
        None,
        Some("app/1"),
    )]);
    assert_unknown(&evidence, Signal::NetworksAlternate);
}

#[test]
fn r55_three_networks_at_the_same_time_are_medium_and_two_are_nothing() {
    let from = |n: u128, address| {
        let signed_in = happened(n, HistoryEvent::SignedIn, Some(address), Some("app/1"));
        (session(n, Some(address), Some("app/1")), signed_in)
    };
    let mut evidence = quiet();
    let all = [from(1, HOME), from(2, ELSEWHERE), from(3, "2001:db8::1")];
    let (sessions, history): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    evidence.sessions = Some(sessions.clone());
    evidence.history = Some(history.clone());
    assert_raises(&evidence, &[Signal::SeveralNetworks], RiskLevel::Medium);
    evidence.sessions = Some(sessions[..2].to_vec());
    assert_raises(&evidence, &[], RiskLevel::Low);
    let mut long_ago = sessions.clone();
    long_ago[2].last_seen_at -= 11 * MINUTE;
    evidence.sessions = Some(long_ago);
    assert_raises(&evidence, &[], RiskLevel::Low);
    evidence.sessions = None;
    assert_unknown(&evidence, Signal::SeveralNetworks);
}

#[test]
fn r55_an_ended_id_that_is_presented_is_medium() {
    let mut evidence = quiet();
    evidence.ended_ids = Some(1);
    assert_raises(&evidence, &[Signal::EndedIdPresented], RiskLevel::Medium);
    evidence.ended_ids = None;
    assert_unknown(&evidence, Signal::EndedIdPresented);
}

#[test]
fn r55_a_burst_of_requests_is_a_reason() {
    let mut evidence = quiet();
    evidence.requests = Some(300);
    assert_raises(&evidence, &[], RiskLevel::Low);
    evidence.requests = Some(301);
    assert_raises(&evidence, &[Signal::RequestBurst], RiskLevel::Low);
    evidence.requests = None;
    assert_unknown(&evidence, Signal::RequestBurst);
}

#[test]
fn r55_a_burst_of_new_ids_is_medium() {
    let mut evidence = quiet();
    let renewed = || happened(1, HistoryEvent::Regenerated, Some(HOME), Some("app/1"));
    evidence
        .history
        .as_mut()
        .unwrap()
        .extend((0..9).map(|_| renewed()));
    assert_raises(&evidence, &[], RiskLevel::Low);
    evidence.history.as_mut().unwrap().push(renewed());
    assert_raises(&evidence, &[Signal::RegenerationBurst], RiskLevel::Medium);
    for entry in evidence.history.as_mut().unwrap() {
        entry.at -= 10 * MINUTE;
    }
    assert_raises(&evidence, &[], RiskLevel::Low);
    evidence.history = None;
    assert_unknown(&evidence, Signal::RegenerationBurst);
}

#[test]
fn r55_something_privileged_from_a_new_network_is_medium_and_high_where_the_session_moved() {
    let mut evidence = quiet();
    // By another session, that is over by now.
    let far = did(9, 10, "/admin/users", Some(ELSEWHERE), Some("app/1"));
    evidence.activities = Some(vec![far.clone()]);
    assert_raises(
        &evidence,
        &[Signal::PrivilegedFromNewNetwork],
        RiskLevel::Medium,
    );
    evidence.activities = Some(vec![Activity {
        handle: Some(handle(1)),
        ..far.clone()
    }]);
    let both = [Signal::NetworkChanged, Signal::PrivilegedFromNewNetwork];
    assert_raises(&evidence, &both, RiskLevel::High);
    for known in [
        Activity {
            address: Some(HOME.into()),
            ..far.clone()
        },
        Activity {
            resource: "/administration".into(),
            ..far.clone()
        },
    ] {
        evidence.activities = Some(vec![known]);
        assert_raises(&evidence, &[], RiskLevel::Low);
    }
    evidence.activities = Some(vec![Activity {
        address: None,
        ..far.clone()
    }]);
    assert_unknown(&evidence, Signal::PrivilegedFromNewNetwork);
    evidence.activities = Some(vec![far.clone()]);
    let mine = Weighted::default().privileged(|_| false);
    assert_eq!(mine.assess(&evidence), Risk::default());
}

#[test]
fn r55_an_end_tells_where_a_session_was_and_is_no_use_of_it() {
    let mut evidence = quiet();
    let ended = HistoryEvent::Ended {
        reason: EndReason::LoggedOut,
        note: None,
    };
    evidence
        .history
        .as_mut()
        .unwrap()
        .push(happened(1, ended, Some(ELSEWHERE), Some("curl/9")));
    assert_raises(&evidence, &[], RiskLevel::Low);
}

#[test]
fn the_rule_of_before_counts_activities() {
    let mut evidence = quiet();
    for (count, level) in [
        (0, RiskLevel::Low),
        (10, RiskLevel::Low),
        (11, RiskLevel::Medium),
        (20, RiskLevel::Medium),
        (21, RiskLevel::High),
    ] {
        evidence.activities = Some(vec![did(1, 0, "page", None, None); count]);
        let risk = ActivityCount.assess(&evidence);
        assert_eq!(
            (risk.level, risk.reasons.len()),
            (level, usize::from(count > 10)),
            "{count}"
        );
    }
    evidence.activities = None;
    let risk = ActivityCount.assess(&evidence);
    assert_eq!(
        (risk.level, &*risk.unknown),
        (RiskLevel::Low, &[Signal::ManyActivities][..])
    );
}
