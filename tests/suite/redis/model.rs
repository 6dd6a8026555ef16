//! Redis and memory are asked the same at random, and answer the same: the scripts against the contract as pure code.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sessile::record::{Changes, Entry, NewRecord, Op, Record, Seen};
use sessile::store::{
    Applied, Apply, Create, Created, EndScope, EndSessions, EndedSession, EndedSessions, Limit,
    Renewal, Replace, Replaced, SignIn,
};
use sessile::{
    AtLimit, Digest, EndReason, Handle, Kind, MemoryStore, RecordKey, RedisStore, SessionStore,
    UserId,
};

use super::asks::{Age, Ask, How, NAMES, Reading, Which, ask};
use super::fixture::{HOUR, change, digest, made};
use crate::support::redis::Server;

/// What was made, under the name that both stores know it by.
#[derive(Debug, Clone)]
struct Made {
    key: RecordKey,
    handle: Handle,
    user: Option<UserId>,
    create: Option<Create>,
}

struct Both {
    memory: MemoryStore,
    redis: RedisStore,
    users: [UserId; 2],
    made: Vec<Made>,
    replaced: Vec<Replace>,
    /// What Redis was seen to hold, some time ago.
    read: HashMap<RecordKey, Record>,
}

impl Both {
    fn pick(&self, n: usize) -> Option<Made> {
        (!self.made.is_empty()).then(|| self.made[n % self.made.len()].clone())
    }

    /// Asks both; the answers, without the instants at which they were given.
    async fn ask(&mut self, ask: &Ask) -> Option<(String, String)> {
        // Both judge by this machine's clock, and what is decided is never near.
        let now = SystemTime::now();
        let began = |late: bool| if late { now - HOUR } else { now };
        Some(match ask {
            Ask::Create {
                user,
                age,
                late,
                limit,
                again,
                demo,
            } => {
                // One that is over by its clocks may have its end written down by then, or not yet.
                let again = again
                    .and_then(|n| self.pick(n)?.create)
                    .filter(|create| create.record.end_at(now).is_none());
                let create = match again {
                    Some(create) => create,
                    None => self.creation(now, *user, *age, began(*late), *limit, *demo),
                };
                self.made.push(Made {
                    key: create.key,
                    handle: create.record.handle(),
                    user: create.record.user().map(UserId::from),
                    create: Some(create.clone()),
                });
                let (a, b) = tokio::join!(
                    self.memory.create(create.clone()),
                    self.redis.create(create)
                );
                (created(a.unwrap()), created(b.unwrap()))
            }
            Ask::Load(n) => {
                let key = self.pick(*n)?.key;
                let (a, b) = tokio::join!(self.memory.load(key), self.redis.load(key));
                (entry(a.unwrap()), entry(b.unwrap()))
            }
            Ask::Apply(n, changes, seen, reading) => {
                let key = self.pick(*n)?.key;
                let read = match reading {
                    Reading::Fresh => match self.redis.load(key).await.unwrap() {
                        Some(Entry::Live(record)) => {
                            self.read.insert(key, record.clone());
                            Some(record)
                        }
                        Some(Entry::Ended(_)) | None => None,
                    },
                    Reading::Stale => self.read.get(&key).cloned(),
                    Reading::None => None,
                };
                let apply = Apply {
                    read,
                    key,
                    changes: changes.clone(),
                    seen: seen.map(|ago| Seen {
                        at: if ago < 0 {
                            now - Duration::from_secs(ago.unsigned_abs())
                        } else {
                            now
                        },
                        address: (ago % 2 == 0).then(|| "192.0.2.7".into()),
                        agent: (ago % 3 == 0).then(|| "agent 7".into()),
                    }),
                };
                let (a, b) =
                    tokio::join!(self.memory.apply(apply.clone()), self.redis.apply(apply));
                (applied(a.unwrap()), applied(b.unwrap()))
            }
            Ask::Replace(n, how, again) => {
                let made = self.pick(*n)?;
                let known = again.filter(|_| !self.replaced.is_empty());
                let replace = match known {
                    Some(n) => self.replaced[n % self.replaced.len()].clone(),
                    None => self.replacing(now, &made, how, began),
                };
                let before = self
                    .made
                    .iter()
                    .find(|made| made.key == replace.key)?
                    .clone();
                self.made.push(Made {
                    key: replace.key.sibling(replace.successor),
                    handle: match &replace.renewal {
                        Renewal::SignIn(sign_in) => sign_in.record.handle(),
                        Renewal::SameSession
                        | Renewal::Reauthenticated { .. }
                        | Renewal::Adopted(_) => before.handle,
                    },
                    user: before.user,
                    create: None,
                });
                self.replaced.push(replace.clone());
                let (a, b) = tokio::join!(
                    self.memory.replace(replace.clone()),
                    self.redis.replace(replace)
                );
                (replaced(a.unwrap()), replaced(b.unwrap()))
            }
            Ask::End(n, which, ago) => {
                let made = self.pick(*n)?;
                let (user, other) = (self.users[n % 2].clone(), self.users[(n + 1) % 2].clone());
                let scope = match which {
                    Which::One => EndScope::One(
                        made.key,
                        (n % 2 == 0).then_some(Digest::from_bytes([7; 32])),
                    ),
                    Which::Handle => EndScope::Handle(user, made.handle),
                    Which::HandleOfAnother => EndScope::Handle(other, made.handle),
                    Which::Others => EndScope::Others(user, made.handle),
                    Which::All => EndScope::All(user),
                };
                let end = EndSessions {
                    scope,
                    reason: EndReason::ALL[n % EndReason::ALL.len()],
                    note: (n % 3 == 0).then(|| "by ä note".into()),
                    // Between the minutes at which sessions are made, or now.
                    before: ago.map(|ago| match ago {
                        0 => now,
                        ago => now - Duration::from_secs(60 * ago - 30),
                    }),
                };
                let before = end.before;
                let (a, b) = tokio::join!(self.memory.end(end.clone()), self.redis.end(end));
                (ended(a.unwrap(), before), ended(b.unwrap(), before))
            }
            Ask::List(n) => {
                let user = self.users[*n].clone();
                let (a, b) = tokio::join!(self.memory.list(user.clone()), self.redis.list(user));
                let all = |records: Vec<Record>| {
                    format!("{:?}", records.iter().map(record).collect::<Vec<_>>())
                };
                (all(a.unwrap()), all(b.unwrap()))
            }
        })
    }

    /// The users' indexes with their scores, and the same made from the records that stand there: of each user's that
    /// was not ended, its end.
    fn index(&self, connection: &mut redis::Connection) -> [BTreeMap<String, u64>; 2] {
        let mut listed = BTreeMap::new();
        for user in &self.users {
            let name = format!("user_sessions:{{{}}}:{user}", self.redis.bucket(user));
            let members: Vec<(String, f64)> = redis::cmd("ZRANGE")
                .arg(name)
                .arg(0)
                .arg(-1)
                .arg("WITHSCORES")
                .query(connection)
                .unwrap();
            listed.extend(
                members
                    .into_iter()
                    .map(|(member, score)| (format!("{user} {member}"), score as u64)),
            );
        }
        let mut kept = BTreeMap::new();
        for made in self.made.iter().filter(|made| made.key.kind == Kind::User) {
            let Some(user) = &made.user else { continue };
            let digest = made.key.digest.to_text();
            let bytes: Option<Vec<u8>> = redis::cmd("GET")
                .arg(format!("session:{{{}}}:{digest}", made.key.bucket))
                .query(connection)
                .unwrap();
            let entry = bytes.map(|bytes| Entry::from_bytes(&bytes).unwrap());
            if let Some(Entry::Live(record)) = entry {
                let end = record.ends_at();
                let micros = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
                kept.insert(format!("{user} {digest}"), micros.as_micros() as u64);
            }
        }
        [listed, kept]
    }

    fn creation(
        &self,
        now: SystemTime,
        user: Option<usize>,
        age: Age,
        began_at: SystemTime,
        limit: Option<(u32, bool)>,
        demo: bool,
    ) -> Create {
        let at = match age {
            Age::New => now,
            Age::Older(minutes) => now - Duration::from_secs(60 * minutes),
            Age::IdleOut | Age::Over => now - HOUR,
        };
        let absolute_end = match age {
            Age::Over => now - HOUR / 2,
            Age::New | Age::Older(_) | Age::IdleOut => now + HOUR,
        };
        let user = user.map(|n| self.users[n].clone());
        let bucket_of = user.as_ref().unwrap_or(&self.users[0]);
        let idle = if matches!(age, Age::Over) {
            12 * HOUR
        } else {
            HOUR / 2
        };
        Create {
            key: RecordKey {
                kind: if demo { Kind::Demo } else { Kind::User },
                bucket: self.redis.bucket(bucket_of),
                digest: digest(),
            },
            record: Record::new(&NewRecord {
                handle: Handle::random().unwrap(),
                signed_in_at: user.as_ref().map(|_| at),
                user,
                created_at: at,
                absolute_end,
                idle_timeout: idle,
                touch_threshold: Duration::from_secs(60),
                persistent: demo,
                seen: Seen {
                    at,
                    address: Some("192.0.2.1".into()),
                    agent: None,
                },
                values: vec![("a".into(), b"1".to_vec())],
            }),
            began_at: began_at.max(at.min(began_at)),
            limit: limit.map(|(sessions, refuses)| Limit {
                sessions: NonZeroU32::new(sessions).unwrap(),
                at_limit: if refuses {
                    AtLimit::Refuse
                } else {
                    AtLimit::EndOldest
                },
            }),
            held: false,
        }
    }

    fn replacing(
        &self,
        now: SystemTime,
        made: &Made,
        how: &How,
        began: impl Fn(bool) -> SystemTime + Copy,
    ) -> Replace {
        let seen = Seen {
            at: now,
            address: None,
            agent: Some("agent 8".into()),
        };
        let renewal = match how {
            How::Same => Renewal::SameSession,
            How::Renew { late } => Renewal::Reauthenticated {
                signed_in_at: now,
                absolute_end: now + 2 * HOUR,
                began_at: began(*late),
            },
            How::SignIn { late, limit, keep } => {
                // From a session of the same user, as the layer does.
                let Some(user) = made.user.clone() else {
                    return self.replacing(now, made, &How::Same, began);
                };
                let mut new = self
                    .creation(now, None, Age::New, began(*late), None, false)
                    .record;
                new = Record::new(&NewRecord {
                    handle: new.handle(),
                    user: Some(user),
                    created_at: now,
                    signed_in_at: Some(now),
                    absolute_end: now + HOUR,
                    idle_timeout: HOUR / 2,
                    touch_threshold: Duration::from_secs(60),
                    persistent: true,
                    seen: seen.clone(),
                    values: vec![("b".into(), b"\"new\"".to_vec())],
                });
                Renewal::SignIn(Box::new(SignIn {
                    record: new,
                    keep: keep.iter().map(|n| NAMES[*n].into()).collect(),
                    began_at: began(*late),
                    limit: limit.map(|sessions| Limit {
                        sessions: NonZeroU32::new(sessions).unwrap(),
                        at_limit: AtLimit::EndOldest,
                    }),
                }))
            }
        };
        Replace {
            key: made.key,
            successor: digest(),
            renewal,
            seen,
        }
    }
}

fn record(record: &Record) -> String {
    let mut values: Vec<_> = record
        .names()
        .map(|name| {
            (
                name.to_owned(),
                String::from_utf8_lossy(record.value(name).unwrap()).into_owned(),
            )
        })
        .collect();
    values.sort();
    format!(
        "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {values:?}",
        record.handle(),
        record.user(),
        record.created_at(),
        record.signed_in_at(),
        record.absolute_end(),
        record.idle_end(),
        record.seen_at(),
        record.address(),
        record.user_agent(),
        record.is_persistent(),
    )
}

fn entry(entry: Option<Entry>) -> String {
    match entry {
        None => "none".into(),
        Some(Entry::Live(live)) => record(&live),
        Some(Entry::Ended(tomb)) => format!(
            "{} {} {:?} {:?}",
            tomb.handle, tomb.end.reason, tomb.end.note, tomb.successor
        ),
    }
}

fn sessions(mut sessions: Vec<EndedSession>) -> String {
    sessions.sort_by_key(|session| session.handle);
    format!("{sessions:?}")
}

fn created(answer: Created) -> String {
    match answer {
        Created::Created(ended) => sessions(ended),
        other => format!("{other:?}"),
    }
}

fn applied(answer: Applied) -> String {
    match answer {
        Applied::Ended(end) => format!("ended {} {:?}", end.reason, end.note),
        other => format!("{other:?}"),
    }
}

fn replaced(answer: Replaced) -> String {
    match answer {
        Replaced::Replaced { record: now, ended } => record(&now) + &sessions(ended),
        Replaced::Ended(end) => format!("ended {} {:?}", end.reason, end.note),
        other => format!("{other:?}"),
    }
}

fn ended(answer: EndedSessions, before: Option<SystemTime>) -> String {
    let micros = |at: SystemTime| {
        at.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_micros()
    };
    // What is of now is not the same here and there.
    let since = answer.since.map(|since| {
        before.map_or("now", |before| match micros(since).cmp(&micros(before)) {
            Ordering::Less => "moved back",
            Ordering::Equal => "before",
            Ordering::Greater => "later",
        })
    });
    sessions(answer.sessions)
        + &answer.last.as_ref().map_or(String::new(), record)
        + &format!("{since:?}")
}

#[test]
fn inv01_inv02_inv06_inv07_inv12_redis_answers_as_the_contract_says_whatever_it_is_asked() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start();
    let redis = runtime
        .block_on(RedisStore::connect(&server.url()))
        .unwrap();
    let connection = RefCell::new(server.connection());
    let cases = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(cases)
        .run(&prop::collection::vec(ask(), 1..60), |asks| {
            let name = Handle::random().unwrap();
            let mut both = Both {
                memory: MemoryStore::new(),
                redis: redis.clone(),
                users: [format!("a-{name}").into(), format!("b-{name}").into()],
                made: Vec::new(),
                replaced: Vec::new(),
                read: HashMap::new(),
            };
            runtime.block_on(async {
                for (n, ask) in asks.iter().enumerate() {
                    if let Some((memory, redis)) = both.ask(ask).await {
                        prop_assert_eq!(memory, redis, "at {}: {:?}", n, ask);
                    }
                    let [listed, kept] = both.index(&mut connection.borrow_mut());
                    prop_assert_eq!(listed, kept, "at {}: {:?}", n, ask);
                }
                Ok(())
            })
        })
        .unwrap();
    for held in server.dump() {
        assert!(held.ttl.is_some(), "{held:?}");
    }
}

/// A Lua number holds 53 bits, so the script adds in two halves: every carry, both signs, and both ends of the range.
#[tokio::test]
async fn inv07_sums_are_those_of_64_bits() {
    const HALF: i64 = 10_000_000_000;
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let key = made(&store, "alice").await;
    let mut edges = vec![0];
    for n in [
        1,
        HALF / 2,
        HALF - 1,
        HALF,
        HALF + 1,
        3 * HALF - 1,
        9_007_199_254_740_993,
        i64::MAX - 1,
        i64::MAX,
    ] {
        edges.extend([n, -n, -n - 1]);
    }
    let add = async |json: &str, by: i64| {
        let set = Changes::one("n".into(), Op::Set(json.into()));
        store.apply(change(key, set)).await.unwrap();
        let add = Changes::one("n".into(), Op::Add(by));
        let added = store.apply(change(key, add)).await.unwrap();
        let Some(Entry::Live(record)) = store.load(key).await.unwrap() else {
            panic!("it is live");
        };
        let left = String::from_utf8(record.value("n").unwrap().to_vec()).unwrap();
        (added, left)
    };
    for &a in &edges {
        for &by in &edges {
            let before = a.to_string();
            let expected = match a.checked_add(by) {
                Some(sum) => (Applied::Saved(Some(sum)), sum.to_string()),
                None => (Applied::NotAnInteger, before.clone()),
            };
            assert_eq!(add(&before, by).await, expected, "{a} + {by}");
        }
    }
    for no_integer in [
        "9223372036854775808",
        "-9223372036854775809",
        "10000000000000000000",
        "-99999999999999999999",
        "-0",
        "00",
        "01",
        "-01",
        "+1",
        "1 1",
        "- 1",
        "1.0",
        "1e3",
        "true",
    ] {
        for by in [0, 1, -1, i64::MAX, i64::MIN] {
            let expected = (Applied::NotAnInteger, no_integer.to_owned());
            assert_eq!(add(no_integer, by).await, expected, "{no_integer} + {by}");
        }
    }
}
