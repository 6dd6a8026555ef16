//! What a store is asked at random.

use proptest::prelude::*;
use sessile::record::{Change, Changes, Clear, Guard, Op};

/// Something to ask; numbers pick from what was made before.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Create {
        user: Option<usize>,
        age: Age,
        late: bool,
        limit: Option<(u32, bool)>,
        again: Option<usize>,
        demo: bool,
    },
    Load(usize),
    /// With what was read of it just now, when somebody last looked, or not at all.
    Apply(usize, Changes, Option<i64>, Reading),
    Replace(usize, How, Option<usize>),
    /// The last: how many minutes ago it happened, if it comes late.
    End(usize, Which, Option<u64>),
    List(usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Age {
    New,
    Older(u64),
    IdleOut,
    Over,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Reading {
    Fresh,
    Stale,
    None,
}

#[derive(Debug, Clone)]
pub(super) enum How {
    Same,
    Renew {
        late: bool,
    },
    SignIn {
        late: bool,
        limit: Option<u32>,
        keep: Vec<usize>,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    One,
    Handle,
    HandleOfAnother,
    Others,
    All,
}

pub(super) const NAMES: [&str; 3] = ["a", "b", "ünï\u{0}"];
/// Integers at the edges of what Redis's Lua can hold and of 64 bits, what is none, and what only looks like one.
const JSON: [&str; 18] = [
    "1",
    "0",
    "-1",
    "-0",
    " 7 ",
    "01",
    "1.0",
    "1e3",
    "\"x\"",
    "null",
    "9007199254740993",
    "-9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "10000000000",
    "-10000000000",
    "\"\u{0}ü\"",
];
const STEPS: [i64; 10] = [
    1,
    -1,
    0,
    9_007_199_254_740_993,
    -9_007_199_254_740_993,
    i64::MAX,
    i64::MIN,
    9_999_999_999,
    -10_000_000_000,
    5_000_000_000,
];

pub(super) fn ask() -> impl Strategy<Value = Ask> {
    let age = prop_oneof![
        4 => Just(Age::New),
        3 => (1..5u64).prop_map(Age::Older),
        1 => Just(Age::IdleOut),
        1 => Just(Age::Over),
    ];
    let limit = prop_oneof![2 => Just(None), 3 => (1..4u32, any::<bool>()).prop_map(Some)];
    let user = prop_oneof![1 => Just(None), 8 => (0..2usize).prop_map(Some)];
    let creating = (
        user,
        age,
        prop::bool::weighted(0.1),
        limit,
        prop::option::weighted(0.1, 0..20usize),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(user, age, late, limit, again, demo)| Ask::Create {
            user,
            age,
            late,
            limit,
            again,
            demo,
        });
    let reading = prop_oneof![
        3 => Just(Reading::Fresh),
        2 => Just(Reading::Stale),
        1 => Just(Reading::None),
    ];
    let how = prop_oneof![
        Just(How::Same),
        prop::bool::weighted(0.2).prop_map(|late| How::Renew { late }),
        (
            prop::bool::weighted(0.2),
            prop::option::of(1..4u32),
            prop::collection::vec(0..3usize, 0..3)
        )
            .prop_map(|(late, limit, keep)| How::SignIn { late, limit, keep }),
    ];
    let which = prop_oneof![
        4 => Just(Which::One),
        2 => Just(Which::Handle),
        1 => Just(Which::HandleOfAnother),
        1 => Just(Which::Others),
        1 => Just(Which::All),
    ];
    prop_oneof![
        4 => creating,
        2 => (0..20usize).prop_map(Ask::Load),
        6 => (0..20usize, changes(), prop::option::of(-100..100i64), reading)
            .prop_map(|(n, changes, seen, reading)| Ask::Apply(n, changes, seen, reading)),
        3 => (0..20usize, how, prop::option::weighted(0.2, 0..20usize)).prop_map(|(n, how, again)| Ask::Replace(n, how, again)),
        2 => (0..20usize, which, prop::option::of(0..7u64))
            .prop_map(|(n, which, ago)| Ask::End(n, which, ago)),
        2 => (0..2usize).prop_map(Ask::List),
    ]
}

fn changes() -> impl Strategy<Value = Changes> {
    let json = || (0..JSON.len()).prop_map(|n| JSON[n].as_bytes().to_vec());
    let guard = prop_oneof![
        4 => Just(Guard::Any),
        1 => Just(Guard::Unchanged(None)),
        2 => json().prop_map(|json| Guard::Unchanged(Some(json.into()))),
    ];
    let op = prop_oneof![
        3 => json().prop_map(Op::Set),
        1 => Just(Op::Remove),
        3 => (0..STEPS.len()).prop_map(|n| Op::Add(STEPS[n])),
    ];
    let each = prop::collection::vec((guard, op), 3).prop_flat_map(|each| {
        prop::sample::subsequence(vec![0usize, 1, 2], 0..=3).prop_map(move |names| {
            names
                .into_iter()
                .map(|n| Change {
                    name: NAMES[n].into(),
                    guard: each[n].0.clone(),
                    op: each[n].1.clone(),
                })
                .collect::<Vec<_>>()
        })
    });
    let clear = prop::option::weighted(
        0.2,
        prop::sample::subsequence(NAMES.to_vec(), 0..=2).prop_map(|keep| Clear {
            keep: keep.into_iter().map(Into::into).collect(),
        }),
    );
    (clear, each).prop_map(|(clear, each)| Changes { clear, each })
}
