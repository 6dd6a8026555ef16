//! A request, as the session layer carries it out (`session/login.rs`, `session/commit.rs`), and who sends it.

use super::calls::{Answer, Ask, Call, bucket};
use super::world::World;
use crate::clock::micros;
use crate::id::{Born, Digest, Handle, Kind, RecordKey, UserId};
use crate::record::{Changes, EndReason, Entry, NewRecord, Op, Record, Seen};
use crate::session::Freshness;
use crate::store::{
    Applied, Apply, Create, Created, EndScope, EndSessions, Renewal, Replace, Replaced, SignIn,
};
use std::time::{Duration, SystemTime};

const IDLE: Duration = Duration::from_secs(1800);
const ABSOLUTE: Duration = Duration::from_secs(12 * 3600);

/// A browser: the cookies that it has got, the last of which it sends.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) cookies: Vec<Cookie>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cookie {
    pub(super) key: RecordKey,
    pub(super) born: Option<Born>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Read,
    Set(u64),
    Add(i64),
    Login(UserId),
    Logout,
    Regenerate,
    EndOthers,
    EndAll,
    /// By somebody with the right to.
    Revoke(UserId, Handle),
    RevokeAll(UserId),
    List,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) client: usize,
    pub(super) at: usize,
    pub(super) action: Action,
    pub(super) began: u64,
    began_at: SystemTime,
    cookie: Option<Cookie>,
    /// Whether its response reaches the client.
    arrives: bool,
    live: Option<Live>,
    /// What the response sets.
    new: Option<Cookie>,
    stage: Stage,
}

#[derive(Debug, Clone)]
struct Live {
    key: RecordKey,
    born: Option<Born>,
    record: Record,
    freshness: Freshness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Loading,
    Acting,
    /// The new session is made, the old one is being ended.
    EndingOld,
    TakingBack,
    /// The new one lives here; that the old one is over has still to reach the store.
    EndingRenewed,
    /// What was made while the store was away gets another id.
    Settling,
}

impl World {
    pub(super) fn request(
        &mut self,
        at: usize,
        client: usize,
        cookie: Option<Cookie>,
        action: Action,
        arrives: bool,
    ) {
        self.tell(|| {
            let cookie = cookie.map_or_else(String::new, |cookie| super::story::key(&cookie.key));
            format!("i{at} c{client} {action:?} {cookie}")
        });
        let request = Request {
            client,
            at,
            began: self.now,
            began_at: self.instances[at].clocks.store(),
            arrives,
            live: None,
            new: None,
            stage: Stage::Loading,
            cookie: cookie.filter(|_| !matches!(action, Action::Revoke(..) | Action::RevokeAll(_))),
            action,
        };
        match request.cookie {
            Some(cookie) => self.call(request, Ask::Load(cookie.key, cookie.born)),
            None => self.act(request),
        }
        self.drain(at);
    }

    fn call(&mut self, request: Request, ask: Ask) {
        let (id, at) = (self.draw(), request.at);
        self.truth.asked(&ask, self.now);
        self.requests.insert(id, request);
        self.instances[at].begin(id, ask);
    }

    /// One of a request's calls was answered.
    pub(super) fn advance(&mut self, at: usize, id: u64, call: &Call, answer: Answer) {
        self.truth
            .answered(at, &self.instances[at], self.now, call, &answer);
        self.tell(|| format!("i{at} {}", super::story::answered(&call.ask, &answer)));
        let Some(mut request) = self.requests.remove(&id) else {
            return;
        };
        match (request.stage, answer) {
            (Stage::Loading, Answer::Loaded(Some(Entry::Live(record)), freshness)) => {
                if let Some(cookie) = request.cookie {
                    request.live = Some(Live {
                        key: cookie.key,
                        born: cookie.born,
                        record,
                        freshness,
                    });
                }
                self.act(request);
            }
            (Stage::Loading, Answer::Loaded(..)) => self.act(request),
            // A login works whatever is known of the session before.
            (Stage::Loading, Answer::Failed) if matches!(request.action, Action::Login(_)) => {
                self.act(request);
            }
            (Stage::Acting, answer) => self.acted(request, &call.ask, answer),
            (Stage::EndingOld, Answer::Failed) => {
                // Nobody will hold the new one.
                if let Some(new) = request.new.take() {
                    request.stage = Stage::TakingBack;
                    let end = one(new.key, EndReason::LoggedOut);
                    self.call(request, Ask::End(end, None));
                }
            }
            (Stage::Settling, Answer::Replaced(Replaced::Replaced { .. }, _)) => {
                if let Ask::Replace(replace) = &call.ask {
                    request.new = Some(Cookie {
                        key: replace.key.sibling(replace.successor),
                        born: None,
                    });
                }
                self.respond(request);
            }
            (Stage::EndingOld | Stage::EndingRenewed | Stage::Settling, _) => self.respond(request),
            (Stage::Loading | Stage::TakingBack, _) => {}
        }
    }

    fn act(&mut self, mut request: Request) {
        request.stage = Stage::Acting;
        let live = request.live.clone();
        let now = self.instances[request.at].clocks.store();
        let seen = Seen {
            at: request.began_at,
            address: None,
            agent: None,
        };
        let user = live
            .as_ref()
            .and_then(|live| live.record.user().map(UserId::from));
        let ask = match (&request.action, live, user) {
            (Action::Read, ..) => return self.settle(request),
            (Action::Set(_) | Action::Add(_), Some(live), _) => Ask::Apply(
                Apply {
                    key: live.key,
                    changes: changes(&request.action),
                    seen: Some(seen),
                    read: Some(live.record),
                },
                live.freshness,
            ),
            (Action::Set(value), None, _) => {
                let values = vec![("v".into(), value.to_string().into_bytes())];
                self.create(&request, None, values, now)
            }
            (Action::Login(who), live, user) => match live {
                Some(live) if user.as_ref() == Some(who) => {
                    let handle = self.handle();
                    let record = record(handle, Some(who.clone()), now, Vec::new());
                    self.truth.begun(handle, request.began);
                    let renewal = Renewal::SignIn(Box::new(SignIn {
                        record,
                        keep: vec!["v".into()],
                        began_at: request.began_at,
                        limit: self.limit,
                    }));
                    self.replace(live.key, renewal, seen)
                }
                Some(_) | None => self.create(&request, Some(who.clone()), Vec::new(), now),
            },
            (Action::Logout, Some(live), _) => {
                Ask::End(one(live.key, EndReason::LoggedOut), Some(live.record))
            }
            (Action::Regenerate, Some(live), _) => {
                self.replace(live.key, Renewal::SameSession, seen)
            }
            (Action::EndOthers, Some(live), Some(user)) => {
                Ask::End(all(EndScope::Others(user, live.record.handle())), None)
            }
            (Action::EndAll, _, Some(user)) => Ask::End(all(EndScope::All(user)), None),
            (Action::RevokeAll(user), ..) => Ask::End(all(EndScope::All(user.clone())), None),
            (Action::Revoke(user, handle), ..) => {
                Ask::End(all(EndScope::Handle(user.clone(), *handle)), None)
            }
            (Action::List, _, Some(user)) => Ask::List(bucket(&user), user),
            (
                Action::Add(_)
                | Action::Logout
                | Action::Regenerate
                | Action::EndOthers
                | Action::EndAll
                | Action::List,
                ..,
            ) => return,
        };
        self.call(request, ask);
    }

    fn acted(&mut self, mut request: Request, ask: &Ask, answer: Answer) {
        match (ask, answer) {
            (Ask::Create(create), Answer::Created(Created::Created(_), freshness)) => {
                let born = self.born(&request, freshness);
                request.new = Some(Cookie {
                    key: create.key,
                    born,
                });
                match &request.live {
                    Some(old) if matches!(request.action, Action::Login(_)) => {
                        let end = one(old.key, EndReason::Regenerated);
                        let known = Some(old.record.clone());
                        request.stage = Stage::EndingOld;
                        self.call(request, Ask::End(end, known));
                    }
                    Some(_) | None => self.respond(request),
                }
            }
            (Ask::Replace(replace), Answer::Replaced(Replaced::Replaced { .. }, freshness)) => {
                let born = self.born(&request, freshness);
                request.new = Some(Cookie {
                    key: replace.key.sibling(replace.successor),
                    born,
                });
                match request.live.take() {
                    Some(old)
                        if matches!(replace.renewal, Renewal::SignIn(_))
                            && freshness == Freshness::Local
                            && old.freshness != Freshness::Local =>
                    {
                        request.stage = Stage::EndingRenewed;
                        let end = one(old.key, EndReason::Regenerated);
                        self.call(request, Ask::End(end, Some(old.record)));
                    }
                    Some(_) | None => self.respond(request),
                }
            }
            (Ask::Apply(..), Answer::Applied(Applied::Saved(_), _)) => self.settle(request),
            _ => {}
        }
    }

    /// A session that was made while the store was away, and is in the store now, gets an id as any other.
    fn settle(&mut self, mut request: Request) {
        match &request.live {
            Some(live) if live.born.is_some() && live.freshness == Freshness::Live => {
                let seen = Seen {
                    at: request.began_at,
                    address: None,
                    agent: None,
                };
                let ask = self.replace(live.key, Renewal::SameSession, seen);
                request.stage = Stage::Settling;
                self.call(request, ask);
            }
            Some(_) | None => {}
        }
    }

    fn respond(&mut self, request: Request) {
        if let (Some(new), true) = (request.new, request.arrives) {
            let cookies = &mut self.clients[request.client].cookies;
            cookies.push(new);
            if cookies.len() > 4 {
                cookies.remove(0);
            }
        }
    }

    fn create(
        &mut self,
        request: &Request,
        user: Option<UserId>,
        values: Vec<(crate::key::DataName, Vec<u8>)>,
        now: SystemTime,
    ) -> Ask {
        let handle = self.handle();
        let place = user.as_ref().map_or_else(|| 9.into(), bucket);
        let key = RecordKey {
            kind: Kind::User,
            bucket: place,
            digest: self.digest(),
        };
        self.truth.begun(handle, request.began);
        Ask::Create(Create {
            key,
            limit: user.as_ref().and(self.limit),
            record: record(handle, user, now, values),
            began_at: request.began_at,
            held: false,
        })
    }

    fn replace(&mut self, key: RecordKey, renewal: Renewal, seen: Seen) -> Ask {
        Ask::Replace(Replace {
            key,
            successor: self.digest(),
            renewal,
            seen,
        })
    }

    fn born(&self, request: &Request, freshness: Freshness) -> Option<Born> {
        let instance = &self.instances[request.at];
        (freshness == Freshness::Local).then(|| Born {
            instance: instance.number,
            at: instance.seconds(),
        })
    }

    fn handle(&mut self) -> Handle {
        handle(self.draw())
    }

    fn digest(&mut self) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.draw().to_be_bytes());
        Digest::from_bytes(bytes)
    }
}

pub(super) fn handle(number: u64) -> Handle {
    uuid::Uuid::from_u128(number.into()).into()
}

fn changes(action: &Action) -> Changes {
    match action {
        Action::Set(value) => Changes::one("v".into(), Op::Set(value.to_string().into_bytes())),
        Action::Add(by) => Changes::one("n".into(), Op::Add(*by)),
        _ => Changes::default(),
    }
}

fn record(
    handle: Handle,
    user: Option<UserId>,
    now: SystemTime,
    values: Vec<(crate::key::DataName, Vec<u8>)>,
) -> Record {
    Record::new(&NewRecord {
        handle,
        created_at: now,
        signed_in_at: user.as_ref().map(|_| now),
        user,
        absolute_end: now + ABSOLUTE,
        idle_timeout: IDLE,
        touch_threshold: Duration::from_secs(60),
        persistent: false,
        seen: Seen {
            at: now,
            address: None,
            agent: None,
        },
        values,
    })
}

fn one(key: RecordKey, reason: EndReason) -> EndSessions {
    EndSessions {
        scope: EndScope::One(key, None),
        reason,
        note: None,
        before: None,
    }
}

fn all(scope: EndScope) -> EndSessions {
    EndSessions {
        scope,
        reason: EndReason::Revoked,
        note: None,
        before: None,
    }
}

/// What an instance counts its instants in.
pub(super) fn at(instant: SystemTime) -> u64 {
    micros(instant)
}
