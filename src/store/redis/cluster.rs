//! A Redis Cluster: its servers, and which of them has which slot.
//!
//! Not the client library's cluster connection, for that sends a command again when its connection was cut: an update
//! could be applied twice.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{ConnectionInfo, Pipeline, RedisError};
use tokio::sync::watch;
use tokio::time::timeout;

use super::beat::Clocks;
use super::call::Via;
use super::connection::Door;
use super::failure::{at, failure};
use super::node::Node;
use super::parts::Parts;
use super::slots::{MOST, Place, SLOTS, ranges, slot};
use super::target::{Limits, at_place};
use crate::id::Bucket;
use crate::store::Part;

/// The slots are looked up no more often than this.
const PACE: Duration = Duration::from_millis(100);
/// How long one server is asked for them before the next one is.
const ANSWER: Duration = Duration::from_millis(100);
/// So many of the servers that are known are asked, and as many seeds.
const ASKED: usize = 5;
/// How long an attempt waits for slots that nobody is known to have.
const WAIT: Duration = Duration::from_millis(40);
/// No server has the slot.
const NOBODY: u16 = u16::MAX;

/// A cluster.
pub(super) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    limits: Limits,
    clocks: Arc<Clocks>,
    map: watch::Sender<Arc<Map>>,
    /// Those of the map, and those that a redirection named since.
    nodes: Mutex<HashMap<Place, Arc<Node>>>,
    look: Mutex<Look>,
    parts: Mutex<Parts>,
    turn: AtomicUsize,
}

/// Which server has which slot.
struct Map {
    owners: Box<[u16]>,
    nodes: Vec<Arc<Node>>,
    /// Of each node.
    numbers: Vec<Part>,
    /// Of each slot: of the server that has it, or had it last.
    parts: Box<[Part]>,
    /// Each of these once.
    all_parts: Box<[Part]>,
}

/// The state of looking up the slots.
#[derive(Default)]
struct Look {
    running: bool,
    began: Option<Instant>,
    /// Why it came to nothing the last time.
    failed: Option<RedisError>,
}

impl Cluster {
    /// Connects to nothing.
    pub(super) fn new(seeds: Vec<ConnectionInfo>, limits: Limits, clocks: Arc<Clocks>) -> Self {
        Self {
            seeds,
            limits,
            clocks,
            map: watch::Sender::new(Arc::new(Map {
                owners: Box::default(),
                nodes: Vec::new(),
                numbers: Vec::new(),
                parts: Box::default(),
                all_parts: Box::default(),
            })),
            nodes: Mutex::default(),
            look: Mutex::default(),
            parts: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The server for the next attempt. `asked` is the one of the last.
    pub(super) async fn node(
        self: &Arc<Self>,
        bucket: Bucket,
        via: &Via,
        asked: Option<&Node>,
    ) -> Result<Arc<Node>, RedisError> {
        match via {
            Via::Owner => {}
            Via::Refreshed => self.look_up(),
            Via::Moved(server) => {
                self.look_up();
                return self.named(server, asked);
            }
            Via::Ask(server) => return self.named(server, asked),
        }
        let slot = slot(bucket);
        if let Some(node) = self.map.borrow().owner(slot) {
            return Ok(Arc::clone(node));
        }
        self.wait_for(|map| map.owner(slot).map(Arc::clone))
            .await
            .ok_or_else(|| self.failed(|| format!("nobody has slot {slot} of the cluster")))
    }

    /// The server that has the bucket's slot, as far as is known.
    pub(super) fn owner(&self, bucket: Bucket) -> Option<Arc<Node>> {
        self.map.borrow().owner(slot(bucket)).map(Arc::clone)
    }

    /// All primaries that are known.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.map.borrow().nodes.clone()
    }

    /// All primaries, looked up if none is known yet.
    pub(super) async fn primaries(self: &Arc<Self>) -> Result<Vec<Arc<Node>>, RedisError> {
        self.wait_for(|map| (!map.nodes.is_empty()).then(|| map.nodes.clone()))
            .await
            .ok_or_else(|| self.failed(|| "the cluster names no primary".to_owned()))
    }

    /// The parts of all slots.
    pub(super) fn parts(&self) -> Vec<Part> {
        let parts = self.map.borrow().all_parts.to_vec();
        if parts.is_empty() {
            // Nobody is known yet; but somebody has each slot.
            return vec![Part::default()];
        }
        parts
    }

    /// The part that has the bucket's slot, or had it last.
    pub(super) fn part(&self, bucket: Bucket) -> Part {
        self.map.borrow().part(slot(bucket))
    }

    /// A part's server, and a tag whose slot it has.
    pub(super) async fn place(
        self: &Arc<Self>,
        part: Part,
        known: Option<Bucket>,
        passed: &[Bucket],
    ) -> Option<(Arc<Node>, Bucket)> {
        if !passed.is_empty() {
            // Slots have moved, and others may have too.
            let mut changes = self.map.subscribe();
            self.look_up();
            let _ = timeout(WAIT, changes.changed()).await;
        }
        self.wait_for(|map| map.place(part, known, passed)).await
    }

    /// Looks up the slots, in the background, unless that is being done or has just been.
    pub(super) fn look_up(self: &Arc<Self>) {
        let now = Instant::now();
        let mut look = self.look();
        let lately = look
            .began
            .is_some_and(|began| now.saturating_duration_since(began) < PACE);
        if look.running || lately {
            return;
        }
        look.running = true;
        look.began = Some(now);
        drop(look);
        tokio::spawn(Looking(Arc::clone(self)).run());
    }

    async fn wait_for<T: Send>(
        self: &Arc<Self>,
        found: impl Fn(&Map) -> Option<T> + Send + Sync,
    ) -> Option<T> {
        let mut changes = self.map.subscribe();
        let now = found(&changes.borrow_and_update());
        if now.is_some() {
            return now;
        }
        self.look_up();
        timeout(WAIT, async {
            loop {
                changes.changed().await.ok()?;
                let found = found(&changes.borrow_and_update());
                if found.is_some() {
                    return found;
                }
            }
        })
        .await
        .ok()
        .flatten()
    }

    /// Asks the servers that are known, then the seeds, until one of them tells.
    async fn ask_around(&self) {
        let mut known = self.nodes();
        if !known.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % known.len();
            known.rotate_left(turn);
        }
        // Those that could not be reached just now come last.
        known.sort_by_key(|node| node.is_away());
        let mut failed = None;
        for node in known.iter().take(ASKED) {
            match self.ask(node, ANSWER).await {
                Ok(map) => return self.found(map),
                Err(error) => failed = Some(error),
            }
        }
        for seed in self.seeds.iter().take(MOST) {
            // It may be a replica: its clock does not count.
            let asked = match Door::server(seed.clone(), self.clocks.apart()) {
                Ok(door) => {
                    let node = Node::new(door, &self.limits, &self.clocks);
                    // Its connection is made for this and dropped after it: the time for that comes on top.
                    self.ask(&node, self.limits.connect + ANSWER).await
                }
                Err(error) => Err(error),
            };
            match asked {
                Ok(map) => return self.found(map),
                Err(error) => failed = Some(error),
            }
        }
        self.look().failed = failed;
    }

    /// Asks a server, as long as it may still answer.
    async fn ask(&self, node: &Node, patience: Duration) -> Result<Map, RedisError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("CLUSTER").arg("SLOTS");
        let until = Instant::now() + patience;
        let replies = loop {
            match node
                .send_all(&pipeline, until.min(Instant::now() + ANSWER))
                .await
            {
                Err(_) if !node.is_away() && Instant::now() < until => {}
                replies => break replies?,
            }
        };
        let reply = replies
            .into_iter()
            .next()
            .map(redis::Value::extract_error)
            .transpose()
            .map_err(|error| at(&node.name(), &error))?;
        let ranges = reply.map_or_else(Vec::new, |reply| ranges(&reply, node.host()));
        if ranges.is_empty() {
            return Err(failure(format!("{}: it knows no slots", node.name())));
        }
        let mut map = Map {
            owners: vec![NOBODY; usize::from(SLOTS)].into(),
            nodes: Vec::new(),
            numbers: Vec::new(),
            parts: Box::default(),
            all_parts: Box::default(),
        };
        let mut numbers: HashMap<Place, u16> = HashMap::new();
        for range in ranges {
            let number = match numbers.get(&range.primary) {
                Some(number) => *number,
                None if map.nodes.len() == MOST => continue,
                None => {
                    let number = u16::try_from(map.nodes.len()).unwrap_or(NOBODY);
                    map.nodes.push(self.at(range.primary.clone())?);
                    numbers.insert(range.primary, number);
                    number
                }
            };
            if range.first <= range.last {
                map.owners[usize::from(range.first)..=usize::from(range.last)].fill(number);
            }
        }
        Ok(map)
    }

    /// Takes a new map. The pools of servers that are not in it are dropped, with the last of their users.
    fn found(&self, mut map: Map) {
        let names = map.nodes.iter().map(|node| node.name());
        map.numbers = self
            .parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .of(names);
        let before = Arc::clone(&self.map.borrow());
        map.parts = (0..SLOTS)
            .map(|slot| {
                let now = map.numbers.get(usize::from(map.owners[usize::from(slot)]));
                now.copied().unwrap_or_else(|| before.part(slot))
            })
            .collect();
        let all: BTreeSet<Part> = map.parts.iter().copied().collect();
        map.all_parts = all.into_iter().collect();
        self.known()
            .retain(|_, node| map.nodes.iter().any(|other| Arc::ptr_eq(node, other)));
        self.look().failed = None;
        self.map.send_replace(Arc::new(map));
    }

    /// The server that a redirection names.
    fn named(&self, server: &str, asked: Option<&Node>) -> Result<Arc<Node>, RedisError> {
        let place = Place::named(server, asked.map_or("", Node::host))
            .ok_or_else(|| failure(format!("the cluster redirects to {server}")))?;
        self.at(place)
    }

    /// The server at a place, that is known already or is new.
    fn at(&self, place: Place) -> Result<Arc<Node>, RedisError> {
        if let Some(node) = self.known().get(&place) {
            return Ok(Arc::clone(node));
        }
        let seed = self
            .seeds
            .first()
            .ok_or_else(|| failure("a cluster without an address".to_owned()))?;
        let info = at_place(seed, &place.host, place.port);
        let door = Door::server(info, self.clocks.add())?;
        let node = Arc::new(Node::new(door, &self.limits, &self.clocks));
        let mut known = self.known();
        if known.len() >= MOST && !known.contains_key(&place) {
            return Err(failure("the cluster names too many servers".to_owned()));
        }
        Ok(Arc::clone(known.entry(place).or_insert(node)))
    }

    /// Why the slots are not known.
    fn failed(&self, otherwise: impl FnOnce() -> String) -> RedisError {
        let failed = self.look().failed.clone();
        failed.unwrap_or_else(|| failure(otherwise()))
    }

    fn look(&self) -> MutexGuard<'_, Look> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Place, Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map {
    fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        let number = self.owners.get(usize::from(slot))?;
        self.nodes.get(usize::from(*number))
    }

    fn part(&self, slot: u16) -> Part {
        let part = self.parts.get(usize::from(slot));
        part.copied().unwrap_or_default()
    }

    fn place(
        &self,
        part: Part,
        known: Option<Bucket>,
        passed: &[Bucket],
    ) -> Option<(Arc<Node>, Bucket)> {
        let number = self.numbers.iter().position(|number| *number == part)?;
        let has = |tag: &Bucket| {
            let slot = slot(*tag);
            usize::from(self.owners[usize::from(slot)]) == number
                && passed.iter().all(|passed| self::slot(*passed) != slot)
        };
        // The first, so that instances find the same; and the same as before, so that they find what they left.
        let tag = known
            .filter(has)
            .or_else(|| (0..=u16::MAX).map(Bucket::from).find(has))?;
        Some((Arc::clone(&self.nodes[number]), tag))
    }
}

/// Looking up the slots ends also with a runtime that ends.
struct Looking(Arc<Cluster>);

impl Looking {
    async fn run(self) {
        self.0.ask_around().await;
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.look().running = false;
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("seeds", &self.seeds.len())
            .field("nodes", &self.nodes())
            .finish_non_exhaustive()
    }
}
