//! Three instances, a store, what is on its way between them, and the clients.

use super::instance::{Asker, Clocks, DEADLINE, Instance, Link, micros};
use super::random::Random;
use super::request::{Client, Request};
use super::server::{Command, Contents, Reply, Server, State};
use super::truth::Truth;
use crate::clock::instant;
use crate::store::{Failure, late};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The store's clock shows this at first.
pub(super) const EPOCH: u64 = 1_700_000_000_000_000;

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) server: Server,
    /// What a replica has, and what an old snapshot had.
    pub(super) replica: Contents,
    pub(super) snapshot: Contents,
    pub(super) instances: Vec<Instance>,
    /// Which of them sleep: their steady clock stands still.
    pub(super) asleep: Vec<bool>,
    pub(super) flights: Vec<Flight>,
    pub(super) requests: BTreeMap<u64, Request>,
    pub(super) clients: Vec<Client>,
    pub(super) truth: Truth,
    pub(super) limit: Option<crate::store::Limit>,
    /// Of everything that is numbered.
    next: u64,
    /// For what is drawn by the system itself.
    pub(super) random: Random,
    /// What happened, if anybody wants to know.
    pub(super) story: Option<Vec<String>>,
}

/// A command on its way, or its answer.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) from: usize,
    /// To a restarted instance nothing comes back.
    number: u32,
    asker: Asker,
    pub(super) command: Command,
    not_after: u64,
    pub(super) sent: u64,
    /// By the steady clock of who sent it.
    deadline: u64,
    server: u64,
    pub(super) leg: Leg,
    /// Nobody waits for it any more.
    pub(super) given_up: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Leg {
    Going,
    Back(Reply),
    Lost,
}

impl World {
    pub(super) fn new(seed: u64, instances: usize, clients: usize) -> Self {
        let mut world = Self {
            now: EPOCH,
            server: Server {
                name: 1,
                state: State::Up,
                contents: Contents::default(),
            },
            replica: Contents::default(),
            snapshot: Contents::default(),
            instances: Vec::new(),
            asleep: vec![false; instances],
            flights: Vec::new(),
            requests: BTreeMap::new(),
            clients: vec![Client::default(); clients],
            truth: Truth::default(),
            limit: None,
            next: 1,
            random: Random::new(seed ^ 0x5e55_11e0),
            story: None,
        };
        for _ in 0..instances {
            let instance = world.boot(0);
            world.instances.push(instance);
        }
        world
    }

    fn boot(&mut self, off: i64) -> Instance {
        let number = u32::try_from(self.draw()).unwrap_or(u32::MAX);
        let clocks = Clocks {
            now: self.now,
            slept: 0,
            off,
            // It has connected once, and the answer was on its way for a moment.
            read: (self.now - 1_000, self.now),
            slept_before: 0,
            floor: SystemTime::UNIX_EPOCH,
        };
        Instance::new(number, clocks)
    }

    pub(super) const fn draw(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>12} {}", self.now - EPOCH, what()));
        }
    }

    /// Time passes for everybody.
    pub(super) fn pass(&mut self, micros: u64) {
        self.shift(micros);
        self.time_out();
        for at in 0..self.instances.len() {
            let jitter = self.random.next();
            self.instances[at].tick(jitter);
            self.drain(at);
        }
    }

    /// No two steps are at the same instant.
    pub(super) fn shift(&mut self, micros: u64) {
        self.now += micros;
        for at in 0..self.instances.len() {
            let clocks = &mut self.instances[at].clocks;
            clocks.now = self.now;
            if self.asleep[at] {
                clocks.slept += micros;
            }
        }
    }

    fn time_out(&mut self) {
        let mut i = 0;
        while i < self.flights.len() {
            let flight = &mut self.flights[i];
            let from = flight.from;
            let instance = &mut self.instances[from];
            let is_over = !flight.given_up && instance.clocks.steady() >= flight.deadline;
            if !is_over {
                i += 1;
                continue;
            }
            flight.given_up = true;
            let (asker, number) = (flight.asker, flight.number);
            if matches!(flight.leg, Leg::Lost | Leg::Back(_)) {
                self.flights.remove(i);
            } else {
                i += 1;
            }
            if number == instance.number {
                let jitter = self.random.next();
                instance.replied(asker, Err(Failure::Silent), jitter);
                self.drain(from);
            }
        }
    }

    /// A flight gets on by one leg, if it can.
    pub(super) fn move_on(&mut self, i: usize) {
        let flight = &mut self.flights[i];
        let from = flight.from;
        if self.instances[from].link != Link::Whole {
            return;
        }
        match &flight.leg {
            Leg::Lost => {}
            Leg::Going => {
                if flight.server != self.server.name || self.server.state == State::Down {
                    // Its connection is gone.
                    if flight.given_up {
                        self.flights.remove(i);
                    } else {
                        flight.leg = Leg::Lost;
                    }
                    return;
                }
                if self.server.state == State::Stopped {
                    return;
                }
                self.execute(i);
            }
            Leg::Back(_) => {
                let flight = self.flights.remove(i);
                if let Leg::Back(reply) = flight.leg
                    && !flight.given_up
                    && flight.number == self.instances[from].number
                {
                    let jitter = self.random.next();
                    self.instances[from].replied(flight.asker, Ok(reply), jitter);
                    self.drain(from);
                }
            }
        }
    }

    /// Heartbeats come and go at once, where they do.
    pub(super) fn beat(&mut self) {
        for _ in 0..2 {
            let mut i = 0;
            while i < self.flights.len() {
                let before = self.flights.len();
                if self.flights[i].asker == Asker::Beat && !self.flights[i].given_up {
                    self.move_on(i);
                }
                if self.flights.len() >= before {
                    i += 1;
                }
            }
        }
    }

    /// All that decides what happens next, as text; numbers that are only drawn are as they were drawn.
    pub(super) fn summary(&self) -> String {
        use std::fmt::Write;
        let mut text = format!("{} {:?} {}", self.now - EPOCH, self.server.state, self.next);
        let tell = |contents: &Contents, text: &mut String| {
            for (key, entry) in &contents.entries {
                let _ = write!(text, "{} {entry:?};", super::story::key(key));
            }
            let _ = write!(text, "{:?} {:?}", contents.sinces, contents.beat);
        };
        tell(&self.server.contents, &mut text);
        tell(&self.replica, &mut text);
        for instance in &self.instances {
            let _ = write!(
                text,
                "|{} {:?} {:?} {:?} {:?} {}",
                instance.number,
                instance.link,
                instance.breaker,
                instance.clocks,
                instance.check,
                instance.memory.summary(),
            );
            for end in instance.journal.all() {
                let _ = write!(text, "{end:?}");
            }
            let _ = write!(text, "{:?}{:?}", instance.calls, instance.carries.len());
        }
        for flight in &self.flights {
            let _ = write!(
                text,
                "|{} {:?} {:?} {} {:?} {}",
                flight.from, flight.asker, flight.leg, flight.sent, flight.given_up, flight.server
            );
        }
        let _ = write!(
            text,
            "|{:?}{:?}{}",
            self.clients,
            self.requests,
            self.truth.summary()
        );
        text
    }

    fn execute(&mut self, i: usize) {
        let draw = self.draw();
        let flight = &mut self.flights[i];
        let (command, sent, from) = (flight.command.clone(), flight.sent, flight.from);
        let reply = self
            .server
            .execute(&command, flight.not_after, instant(self.now), draw);
        let given_up = flight.given_up;
        if given_up {
            self.flights.remove(i);
        } else {
            flight.leg = Leg::Back(reply.clone());
        }
        if let Some(story) = &mut self.story {
            let late = if given_up { " (given up)" } else { "" };
            let line = super::story::executed(from, &command, &reply);
            story.push(format!("{:>12} {line}{late}", self.now - EPOCH));
        }
        self.truth
            .executed(&self.server, self.now, &command, &reply, sent, self.limit);
    }

    /// A command, or its answer, goes astray.
    pub(super) fn lose(&mut self, i: usize) {
        if self.flights[i].given_up {
            self.flights.remove(i);
        } else {
            self.flights[i].leg = Leg::Lost;
        }
    }

    /// What an instance wants to send, has answered and tells.
    pub(super) fn drain(&mut self, at: usize) {
        loop {
            let instance = &mut self.instances[at];
            if !instance.out.is_empty() {
                let (asker, command) = instance.out.remove(0);
                self.put(at, asker, command);
            } else if !instance.news.is_empty() {
                let news = instance.news.remove(0);
                self.truth
                    .news(at, &self.instances[at], &self.server, self.now, &news);
                self.tell(|| format!("i{at} {}", super::story::news(&news)));
            } else if !instance.done.is_empty() {
                let (id, call, answer) = instance.done.remove(0);
                self.advance(at, id, &call, answer);
            } else {
                return;
            }
        }
    }

    fn put(&mut self, at: usize, asker: Asker, command: Command) {
        let instance = &mut self.instances[at];
        if instance.link == Link::Cut || self.server.state == State::Down {
            let jitter = self.random.next();
            instance.replied(asker, Err(Failure::Unreachable), jitter);
            return;
        }
        if let Asker::Carry(_) = asker {
            self.truth.staged(&command);
        }
        let clocks = &instance.clocks;
        self.flights.push(Flight {
            from: at,
            number: instance.number,
            asker,
            command,
            not_after: late::not_after(crate::clock::micros(clocks.reading())),
            sent: self.now,
            deadline: clocks.steady() + DEADLINE,
            server: self.server.name,
            leg: Leg::Going,
            given_up: false,
        });
    }

    /// An instance dies and starts again: what is in its memory is gone; its journal too, unless it has a file.
    pub(super) fn crash(&mut self, at: usize, keeps: bool, off: i64) {
        self.tell(|| format!("i{at} crashes, journal kept: {keeps}"));
        let mut fresh = self.boot(off);
        let old = &mut self.instances[at];
        if keeps {
            fresh.journal = old.journal.clone();
            let now = fresh.moment().here;
            for end in old.journal.all() {
                fresh.memory.recall(end, now);
            }
        }
        fresh.link = old.link;
        let number = fresh.number;
        let old = std::mem::replace(old, fresh);
        self.asleep[at] = false;
        let journal = &self.instances[at].journal;
        self.truth.crashed(at, old.number, number, journal);
        self.requests.retain(|_, request| request.at != at);
        let mut i = 0;
        while i < self.flights.len() {
            let flight = &mut self.flights[i];
            if flight.from == at {
                flight.given_up = true;
                if !matches!(flight.leg, Leg::Going) {
                    self.flights.remove(i);
                    continue;
                }
            }
            i += 1;
        }
        self.instances[at].tick(0);
        self.drain(at);
    }

    /// Another server takes over, with these contents.
    pub(super) fn replace_server(&mut self, contents: Contents) {
        let name = self.draw();
        self.server = Server {
            name,
            state: State::Up,
            contents,
        };
        self.replica = self.server.contents.clone();
        self.snapshot = self.server.contents.clone();
        self.truth.server_changed(&self.server, self.now);
    }

    /// When any of the instances has something to do by itself.
    pub(super) fn next_due(&self) -> u64 {
        let waits = self
            .instances
            .iter()
            .map(|instance| instance.due().saturating_sub(instance.clocks.steady()));
        waits
            .min()
            .unwrap_or(u64::MAX)
            .min(micros(super::instance::LEASE))
    }
}
