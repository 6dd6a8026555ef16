//! A history at random: everything that can happen, in any order, and at last a while in which all is well.

use std::num::NonZeroU32;

use super::instance::Link;
use super::random::Random;
use super::request::{Action, Cookie};
use super::server::State;
use super::truth::Violation;
use super::world::{Leg, World};
use crate::id::UserId;
use crate::store::{AtLimit, Limit};

const INSTANCES: usize = 3;
const CLIENTS: usize = 6;
const USERS: u64 = 2;

/// What came of a history.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) violation: Option<Violation>,
    pub(super) steps: u64,
    pub(super) world: World,
}

#[derive(Debug)]
struct Walk {
    world: World,
    random: Random,
    /// How often things go wrong, of a thousand steps.
    trouble: u64,
    /// Clocks of the wall are put back in this history; in the others machines sleep. Both at once may lend time.
    walls: bool,
    amount: i64,
}

/// The history of this seed, of so many steps.
pub(super) fn history(seed: u64, steps: u64, told: bool) -> Outcome {
    let mut random = Random::new(seed);
    let mut world = World::new(seed, INSTANCES, CLIENTS);
    world.limit = match random.below(4) {
        0 => None,
        1 => Some((2, AtLimit::Refuse)),
        2 => Some((1, AtLimit::EndOldest)),
        _ => Some((3, AtLimit::EndOldest)),
    }
    .and_then(|(sessions, at_limit)| {
        let sessions = NonZeroU32::new(sessions)?;
        Some(Limit { sessions, at_limit })
    });
    if told {
        world.story = Some(Vec::new());
    }
    let mut walk = Walk {
        trouble: [4, 15, 40, 90][random.index(4)],
        walls: random.chance(500),
        world,
        random,
        amount: 0,
    };
    walk.world.pass(0);
    let mut taken = 0;
    while taken < steps && walk.world.truth.violation.is_none() {
        walk.step();
        taken += 1;
    }
    if walk.world.truth.violation.is_none() {
        taken += walk.world.rest();
    }
    Outcome {
        violation: walk.world.truth.violation.clone(),
        steps: taken,
        world: walk.world,
    }
}

impl Walk {
    fn step(&mut self) {
        self.world.shift(1);
        if self.random.chance(self.trouble) {
            return self.trouble();
        }
        match self.random.below(100) {
            0..50 if !self.world.flights.is_empty() => {
                let i = self.flight();
                self.world.move_on(i);
            }
            0..72 => {
                let micros = match self.random.below(100) {
                    0..60 => self.random.below(5_000),
                    60..94 => self.world.next_due().min(1 + self.random.below(60_000)),
                    94..99 => self.world.next_due().min(1_000_000),
                    _ => self.random.below(4_000_000),
                };
                self.world.pass(micros);
            }
            _ => self.request(),
        }
    }

    /// The older ones go first mostly; what was given up waits for its time.
    fn flight(&mut self) -> usize {
        let len = self.world.flights.len();
        let i = match self.random.below(3) {
            0 => self.random.index(len),
            _ => self.random.index(len.min(3)),
        };
        let flight = &self.world.flights[i];
        if flight.given_up && !self.random.chance(20) {
            return self.random.index(len);
        }
        i
    }

    fn request(&mut self) {
        if self.world.requests.len() > 10 {
            return;
        }
        let at = self.random.index(INSTANCES);
        let client = self.random.index(CLIENTS);
        let cookies = &self.world.clients[client].cookies;
        let cookie: Option<Cookie> = match cookies.len() {
            0 => None,
            len if self.random.chance(120) => Some(cookies[self.random.index(len)]),
            len => Some(cookies[len - 1]),
        };
        let action = match self.action(cookie) {
            // Known, and not guarded against: such an end spares who signed in while the machine slept.
            Action::EndOthers | Action::EndAll | Action::Revoke(..) | Action::RevokeAll(_)
                if self.world.instances[at].clocks.is_behind() =>
            {
                Action::Read
            }
            action => action,
        };
        let arrives = !self.random.chance(60);
        self.world.request(at, client, cookie, action, arrives);
    }

    fn action(&mut self, cookie: Option<Cookie>) -> Action {
        let user = UserId::from(format!("u{}", self.random.below(USERS)));
        if cookie.is_none() {
            return match self.random.below(10) {
                0..7 => Action::Login(user),
                _ => Action::Set(self.random.below(4)),
            };
        }
        match self.random.below(100) {
            0..38 => Action::Read,
            38..48 => Action::Set(self.random.below(4)),
            48..58 => {
                self.amount += 1;
                Action::Add(self.amount)
            }
            58..74 => Action::Login(user),
            74..80 => Action::Logout,
            80..87 => Action::Regenerate,
            87..89 => Action::EndOthers,
            89..92 => Action::EndAll,
            92..93 => Action::RevokeAll(user),
            93..96 => {
                let now = crate::clock::instant(self.world.now);
                let live = self.world.server.contents.all_live(now);
                let theirs: Vec<_> = live
                    .filter(|(_, record)| record.user() == Some(user.as_str()))
                    .map(|(_, record)| record.handle())
                    .collect();
                match theirs.len() {
                    0 => Action::List,
                    len => Action::Revoke(user, theirs[self.random.index(len)]),
                }
            }
            _ => Action::List,
        }
    }

    fn trouble(&mut self) {
        let world = &mut self.world;
        let at = self.random.index(INSTANCES);
        match self.random.below(100) {
            0..30 => {
                let link = match self.random.below(4) {
                    0 => Link::Cut,
                    1 => Link::Mute,
                    _ => Link::Whole,
                };
                world.tell(|| format!("i{at}'s link is {link:?}"));
                world.instances[at].link = link;
            }
            30..48 => {
                let state = match self.random.below(7) {
                    0 => State::Stopped,
                    1 => State::Down,
                    2 => State::ReadOnly,
                    _ => State::Up,
                };
                world.tell(|| format!("the store is {state:?}"));
                world.server.state = state;
            }
            48..62 => {
                if !world.flights.is_empty() {
                    let i = self.random.index(world.flights.len());
                    world.lose(i);
                }
            }
            62..70 => {
                // All that was sent so far is lost, or waits for another time.
                for flight in &mut world.flights {
                    if matches!(flight.leg, Leg::Back(_)) && self.random.chance(700) {
                        flight.leg = Leg::Lost;
                    }
                }
            }
            70..77 => {
                let keeps = self.random.chance(500);
                let off = match self.walls {
                    true => self.random.below(4_000_000) as i64 - 2_000_000,
                    false => 0,
                };
                world.crash(at, keeps, off);
            }
            77..84 => {
                if self.walls {
                    let off = self.random.below(60_000_000) as i64 - 40_000_000;
                    world.tell(|| format!("i{at}'s clock is {off} µs off"));
                    world.instances[at].clocks.off = off;
                } else {
                    world.tell(|| format!("i{at} sleeps, or wakes up"));
                    world.asleep[at] = !world.asleep[at];
                }
            }
            84..90 => world.replica = world.server.contents.clone(),
            90..93 => {
                world.tell(|| "a replica takes over".to_owned());
                let contents = world.replica.clone();
                world.replace_server(contents);
            }
            93..94 => world.snapshot = world.server.contents.clone(),
            94..95 => {
                world.tell(|| "the store is an old snapshot".to_owned());
                let contents = world.snapshot.clone();
                world.replace_server(contents);
            }
            95..96 => {
                world.tell(|| "the store came back empty".to_owned());
                world.replace_server(super::server::Contents::default());
            }
            96..97 => {
                let micros = self.random.below(700_000_000);
                world.tell(|| format!("{micros} µs pass"));
                world.pass(micros);
            }
            _ => {
                let micros = self.random.below(25_000_000);
                world.tell(|| format!("{micros} µs pass"));
                world.pass(micros);
            }
        }
    }
}

impl World {
    /// All is well, until nothing is left to do; how many steps that took.
    pub(super) fn rest(&mut self) -> u64 {
        self.tell(|| "all is well from here on".to_owned());
        self.server.state = State::Up;
        for at in 0..self.instances.len() {
            self.instances[at].link = Link::Whole;
            self.asleep[at] = false;
        }
        let (mut steps, began) = (0, self.now);
        while self.now - began < 30_000_000 && self.truth.violation.is_none() {
            while let Some(i) = self
                .flights
                .iter()
                .position(|flight| !matches!(flight.leg, Leg::Lost))
            {
                self.shift(1);
                self.move_on(i);
                steps += 1;
            }
            let idle = self.instances.iter().all(|instance| {
                instance.is_idle()
                    && instance.epoch().up
                    && instance.journal.is_empty()
                    && instance.memory.pursued.is_empty()
                    && instance.memory.due(|_| true).is_empty()
            });
            if idle && self.now - began > 2_500_000 {
                break;
            }
            self.pass(self.next_due().clamp(1, 50_000));
            steps += 1;
        }
        if self.truth.violation.is_none() {
            self.truth.at_rest(&self.instances, &self.server, self.now);
        }
        steps
    }
}
