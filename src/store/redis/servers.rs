//! The way to Redis: a command goes to the server that has its slot, in the time that there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::aio::PubSub;
use redis::{Cmd, Pipeline, RedisError, Value};

use super::beat::{self, Clocks};
pub(super) use super::call::{Again, Attempt, Reply, Term};
use super::call::{Call, Step, Via};
use super::clock::StoreClock;
#[cfg(feature = "cluster")]
use super::cluster::Cluster;
use super::connection::Door;
use super::failure::{CallError, Trouble, failure, understood};
use super::node::{Node, Pulse};
#[cfg(feature = "sentinel")]
use super::sentinel::Sentinel;
use super::target::{Limits, Reach, Target};
use crate::id::Bucket;
use crate::store::{Connections, Part};

/// So many reads are sent one by one at the same time.
const AT_A_TIME: usize = 32;

/// Redis, however many servers it is.
#[derive(Debug, Clone)]
pub(super) struct Servers(Arc<Shared>);

/// What the clones share.
#[derive(Debug)]
pub(super) struct Shared {
    route: Route,
    limits: Limits,
    clocks: Arc<Clocks>,
    beating: AtomicBool,
    answering: AtomicBool,
}

/// Which server has a slot.
#[derive(Debug)]
enum Route {
    One(Arc<Node>),
    #[cfg(feature = "cluster")]
    Cluster(Arc<Cluster>),
}

/// A server that holds records.
#[derive(Debug, Clone)]
pub(super) struct Primary {
    node: Arc<Node>,
    checkout: Duration,
}

impl Servers {
    /// Needs no runtime, and connects to nothing.
    pub(super) fn new(reach: Reach, clock: Arc<StoreClock>) -> Self {
        let limits = Limits {
            connections: reach.connections,
            checkout: reach.checkout,
            command: reach.command,
            connect: reach.connect,
        };
        let clocks = Arc::new(Clocks::new(clock));
        let one = |door: Result<Door, RedisError>| {
            let door = door.expect("an address that was read is one");
            Route::One(Arc::new(Node::new(door, &limits, &clocks)))
        };
        let route = match reach.target {
            Target::Server(info) => one(Door::server(info, clocks.add())),
            #[cfg(feature = "cluster")]
            Target::Cluster(seeds) => Route::Cluster(Arc::new(Cluster::new(
                seeds,
                limits.clone(),
                Arc::clone(&clocks),
            ))),
            #[cfg(feature = "sentinel")]
            Target::Sentinel {
                sentinels,
                master,
                node,
            } => {
                let clocks = Arc::clone(&clocks);
                let sentinel = Sentinel::new(sentinels, &master, node, clocks, reach.connect);
                one(sentinel.map(Door::Sentinel))
            }
        };
        Self(Arc::new(Shared {
            route,
            limits,
            clocks,
            beating: AtomicBool::new(false),
            answering: AtomicBool::new(true),
        }))
    }

    /// Sends a command to the server that has the bucket's slot. `build` makes it, for every attempt anew.
    pub(super) async fn send(
        &self,
        bucket: Bucket,
        term: Term,
        again: Again,
        build: impl Fn(&Attempt) -> Cmd + Send + Sync,
    ) -> Result<Reply, CallError> {
        self.keep_beating();
        let route = &self.0.route;
        let Term { mut began, until } = term;
        let mut call = Call::new(until, again, self.0.limits.checkout, route.is_alone());
        let mut via = Via::Owner;
        let mut asked: Option<Arc<Node>> = None;
        loop {
            let step = match route.node(bucket, &via, asked.as_deref()).await {
                Ok(node) => {
                    let asking = matches!(via, Via::Ask(_));
                    // The one server is not looked for.
                    let now = match route.is_alone() {
                        true => began,
                        false => Instant::now(),
                    };
                    let step = node.attempt(began, now, asking, &mut call, &build).await;
                    asked = Some(node);
                    step
                }
                Err(cause) => call.without_connection(began, Instant::now(), cause),
            };
            match step {
                Step::Done(result) => return result,
                Step::Again { pause, via: next } => {
                    wait(pause).await;
                    via = next;
                    began = Instant::now();
                }
            }
        }
    }

    /// Sends several reads of one key each: to every server one pipeline. Replies come in order; where the server
    /// refuses one of them, that entry is its error.
    pub(super) async fn send_each(
        &self,
        until: Instant,
        commands: Vec<(Bucket, Cmd)>,
    ) -> Result<Vec<Result<Value, RedisError>>, CallError> {
        self.keep_beating();
        let mut replies = self.in_one_go(until, &commands).await;
        let began = Instant::now();
        let term = Term { began, until };
        let open: Vec<_> = (0..commands.len())
            .filter(|&n| replies[n].is_none())
            .collect();
        for some in open.chunks(AT_A_TIME) {
            let one_by_one = some.iter().map(|&n| {
                let (bucket, command) = &commands[n];
                self.send(*bucket, term, Again::Freely, |_| command.clone())
            });
            for (&n, reply) in some.iter().zip(join_all(one_by_one).await) {
                replies[n] = Some(match reply {
                    Ok(reply) => Ok(reply.value),
                    Err(CallError::Refused(error)) => Err(error),
                    Err(error) => return Err(error),
                });
            }
        }
        Ok(replies.into_iter().flatten().collect())
    }

    /// The same, tried once: what is not known after it is `None`.
    async fn in_one_go(
        &self,
        until: Instant,
        commands: &[(Bucket, Cmd)],
    ) -> Vec<Option<Result<Value, RedisError>>> {
        let mut replies = Vec::new();
        replies.resize_with(commands.len(), || None);
        let groups = self.0.route.groups(commands);
        let sent = join_all(groups.iter().map(|(node, members)| async move {
            let mut pipeline = Pipeline::with_capacity(members.len());
            for &n in members {
                pipeline.add_command(commands[n].1.clone());
            }
            node.send_all(&pipeline, until).await
        }));
        for ((_, members), sent) in groups.iter().zip(sent.await) {
            for (&n, value) in members.iter().zip(sent.into_iter().flatten()) {
                replies[n] = match understood(Ok(value)) {
                    Ok(value) => Some(Ok(value)),
                    Err(Trouble::Refused(error)) => Some(Err(error)),
                    // For one by one.
                    _ => None,
                };
            }
        }
        replies
    }

    /// Connections to all servers, as they are now.
    pub(super) fn connections(&self) -> Connections {
        let nodes = self.0.route.nodes();
        let all = Connections {
            open: 0,
            idle: 0,
            most: u32::try_from(nodes.len())
                .unwrap_or(u32::MAX)
                .saturating_mul(self.0.limits.connections),
        };
        nodes
            .iter()
            .map(|node| node.connections())
            .fold(all, |all, (open, idle)| Connections {
                open: all.open + open,
                idle: all.idle + idle,
                ..all
            })
    }

    /// A connection to any server, that hears what is published at all of them.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<PubSub, RedisError> {
        self.keep_beating();
        let mut failed = failure("no server is known yet".to_owned());
        for node in self.0.route.nodes() {
            match node.subscribe(channel).await {
                Ok(hearing) => return Ok(hearing),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Every server that holds records, as far as is known.
    pub(super) async fn primaries(&self) -> Result<Vec<Primary>, CallError> {
        self.keep_beating();
        let nodes = match &self.0.route {
            Route::One(node) => vec![Arc::clone(node)],
            #[cfg(feature = "cluster")]
            Route::Cluster(cluster) => cluster.primaries().await.map_err(CallError::NotSent)?,
        };
        let checkout = self.0.limits.checkout;
        Ok(nodes
            .into_iter()
            .map(|node| Primary { node, checkout })
            .collect())
    }

    /// The parts that can each be away by itself.
    pub(super) fn parts(&self) -> Vec<Part> {
        match &self.0.route {
            Route::One(_) => vec![Part::default()],
            #[cfg(feature = "cluster")]
            Route::Cluster(cluster) => cluster.parts(),
        }
    }

    /// The part that has the bucket's slot.
    pub(super) fn part(&self, bucket: Bucket) -> Part {
        match &self.0.route {
            Route::One(_) => {
                let _ = bucket;
                Part::default()
            }
            #[cfg(feature = "cluster")]
            Route::Cluster(cluster) => cluster.part(bucket),
        }
    }

    /// A part's server, and a tag whose slot it has: `known` if it still does, and none of those that were passed over.
    pub(super) async fn place(
        &self,
        part: Part,
        known: Option<Bucket>,
        passed: &[Bucket],
    ) -> Result<(Arc<Node>, Bucket), CallError> {
        self.keep_beating();
        let place = match &self.0.route {
            Route::One(node) => {
                let _ = (known, passed);
                (part == Part::default()).then(|| (Arc::clone(node), Bucket::from(0)))
            }
            #[cfg(feature = "cluster")]
            Route::Cluster(cluster) => cluster.place(part, known, passed).await,
        };
        place.ok_or_else(|| {
            CallError::NotSent(failure(format!("there is no part {} any more", part.get())))
        })
    }

    /// A heartbeat of a server.
    pub(super) async fn pulse(
        &self,
        node: &Node,
        until: Instant,
        build: &(impl Fn(&Attempt) -> Cmd + Send + Sync),
    ) -> Result<Pulse, CallError> {
        node.pulse(&self.0.clocks, until, build).await
    }

    /// Which connections there are to the one server; of several servers nothing can be said together.
    pub(super) fn generation(&self) -> u64 {
        match &self.0.route {
            Route::One(node) => node.generation(),
            #[cfg(feature = "cluster")]
            Route::Cluster(_) => 0,
        }
    }

    /// How long a command may take.
    pub(super) fn command(&self) -> Duration {
        self.0.limits.command
    }

    /// Whether there is but one server.
    pub(super) fn is_alone(&self) -> bool {
        self.0.route.is_alone()
    }

    /// A heartbeat came to nothing.
    pub(super) fn missed_beat(&self) {
        self.do_not_answer();
        self.0.route.look_up();
    }

    /// Whether every server answered the last heartbeat.
    pub(super) fn are_answering(&self) -> bool {
        self.0.answering.load(Ordering::Relaxed)
    }

    /// One did not, outside of the heartbeat.
    pub(super) fn do_not_answer(&self) {
        self.0.answering.store(false, Ordering::Relaxed);
    }

    /// The heartbeat begins with the first use, for that has a runtime.
    fn keep_beating(&self) {
        if !self.0.beating.load(Ordering::Relaxed) && !self.0.beating.swap(true, Ordering::Relaxed)
        {
            tokio::spawn(beat::keep(Arc::downgrade(&self.0)));
        }
    }
}

impl Shared {
    /// Reads the clock of every server. That one is away is told by whoever needs it.
    pub(super) async fn read_clocks(&self) {
        let nodes = self.route.nodes();
        let read = join_all(nodes.iter().map(|node| async {
            // Whoever beats the heart of a part reads its clock.
            if node.has_beaten() {
                return Ok(());
            }
            node.read_clock(&self.clocks).await
        }));
        let read = read.await;
        // None that is known is none that answers.
        let all = !read.is_empty() && read.iter().all(Result::is_ok);
        self.answering.store(all, Ordering::Relaxed);
        if !all {
            self.route.look_up();
        }
    }

    pub(super) fn stopped_beating(&self) {
        self.beating.store(false, Ordering::Relaxed);
    }
}

impl Route {
    /// The server for the next attempt. `asked` is the one of the last.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(unused_variables, reason = "where there is but one, it is that one")
    )]
    async fn node(
        &self,
        bucket: Bucket,
        via: &Via,
        asked: Option<&Node>,
    ) -> Result<Arc<Node>, RedisError> {
        match self {
            Self::One(node) => Ok(Arc::clone(node)),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.node(bucket, via, asked).await,
        }
    }

    /// A server does not answer: perhaps another one has taken its place.
    fn look_up(&self) {
        match self {
            Self::One(_) => {}
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.look_up(),
        }
    }

    const fn is_alone(&self) -> bool {
        match self {
            Self::One(_) => true,
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => false,
        }
    }

    /// Every server that is known to hold records.
    fn nodes(&self) -> Vec<Arc<Node>> {
        match self {
            Self::One(node) => vec![Arc::clone(node)],
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// Which commands go to which server, as far as is known.
    fn groups(&self, commands: &[(Bucket, Cmd)]) -> Vec<(Arc<Node>, Vec<usize>)> {
        match self {
            Self::One(node) => vec![(Arc::clone(node), (0..commands.len()).collect())],
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => {
                let mut groups: Vec<(Arc<Node>, Vec<usize>)> = Vec::new();
                for (n, (bucket, _)) in commands.iter().enumerate() {
                    let Some(node) = cluster.owner(*bucket) else {
                        continue;
                    };
                    match groups
                        .iter_mut()
                        .find(|(known, _)| Arc::ptr_eq(known, &node))
                    {
                        Some((_, members)) => members.push(n),
                        None => groups.push((node, vec![n])),
                    }
                }
                groups
            }
        }
    }
}

#[cfg(feature = "admin")]
impl Primary {
    /// What the operator knows it by.
    pub(super) fn name(&self) -> &str {
        self.node.name()
    }

    /// Sends several commands in one go; each has its own answer. One attempt.
    pub(super) async fn send_all(
        &self,
        until: Instant,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, RedisError> {
        self.node.send_all(commands, until).await
    }
}

impl Primary {
    /// Has it keep the scripts, if it can be reached: it is asked again by whoever needs one that it has not.
    pub(super) async fn keep_scripts(&self, until: Instant) {
        if let Err(error) = self.node.send_all(&super::script::kept(), until).await {
            tracing::debug!(target: "sessile", %error, "Redis was not given the scripts");
        }
    }

    /// Sends a command that changes nothing.
    pub(super) async fn send(&self, until: Instant, command: &Cmd) -> Result<Value, CallError> {
        let mut call = Call::new(until, Again::Freely, self.checkout, true);
        loop {
            let began = Instant::now();
            match self
                .node
                .attempt(began, began, false, &mut call, &|_| command.clone())
                .await
            {
                Step::Done(result) => return result.map(|reply| reply.value),
                Step::Again { pause, .. } => wait(pause).await,
            }
        }
    }
}

async fn wait(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}
