//! A Redis Cluster of three masters, and replicas if they are wanted.

use std::ops::RangeInclusive;

use redis::{FromRedisValue, ToRedisArgs};

use super::dump::Entry;
use super::redis::{PASSWORD, SUPERVISOR, Server};
use super::wait::{wait_for, wait_until};

const MASTERS: usize = 3;
const SLOTS: usize = 16384;

/// A cluster on loopback. Its nodes are numbered: three that are masters at first, then a replica of the first master,
/// one of the second, one of the third.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    server: Server,
    id: String,
}

impl Cluster {
    /// Three masters.
    pub(crate) fn start() -> Self {
        Self::with(0, &[])
    }

    /// With replicas for so many of the masters, and these lines in the configuration of every node, as
    /// `cluster-require-full-coverage no`.
    pub(crate) fn with(replicas: usize, lines: &[&str]) -> Self {
        assert!(replicas <= MASTERS, "a master has at most one replica");
        let nodes = (0..MASTERS + replicas)
            .map(|_| Node::start(lines))
            .collect();
        let cluster = Self { nodes };
        cluster.join();
        cluster
    }

    fn join(&self) {
        let masters = &self.nodes[..MASTERS];
        for (index, node) in masters.iter().enumerate() {
            let first = |index: usize| SLOTS * index / MASTERS;
            let _: () = node.call(&["SET-CONFIG-EPOCH", &(index + 1).to_string()]);
            let (from, to) = (first(index), first(index + 1) - 1);
            let _: () = node.call(&["ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for other in &self.nodes[..index] {
                let port = other.server.address().port().to_string();
                let _: () = node.call(&["MEET", "127.0.0.1", &port]);
            }
        }
        for (replica, master) in self.nodes[MASTERS..].iter().zip(masters) {
            wait_for("a replica knows its master", || {
                let views = replica.views();
                views.iter().any(|view| view.id == master.id).then_some(())
            });
            let _: () = replica.call(&["REPLICATE", &master.id]);
        }
        wait_for("the cluster is complete", || {
            let is_whole = |node: &Node| {
                let views = node.views();
                let slots: usize = views.iter().map(View::slots).sum();
                views.len() == self.nodes.len() && slots == SLOTS && node.is_ok()
            };
            let follows =
                |node: &Node| node.server.info("replication", "master_link_status") == "up";
            let is_ready =
                self.nodes.iter().all(is_whole) && self.nodes[MASTERS..].iter().all(follows);
            is_ready.then_some(())
        });
    }

    /// Of every node.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.server.url()).collect()
    }

    pub(crate) fn node(&self, node: usize) -> &Server {
        &self.nodes[node].server
    }

    pub(crate) fn slot_of(&self, key: impl ToRedisArgs) -> u16 {
        let (_, node) = self.living().next().expect("a node runs");
        redis::cmd("CLUSTER")
            .arg("KEYSLOT")
            .arg(key)
            .query(&mut node.server.connection())
            .expect("every node knows the slot of a key")
    }

    /// The node that has this slot. Of two that say so, one was not told yet that it has lost it.
    pub(crate) fn master_of(&self, slot: u16) -> usize {
        let claim = |(index, node): (usize, &Node)| {
            let views = node.views();
            let own = views.into_iter().find(|view| view.id == node.id)?;
            own.has(slot).then_some((own.epoch, index))
        };
        let owner = self.living().filter_map(claim).max();
        owner.expect("a node has the slot").1
    }

    /// Everything that the masters hold.
    pub(crate) fn dump(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self
            .living()
            .filter(|(_, node)| node.server.info("replication", "role") == "master")
            .flat_map(|(_, node)| node.server.dump())
            .collect();
        entries.sort();
        entries
    }

    /// Kills a node that is a master.
    pub(crate) fn kill_master(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        assert_eq!(node.server.info("replication", "role"), "master");
        node.server.kill();
    }

    /// Waits until a node that runs has this slot, and all that run know it. Its number.
    pub(crate) async fn wait_for_failover(&self, slot: u16) -> usize {
        wait_until("the slot has a master that runs", async || {
            self.living().all(|(_, node)| {
                let views = node.views();
                let owner = views.iter().find(|view| view.has(slot));
                let runs = |owner: &View| self.living().any(|(_, node)| node.id == owner.id);
                owner.is_some_and(runs) && node.is_ok()
            })
        })
        .await;
        self.master_of(slot)
    }

    /// Moves a slot, with its keys, to another master, while clients may use it.
    pub(crate) fn migrate_slot(&self, slot: u16, to: usize) {
        let migration = self.begin_migration(slot, to);
        while migration.move_keys(10) > 0 {}
        migration.finish();
    }

    /// Begins to move a slot: it stays between the two masters until [`Migration::finish`].
    pub(crate) fn begin_migration(&self, slot: u16, to: usize) -> Migration<'_> {
        let from = self.master_of(slot);
        assert_ne!(from, to, "the slot is there already");
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let slot = slot.to_string();
        let _: () = target.call(&["SETSLOT", &slot, "IMPORTING", &source.id]);
        let _: () = source.call(&["SETSLOT", &slot, "MIGRATING", &target.id]);
        Migration {
            cluster: self,
            slot,
            source,
            target,
        }
    }

    /// Version and processes, for the table of set-ups.
    pub(crate) fn describe(&self) -> (String, String) {
        let (_, node) = self.living().next().expect("a node runs");
        let processes = match self.nodes.len() - MASTERS {
            0 => format!("{MASTERS} masters"),
            1 => format!("{MASTERS} masters, 1 replica"),
            replicas => format!("{MASTERS} masters, {replicas} replicas"),
        };
        (node.server.version(), processes)
    }

    fn living(&self) -> impl Iterator<Item = (usize, &Node)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| node.server.answers())
    }
}

/// A slot that is being moved. If this is dropped before it is finished, the slot stays as it is.
#[derive(Debug)]
pub(crate) struct Migration<'a> {
    cluster: &'a Cluster,
    slot: String,
    source: &'a Node,
    target: &'a Node,
}

impl Migration<'_> {
    /// Moves at most so many keys; how many.
    pub(crate) fn move_keys(&self, limit: usize) -> usize {
        let keys: Vec<Vec<u8>> =
            self.source
                .call(&["GETKEYSINSLOT", &self.slot, &limit.to_string()]);
        if !keys.is_empty() {
            let address = self.target.server.address();
            // The time is in milliseconds.
            redis::cmd("MIGRATE")
                .arg(address.ip().to_string())
                .arg(address.port())
                .arg(("", 0, 10_000))
                .arg(("AUTH2", SUPERVISOR, PASSWORD))
                .arg("KEYS")
                .arg(&keys)
                .exec(&mut self.source.server.connection())
                .expect("the target takes keys of a slot that it imports");
        }
        keys.len()
    }

    /// Gives the slot, which has no key left at its old master, to the new one; all nodes know it then.
    pub(crate) fn finish(self) {
        let others = self.cluster.living().map(|(_, node)| node);
        let others = others.filter(|node| node.id != self.target.id);
        // The target first: if it were the last, the slot would be nobody's for a moment.
        for node in std::iter::once(self.target).chain(others) {
            if node.server.info("replication", "role") == "master" {
                let _: () = node.call(&["SETSLOT", &self.slot, "NODE", &self.target.id]);
            }
        }
        let slot = self.slot.parse().expect("it is made of a number");
        wait_for("every node knows who has the slot", || {
            let knows = |node: &Node| {
                let views = node.views();
                let owner = views.iter().find(|view| view.has(slot));
                owner.is_some_and(|owner| owner.id == self.target.id)
            };
            let all = self.cluster.living().all(|(_, node)| knows(node));
            all.then_some(())
        });
    }
}

impl Node {
    fn start(lines: &[&str]) -> Self {
        // A second without an answer is a failure. It is a compromise: less fails on a machine that is busy.
        let server = Server::launch("redis", false, |_, port| {
            format!(
                "port {port}\ncluster-enabled yes\ncluster-node-timeout 1000\n\
                 cluster-replica-validity-factor 0\ncluster-allow-replica-migration no\n{}",
                lines.join("\n")
            )
        });
        let id = redis::cmd("CLUSTER")
            .arg("MYID")
            .query(&mut server.connection())
            .expect("a node has an id");
        Self { server, id }
    }

    /// `CLUSTER …`
    fn call<T: FromRedisValue>(&self, arguments: &[&str]) -> T {
        redis::cmd("CLUSTER")
            .arg(arguments)
            .query(&mut self.server.connection())
            .unwrap_or_else(|error| panic!("CLUSTER {arguments:?}: {error}"))
    }

    fn is_ok(&self) -> bool {
        let info: String = self.call(&["INFO"]);
        info.contains("cluster_state:ok")
    }

    /// All nodes that it knows, itself too, as it sees them.
    fn views(&self) -> Vec<View> {
        let nodes: String = self.call(&["NODES"]);
        nodes
            .lines()
            .map(|line| View::parse(line).unwrap_or_else(|| panic!("this is of a node: {line}")))
            .collect()
    }
}

/// What a node knows of one.
#[derive(Debug)]
struct View {
    id: String,
    epoch: u64,
    ranges: Vec<RangeInclusive<u16>>,
}

impl View {
    /// `id address flags master ping pong epoch link slot-slot slot [slot->-id]`
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let range = |word: &&str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        Some(Self {
            id: (*words.first()?).to_owned(),
            epoch: words.get(6)?.parse().ok()?,
            ranges: words.get(8..)?.iter().filter_map(range).collect(),
        })
    }

    fn has(&self, slot: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&slot))
    }

    fn slots(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }
}
