use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::clock::instant;
use crate::id::Digest;
use crate::record::{EndReason, NewRecord, Seen};

/// Microseconds, far enough from 1970 that "before" can be told.
fn t(micros: u64) -> SystemTime {
    instant(1_000 + micros)
}

fn user(n: u8) -> UserId {
    UserId::from(format!("user-{n}"))
}

fn handle(n: u8) -> Handle {
    Uuid::from_u128(n.into()).into()
}

fn key(kind: Kind, n: u8) -> RecordKey {
    RecordKey {
        kind,
        bucket: u16::from(n).into(),
        digest: Digest::from_bytes([n; 32]),
    }
}

fn end(scope: PendingScope, at: u64) -> PendingEnd {
    PendingEnd {
        scope,
        reason: EndReason::Revoked,
        note: None,
        at: t(at),
    }
}

fn of_handle(of: u8, name: u8, at: u64) -> PendingEnd {
    let scope = PendingScope::Handle {
        user: user(of),
        bucket: u16::from(of).into(),
        handle: handle(name),
    };
    end(scope, at)
}

fn of_user(of: u8, keep: Option<u8>, before: u64) -> PendingEnd {
    let scope = PendingScope::User {
        user: user(of),
        bucket: u16::from(of).into(),
        keep: keep.map(handle),
        before: t(before),
    };
    end(scope, before)
}

fn of_key(n: u8) -> PendingEnd {
    end(PendingScope::Key(key(Kind::User, n)), 0)
}

fn record(of: Option<u8>, name: u8, signed_in: u64) -> Record {
    Record::new(&NewRecord {
        handle: handle(name),
        user: of.map(user),
        created_at: t(signed_in),
        signed_in_at: of.map(|_| t(signed_in)),
        absolute_end: t(1_000_000),
        idle_timeout: Duration::from_secs(1),
        touch_threshold: Duration::ZERO,
        persistent: false,
        seen: Seen {
            at: t(signed_in),
            address: None,
            agent: None,
        },
        values: Vec::new(),
    })
}

fn journal(sessions: usize, users: usize) -> Journal {
    Journal::new(JournalLimits { sessions, users })
}

fn filled(ends: impl IntoIterator<Item = PendingEnd>) -> Journal {
    let mut journal = journal(100, 100);
    for end in ends {
        assert!(matches!(journal.add(end), Added::Kept(_)));
    }
    journal
}

fn everything(journal: &Journal) -> Vec<(Ticket, PendingEnd)> {
    journal.next(None, |_| true, usize::MAX)
}

fn scopes(journal: &Journal) -> Vec<PendingScope> {
    let ends = everything(journal).into_iter();
    ends.map(|(_, end)| end.scope).collect()
}

/// The same ends under the same tickets, and indexes that agree with them.
fn assert_same(a: &Journal, b: &Journal) {
    assert_eq!(a.ends, b.ends);
    assert_eq!(a.keys, b.keys);
    assert_eq!(a.of_users, b.of_users);
    assert_eq!(a.users.len(), b.users.len());
    for (name, of) in &a.users {
        let other = &b.users[name];
        assert_eq!(
            (of.all, of.others, &of.sessions),
            (other.all, other.others, &other.sessions)
        );
    }
}

#[test]
fn a_session_is_covered_by_its_handle_and_no_other_is() {
    let journal = filled([of_handle(1, 1, 9)]);
    let covers = |record: &Record| journal.covers(&key(Kind::User, 1), record);
    assert_eq!(
        covers(&record(Some(1), 1, 3)),
        Some(End::new(EndReason::Revoked, t(9)))
    );
    assert_eq!(covers(&record(Some(1), 2, 3)), None);
    assert_eq!(covers(&record(Some(2), 1, 3)), None, "another user's");
    let demo = journal.covers(&key(Kind::Demo, 1), &record(Some(1), 1, 3));
    assert_eq!(demo, None, "demo sessions are in nobody's list");
}

#[test]
fn a_session_that_signed_in_at_the_instant_or_later_is_spared() {
    let journal = filled([of_user(1, Some(3), 9)]);
    let covers = |record: &Record| journal.covers(&key(Kind::User, 1), record).is_some();
    assert!(covers(&record(Some(1), 1, 8)));
    assert!(!covers(&record(Some(1), 1, 9)));
    assert!(!covers(&record(Some(1), 3, 1)), "the one that is kept");
}

#[test]
fn the_first_reason_stays() {
    let first = PendingEnd {
        note: Some("stolen".into()),
        ..of_handle(1, 1, 5)
    };
    let second = PendingEnd {
        reason: EndReason::LoggedOut,
        ..of_handle(1, 1, 7)
    };
    let journal = filled([first, second]);
    let told = journal
        .covers(&key(Kind::User, 1), &record(Some(1), 1, 3))
        .unwrap();
    assert_eq!(told, End::new(EndReason::Revoked, t(7)).with_note("stolen"));
    assert_eq!(journal.len(), 1);
}

#[test]
fn an_end_of_all_takes_in_those_of_single_sessions_up_to_it() {
    let journal = filled([of_handle(1, 1, 5), of_handle(1, 2, 9), of_user(1, None, 9)]);
    assert_eq!(
        scopes(&journal),
        [of_user(1, None, 9).scope, of_handle(1, 2, 9).scope]
    );
}

#[test]
fn a_session_that_was_ended_again_is_not_taken_in_by_what_came_between() {
    // It may have been signed in to anew at 20, elsewhere.
    let journal = filled([
        of_handle(1, 1, 10),
        of_handle(1, 1, 30),
        of_user(1, None, 15),
    ]);
    let covered = journal.covers(&key(Kind::User, 1), &record(Some(1), 1, 20));
    assert!(covered.is_some());
}

#[test]
fn an_end_of_others_leaves_the_end_of_the_one_it_keeps() {
    let journal = filled([
        of_handle(1, 1, 5),
        of_handle(1, 2, 5),
        of_user(1, Some(2), 9),
    ]);
    assert_eq!(
        scopes(&journal),
        [of_user(1, Some(2), 9).scope, of_handle(1, 2, 5).scope]
    );
}

#[test]
fn two_that_keep_different_sessions_end_all_up_to_the_earlier() {
    for order in [
        [of_user(1, Some(1), 5), of_user(1, Some(2), 9)],
        [of_user(1, Some(2), 9), of_user(1, Some(1), 5)],
    ] {
        assert_eq!(
            scopes(&filled(order)),
            [of_user(1, None, 5).scope, of_user(1, Some(2), 9).scope]
        );
    }
    let together = filled([of_user(1, Some(1), 9), of_user(1, Some(2), 9)]);
    assert_eq!(scopes(&together), [of_user(1, None, 9).scope]);
}

#[test]
fn the_later_instant_wins() {
    for order in [[5, 9], [9, 5]] {
        for keep in [None, Some(1)] {
            let journal = filled(order.map(|before| of_user(1, keep, before)));
            assert_eq!(scopes(&journal), [of_user(1, keep, 9).scope]);
        }
    }
}

#[test]
fn what_was_changed_since_it_was_sent_stays() {
    let mut journal = filled([of_user(1, None, 5)]);
    let sent = everything(&journal)[0].0;
    assert!(matches!(journal.add(of_user(1, None, 9)), Added::Kept(_)));
    assert_eq!(journal.acknowledged(sent), None);
    assert_eq!(scopes(&journal), [of_user(1, None, 9).scope]);
    let sent = everything(&journal)[0].0;
    assert_eq!(journal.acknowledged(sent), Some(Step::Done(sent)));
    assert_eq!(journal.acknowledged(sent), None);
    assert!(journal.is_empty() && journal.users.is_empty());
}

#[test]
fn users_go_first_then_the_oldest_in_batches_of_one_part() {
    let journal = filled([
        of_key(1),
        of_handle(2, 1, 5),
        of_user(1, Some(1), 5),
        of_user(2, None, 3),
        of_user(3, None, 3),
        of_key(2),
    ]);
    let in_part = |bucket: Bucket| bucket.get() < 3;
    let mut after = None;
    let mut sent = Vec::new();
    loop {
        let batch = journal.next(after, in_part, 2);
        assert!(batch.len() <= 2);
        let Some((ticket, _)) = batch.last() else {
            break;
        };
        after = Some(*ticket);
        sent.extend(batch.into_iter().map(|(_, end)| end.scope));
    }
    let expected = [
        of_user(2, None, 3),
        of_user(1, Some(1), 5),
        of_key(1),
        of_handle(2, 1, 5),
        of_key(2),
    ];
    assert_eq!(sent, expected.map(|end| end.scope));
}

#[test]
fn one_too_many_of_a_user_becomes_all_of_that_user() {
    let mut journal = journal(3, 1);
    for end in [of_handle(1, 1, 9), of_handle(1, 2, 5), of_key(1)] {
        assert!(matches!(journal.add(end), Added::Kept(_)));
    }
    let again = journal.add(of_handle(1, 1, 9));
    assert!(matches!(again, Added::Kept(_)), "it has its place");
    let Added::Collapsed(Step::Add { end, .. }) = journal.add(of_handle(1, 3, 6)) else {
        panic!("there was no place");
    };
    // Up to the last of those that it stands for, which signed in at 9 at the latest.
    assert_eq!(end.scope, of_user(1, None, 10).scope);
    assert_eq!(scopes(&journal), [end.scope, of_key(1).scope]);
}

#[test]
fn what_finds_no_place_is_refused_and_changes_nothing() {
    let mut journal = journal(1, 1);
    for end in [of_key(1), of_user(1, None, 5)] {
        assert!(matches!(journal.add(end), Added::Kept(_)));
    }
    let before = journal.clone();
    for end in [of_key(2), of_handle(2, 1, 5), of_user(2, None, 5)] {
        assert_eq!(journal.add(end), Added::Full);
    }
    let long = PendingScope::User {
        user: "u".repeat(257).into(),
        bucket: 1.into(),
        keep: None,
        before: t(5),
    };
    assert_eq!(self::journal(9, 9).add(end(long, 5)), Added::Full);
    assert_same(&journal, &before);
    assert_eq!(
        journal.counts(),
        JournalCounts {
            sessions: 1,
            users: 1
        }
    );
}

#[test]
fn where_a_user_has_no_place_for_two_all_end() {
    let mut journal = journal(1, 1);
    assert!(matches!(
        journal.add(of_user(1, Some(1), 5)),
        Added::Kept(_)
    ));
    assert!(matches!(
        journal.add(of_user(1, Some(2), 9)),
        Added::Collapsed(_)
    ));
    assert_eq!(scopes(&journal), [of_user(1, None, 9).scope]);
}

#[test]
fn instants_are_kept_to_the_microsecond_and_nothing_escapes_by_it() {
    let sign_in = t(5);
    let end = PendingEnd {
        scope: PendingScope::User {
            user: user(1),
            bucket: 1.into(),
            keep: None,
            before: sign_in + Duration::from_nanos(1),
        },
        note: Some("é".repeat(200).into()),
        ..of_key(1)
    };
    let journal = filled([end]);
    let told = journal.covers(&key(Kind::User, 1), &record(Some(1), 1, 5));
    assert_eq!(told.unwrap().note.unwrap().len(), End::MAX_NOTE_BYTES);
    assert_eq!(scopes(&journal), [of_user(1, None, 6).scope]);
}

#[test]
fn an_end_from_before_1970_leaves_nothing_behind() {
    let scope = PendingScope::User {
        user: user(1),
        bucket: 1.into(),
        keep: Some(handle(1)),
        before: SystemTime::UNIX_EPOCH - Duration::from_secs(1),
    };
    let journal = filled([end(scope, 0)]);
    assert!(journal.is_empty() && journal.users.is_empty());
}

#[test]
fn a_number_given_twice_loses_nothing() {
    let mut journal = journal(9, 9);
    for end in [
        of_handle(1, 1, 5),
        of_handle(1, 2, 5),
        of_key(1),
        of_user(2, None, 4),
        of_user(3, None, 4),
    ] {
        journal.carry_out(&Step::Add { number: 7, end });
    }
    assert_eq!(journal.len(), 5);
    assert_eq!(everything(&journal).len(), 5);
}

/// What may end: users' sessions, some of the same user, strangers' and a demo session that carries a user.
#[derive(Debug, Clone)]
struct Session {
    of: Option<u8>,
    name: u8,
    key: RecordKey,
    signed_in: u64,
    record: Record,
}

fn sessions() -> Vec<Session> {
    let of_users = (0..3).flat_map(|of| (0..4).map(move |n| (Some(of), of * 4 + n, Kind::User)));
    let others = [
        (None, 12, Kind::User),
        (None, 13, Kind::User),
        (Some(1), 14, Kind::Demo),
    ];
    of_users
        .chain(others)
        .map(|(of, name, kind)| {
            let signed_in = u64::from(name % 4) * 4;
            Session {
                of: of.filter(|_| kind == Kind::User),
                name,
                key: key(kind, name),
                signed_in,
                record: record(of, name, signed_in),
            }
        })
        .collect()
}

fn ends(scope: &PendingScope, session: &Session) -> bool {
    let of = session.of.map(user);
    match scope {
        PendingScope::Key(key) => *key == session.key,
        PendingScope::Handle {
            user, handle: name, ..
        } => of.as_ref() == Some(user) && *name == handle(session.name),
        PendingScope::User {
            user, keep, before, ..
        } => {
            of.as_ref() == Some(user)
                && *keep != Some(handle(session.name))
                && t(session.signed_in) < *before
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    End(PendingEnd),
    /// So many are sent, from there on in the order of tickets.
    Send(usize, usize),
    /// Of those that were sent and not answered, this one is acknowledged.
    Answer(usize),
}

fn an_act() -> impl Strategy<Value = Act> {
    let by_key = (0u8..15).prop_map(|n| {
        let kind = if n == 14 { Kind::Demo } else { Kind::User };
        end(PendingScope::Key(key(kind, n)), 20)
    });
    // Nobody is ended before they signed in.
    let by_handle = (0u8..12, 0u64..12)
        .prop_map(|(n, later)| of_handle(n / 4, n, u64::from(n % 4) * 4 + later));
    let by_user = (0u8..3, prop::option::of(0u8..4), 0u64..20)
        .prop_map(|(of, keep, before)| of_user(of, keep.map(|n| of * 4 + n), before));
    prop_oneof![
        2 => by_key.prop_map(Act::End),
        6 => by_handle.prop_map(Act::End),
        4 => by_user.prop_map(Act::End),
        3 => (0usize..4, 0usize..4).prop_map(|(skip, count)| Act::Send(skip, count)),
        4 => (0usize..8).prop_map(Act::Answer),
    ]
}

/// What is known of a session: numbers count the acts.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// When its end was last asked for.
    asked: Option<usize>,
    /// When the last end was sent that the store has carried out and acknowledged.
    sent: Option<usize>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// After any acts, under any limits: every end that was taken in is covered here until an end was acknowledged that
    /// was sent afterwards; in the end the store has ended every such session and, where nothing collapsed, no other.
    #[test]
    fn no_end_is_lost_and_none_is_made_up(
        limits in (0usize..8, 0usize..5),
        acts in prop::collection::vec(an_act(), 0..60),
    ) {
        let sessions = sessions();
        let mut known = vec![Known::default(); sessions.len()];
        let mut journal = journal(limits.0, limits.1);
        let mut again = self::journal(0, 0);
        let mut sent: Vec<(usize, Ticket, PendingEnd)> = Vec::new();
        let mut collapsed = false;
        // Then everything that is left is sent and answered.
        let flush = [Act::Send(0, usize::MAX)].into_iter().chain((0..200).map(|_| Act::Answer(0)));
        for (now, act) in acts.into_iter().chain(flush).enumerate() {
            match act {
                Act::End(end) => {
                    let before = journal.clone();
                    let step = match journal.add(end.clone()) {
                        Added::Kept(step) => step,
                        Added::Collapsed(step) => {
                            collapsed = true;
                            step
                        }
                        Added::Full => {
                            assert_same(&before, &journal);
                            continue;
                        }
                    };
                    again.carry_out(&step);
                    for (session, known) in sessions.iter().zip(&mut known) {
                        if ends(&end.scope, session) {
                            known.asked = Some(now);
                        }
                    }
                }
                Act::Send(skip, count) => {
                    let after = skip.checked_sub(1).and_then(|n| everything(&journal).get(n).map(|(ticket, _)| *ticket));
                    let batch = journal.next(after, |_| true, count);
                    sent.extend(batch.into_iter().map(|(ticket, end)| (now, ticket, end)));
                }
                Act::Answer(n) if n < sent.len() => {
                    let (when, ticket, end) = sent.remove(n);
                    for (session, known) in sessions.iter().zip(&mut known) {
                        if ends(&end.scope, session) {
                            known.sent = known.sent.max(Some(when));
                        }
                    }
                    if let Some(step) = journal.acknowledged(ticket) {
                        again.carry_out(&step);
                    }
                }
                Act::Answer(_) => {}
            }
            assert_same(&journal, &again);
            let mut compacted = self::journal(0, 0);
            for step in journal.steps() {
                compacted.carry_out(&step);
            }
            assert_same(&journal, &compacted);
            let counts = journal.counts();
            prop_assert!(counts.sessions <= limits.0 && counts.users <= limits.1);
            prop_assert_eq!(counts.sessions + counts.users, journal.len());
            for (session, known) in sessions.iter().zip(&known) {
                let covered = journal.covers(&session.key, &session.record).is_some();
                if known.asked > known.sent {
                    prop_assert!(covered, "lost: {session:?}");
                }
                if !collapsed && known.asked.is_none() {
                    prop_assert!(!covered && known.sent.is_none(), "made up: {session:?}");
                }
            }
        }
        prop_assert!(journal.is_empty() && journal.users.is_empty() && journal.keys.is_empty());
        for (session, known) in sessions.iter().zip(&known) {
            prop_assert!(known.asked.is_none() || known.sent > known.asked, "never ended: {session:?}");
        }
    }
}
