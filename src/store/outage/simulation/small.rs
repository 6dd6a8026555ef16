//! The small case, all of it: two instances, one store, one user, and few of everything that happens; checked by
//! `stateright`. The world is the same as that of the histories at random.

use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::{Checker, HasDiscoveries, Model, Property as Named};

use super::instance::Link;
use super::request::Action;
use super::truth::Property;
use super::world::{Leg, World};
use crate::store::outage::rule::{Rule, switch_off};

/// So often each thing happens at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    logins: u8,
    ends: u8,
    reads: u8,
    cuts: u8,
    failovers: u8,
    ticks: u8,
    /// Commands that are not waited for, and arrive late.
    lates: u8,
}

#[derive(Debug, Clone)]
struct Small {
    budget: Budget,
    off: Option<Rule>,
}

#[derive(Debug, Clone)]
struct State {
    world: World,
    left: Budget,
    /// What the two are told apart by.
    mark: u64,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.mark == other.mark
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.mark.hash(state);
    }
}

impl State {
    fn marked(mut self) -> Self {
        let mut hasher = DefaultHasher::new();
        self.world.summary().hash(&mut hasher);
        self.left.hash(&mut hasher);
        self.mark = hasher.finish();
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Event {
    Login(usize),
    /// Of all of the user's sessions, or of this one.
    End(usize, bool),
    Read(usize),
    Cut(usize),
    Mend(usize),
    /// The replica takes over: what came since the last tick is lost.
    Failover,
    /// A command or an answer gets on.
    Move(usize),
    /// So long passes: until the next heartbeat, until a command is too late, until a lease is over.
    Pass(u64),
}

impl Model for Small {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        switch_off(self.off);
        let mut world = World::new(0, 2, 1);
        world.pass(0);
        world.beat();
        let state = State {
            world,
            left: self.budget,
            mark: 0,
        };
        vec![state.marked()]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        if state.world.truth.violation.is_some() {
            return;
        }
        let (world, left) = (&state.world, &state.left);
        let has_cookie = !world.clients[0].cookies.is_empty();
        for (i, flight) in world.flights.iter().enumerate() {
            if !matches!(flight.leg, Leg::Lost) && world.instances[flight.from].link == Link::Whole
            {
                events.push(Event::Move(i));
            }
        }
        // One request at a time: the others are commands that were given up.
        if world.requests.is_empty() {
            for at in 0..2 {
                if left.logins > 0 {
                    events.push(Event::Login(at));
                }
                if left.ends > 0 && has_cookie {
                    events.push(Event::End(at, false));
                    events.push(Event::End(at, true));
                }
                if left.reads > 0 && has_cookie {
                    events.push(Event::Read(at));
                }
            }
        }
        for at in 0..2 {
            match world.instances[at].link {
                Link::Whole if left.cuts > 0 => events.push(Event::Cut(at)),
                Link::Mute => events.push(Event::Mend(at)),
                Link::Whole | Link::Cut => {}
            }
        }
        if left.failovers > 0 {
            events.push(Event::Failover);
        }
        if left.ticks > 0 {
            events.push(Event::Pass(1_100_000));
        }
        if left.lates > 0 {
            events.push(Event::Pass(6_000_000));
            events.push(Event::Pass(21_000_000));
        }
    }

    fn next_state(&self, last: &State, event: Event) -> Option<State> {
        switch_off(self.off);
        let mut next = last.clone();
        let (world, left) = (&mut next.world, &mut next.left);
        let cookie = world.clients[0].cookies.last().copied();
        match event {
            Event::Login(at) => {
                left.logins -= 1;
                world.shift(1);
                world.request(at, 0, None, Action::Login("u0".into()), true);
            }
            Event::End(at, all) => {
                left.ends -= 1;
                world.shift(1);
                let action = if all { Action::EndAll } else { Action::Logout };
                world.request(at, 0, cookie, action, true);
            }
            Event::Read(at) => {
                left.reads -= 1;
                world.shift(1);
                world.request(at, 0, cookie, Action::Read, true);
            }
            Event::Cut(at) => {
                left.cuts -= 1;
                world.instances[at].link = Link::Mute;
            }
            Event::Mend(at) => world.instances[at].link = Link::Whole,
            Event::Failover => {
                left.failovers -= 1;
                let contents = world.replica.clone();
                world.replace_server(contents);
            }
            Event::Move(i) => {
                world.move_on(i);
            }
            Event::Pass(micros) => {
                if micros > 2_000_000 {
                    left.lates -= 1;
                } else {
                    left.ticks -= 1;
                }
                world.replica = world.server.contents.clone();
                // What is waited for is given up first.
                world.pass(160_000);
                world.pass(micros - 160_000);
                world.beat();
            }
        }
        Some(next.marked())
    }

    fn properties(&self) -> Vec<Named<Self>> {
        fn keeps(state: &State, broken: &[Property]) -> bool {
            let found = state.world.truth.violation.as_ref();
            found.is_none_or(|violation| !broken.contains(&violation.property))
        }
        vec![
            Named::always("1: only create creates", |_: &Self, state: &State| {
                keeps(state, &[Property::OnlyCreateCreates])
            }),
            Named::always("2: ended is ended", |_: &Self, state: &State| {
                let broken = [
                    Property::EndedIsEnded,
                    Property::NotAcceptedAgain,
                    Property::LeaseEnds,
                    Property::NotPastRevocation,
                    Property::ToldBeforeRead,
                    Property::LateChangesNothing,
                ];
                keeps(state, &broken)
            }),
            Named::always("3: fixation-safe", |_: &Self, state: &State| {
                keeps(state, &[Property::Fixation])
            }),
            Named::always("8: away is not absent", |_: &Self, state: &State| {
                keeps(state, &[Property::AwayIsNotAbsent])
            }),
            Named::always("10: stored before told", |_: &Self, state: &State| {
                keeps(state, &[Property::StoredBeforeTold, Property::LeaseIsTrue])
            }),
            Named::always("12: the index is the truth", |_: &Self, state: &State| {
                let broken = [
                    Property::ListIsTruth,
                    Property::LimitHolds,
                    Property::SinceHolds,
                ];
                keeps(state, &broken)
            }),
            Named::always("ending terminates", |model: &Self, state: &State| {
                let is_waiting =
                    !state.world.flights.is_empty() || !state.world.requests.is_empty();
                if is_waiting || state.world.truth.violation.is_some() {
                    return true;
                }
                switch_off(model.off);
                let mut world = state.world.clone();
                world.rest();
                world.truth.violation.is_none()
            }),
        ]
    }
}

const fn budget(n: [u8; 7]) -> Budget {
    let [logins, ends, reads, cuts, failovers, ticks, lates] = n;
    Budget {
        logins,
        ends,
        reads,
        cuts,
        failovers,
        ticks,
        lates,
    }
}

/// How many states there are, and how deep; which properties are broken.
fn check(off: Option<Rule>, budget: Budget) -> (usize, usize, Vec<&'static str>) {
    let began = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = Small { budget, off }
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::Any);
    let checker = checker.spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let mut found: Vec<_> = checker.discoveries().into_keys().collect();
    found.sort_unstable();
    switch_off(None);
    eprintln!(
        "{off:?}: {states} states, {depth} deep, {:?}: {found:?}",
        began.elapsed()
    );
    if off.is_none() {
        for (name, path) in checker.discoveries() {
            let last = path.last_state().world.truth.violation.clone();
            eprintln!("{name}: {last:?}: {:?}", path.into_actions());
        }
    }
    (states, depth, found)
}

/// All of a small case, of at least so many states and so deep: fewer would mean that something is not tried any more.
fn keeps_all(budget: Budget, least: (usize, usize)) {
    let (states, depth, found) = check(None, budget);
    assert!(found.is_empty(), "{found:?}");
    assert!(states >= least.0, "{states} states");
    assert!(depth >= least.1, "{depth} deep");
}

fn is_needed(rule: Rule, name: &str, n: [u8; 7]) {
    let (_, _, found) = check(Some(rule), budget(n));
    assert!(found.contains(&name), "without {rule:?}, only {found:?}");
}

const ENDED: &str = "2: ended is ended";

#[test]
fn the_small_case_with_a_link_that_is_cut() {
    keeps_all(budget([1, 1, 1, 1, 0, 1, 0]), (70_000, 19));
}

#[test]
fn the_small_case_with_a_failover() {
    keeps_all(budget([1, 1, 1, 0, 1, 1, 0]), (100_000, 22));
}

#[test]
fn the_small_case_with_commands_that_come_late() {
    keeps_all(budget([1, 1, 1, 0, 0, 0, 1]), (15_000, 16));
}

#[test]
fn the_small_case_needs_ends_first() {
    is_needed(Rule::EndsFirst, ENDED, [1, 1, 0, 1, 0, 3, 0]);
}

#[test]
fn the_small_case_needs_the_lease_limit() {
    is_needed(Rule::LeaseLimit, ENDED, [1, 0, 1, 1, 0, 1, 1]);
}

#[test]
fn the_small_case_needs_the_barrier() {
    is_needed(Rule::Barrier, ENDED, [1, 1, 0, 0, 1, 2, 0]);
}

#[test]
fn the_small_case_needs_not_after() {
    is_needed(Rule::NotAfter, ENDED, [1, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn the_small_case_needs_since() {
    is_needed(
        Rule::Since,
        "12: the index is the truth",
        [2, 1, 0, 0, 0, 1, 0],
    );
}

#[test]
fn the_small_case_needs_what_is_remembered() {
    is_needed(Rule::Remembered, ENDED, [1, 1, 1, 0, 1, 1, 0]);
}
