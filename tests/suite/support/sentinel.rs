//! A Redis master with a replica, and three sentinels that replace the one by the other.

use std::net::SocketAddr;

use super::redis::{PASSWORD, SUPERVISOR, Server};
use super::wait::{wait_for, wait_until};

const MASTER: &str = "sessile";
const SENTINELS: usize = 3;

/// Sentinels, and the two servers that they watch.
#[derive(Debug)]
pub(crate) struct Sentinels {
    sentinels: Vec<Server>,
    /// The first is the master at first.
    servers: [Server; 2],
}

impl Sentinels {
    pub(crate) fn start() -> Self {
        let master = Server::start();
        let port = master.address().port();
        let replica = Server::with(&[&format!("replicaof 127.0.0.1 {port}")]);
        wait_for("the replica follows the master", || {
            (replica.info("replication", "master_link_status") == "up").then_some(())
        });
        let sentinels = (0..SENTINELS).map(|_| sentinel(port)).collect();
        let started = Self {
            sentinels,
            servers: [master, replica],
        };
        for sentinel in &started.sentinels {
            wait_for("a sentinel knows the replica and the others", || {
                let known: Vec<String> = ask(sentinel, "MASTER");
                let has = |field: &str, count: usize| {
                    known
                        .chunks(2)
                        .any(|pair| pair[0] == field && pair[1] == count.to_string())
                };
                let knows = has("num-slaves", 1) && has("num-other-sentinels", SENTINELS - 1);
                knows.then_some(())
            });
        }
        started
    }

    /// Of every sentinel.
    pub(crate) fn sentinel_urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Server::url).collect()
    }

    /// What the sentinels call the master, whichever server it is.
    pub(crate) fn master_name(&self) -> &'static str {
        MASTER
    }

    /// The server that the sentinels say is the master.
    pub(crate) fn master(&self) -> &Server {
        let address = address(&self.sentinels[0]);
        let mut servers = self.servers.iter();
        servers
            .find(|server| server.address() == address)
            .expect("the master is one of the two")
    }

    /// The other one.
    pub(crate) fn replica(&self) -> &Server {
        let address = self.master().address();
        let mut servers = self.servers.iter();
        servers
            .find(|server| server.address() != address)
            .expect("there are two")
    }

    /// Kills the server that is the master. The sentinels do not know it yet.
    pub(crate) fn kill_master(&mut self) {
        let address = self.master().address();
        for server in &mut self.servers {
            if server.address() == address {
                server.kill();
            }
        }
    }

    /// Waits until the sentinels agree on a master that runs, and it knows it.
    pub(crate) async fn wait_for_promotion(&self) {
        wait_until("a replica is the master", async || {
            let mut servers = self.servers.iter();
            let master = servers
                .find(|server| server.answers() && server.info("replication", "role") == "master");
            let mut sentinels = self.sentinels.iter();
            master.is_some_and(|master| {
                sentinels.all(|sentinel| address(sentinel) == master.address())
            })
        })
        .await;
    }

    /// Version and processes, for the table of set-ups.
    pub(crate) fn describe(&self) -> (String, String) {
        let version = self.sentinels[0].version();
        (
            version,
            format!("1 master, 1 replica, {SENTINELS} sentinels"),
        )
    }
}

/// Half a second without an answer is a failure, if two say so.
fn sentinel(master: u16) -> Server {
    Server::launch("redis", true, |_, port| {
        format!(
            "port {port}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel auth-user {MASTER} {SUPERVISOR}\nsentinel auth-pass {MASTER} {PASSWORD}\n\
             sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 2000"
        )
    })
}

fn address(sentinel: &Server) -> SocketAddr {
    let (host, port): (String, u16) = ask(sentinel, "GET-MASTER-ADDR-BY-NAME");
    let address = format!("{host}:{port}").parse();
    address.expect("a sentinel knows an address")
}

fn ask<T: redis::FromRedisValue>(sentinel: &Server, what: &str) -> T {
    redis::cmd("SENTINEL")
        .arg(what)
        .arg(MASTER)
        .query(&mut sentinel.connection())
        .expect("a sentinel knows its master")
}
