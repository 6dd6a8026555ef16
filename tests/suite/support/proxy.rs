//! A network between clients and a server that fails when a test wants it to.
//!
//! - It runs in a thread of its own, and in real time: a test may block, and may move its own clock.
//! - Each direction of a connection keeps its order.
//! - Commands are passed on whole. What is not RESP, as TLS, is passed on as it comes.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::frames::Stream;
use super::process::free_port;
use super::wait::wait_for;

/// A TCP proxy in front of one server; its connections end with it.
pub(crate) struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
    /// Always there, until it is dropped.
    runtime: Option<Runtime>,
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stall {
    /// Bytes of both directions.
    Both,
    /// What the server answers; what it is asked is passed on.
    Replies,
}

struct Network {
    server: SocketAddr,
    state: watch::Sender<State>,
    /// Those whose reply is to be lost, each once.
    losses: Mutex<Vec<Loss>>,
    accepted: AtomicU64,
    lost: AtomicU64,
    listens: AtomicBool,
    /// Connections by their number of `accepted`.
    open: Mutex<BTreeSet<u64>>,
}

type Loss = Box<dyn Fn(&[u8]) -> bool + Send>;

#[derive(Debug, Clone, Copy, Default)]
struct State {
    refuses: bool,
    stall: Option<Stall>,
    delay: Duration,
    /// Connections up to this number are cut.
    cut: u64,
}

impl Proxy {
    /// Passes everything on, at once.
    pub(crate) fn start(server: SocketAddr) -> Self {
        // Not port 0: see `accept`, which must get the same port again.
        let listener = wait_for("a proxy gets a port", || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).ok()
        });
        let address = listener.local_addr().expect("it is bound");
        let network = Arc::new(Network {
            server,
            state: watch::Sender::default(),
            losses: Mutex::default(),
            accepted: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            listens: AtomicBool::new(true),
            open: Mutex::default(),
        });
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread can be started");
        runtime.spawn(accept(Arc::clone(&network), listener));
        Self {
            address,
            network,
            runtime: Some(runtime),
        }
    }

    /// Where it is for clients: `redis://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections. When this returns, they are closed; new ones are not concerned.
    pub(crate) fn cut(&self) {
        let last = self.accepted();
        self.set(|state| state.cut = last);
        wait_for("connections that are cut end", || {
            self.open().range(..=last).next().is_none().then_some(())
        });
    }

    /// Refuses new connections from now on, as a server that does not run. Those that are there stay.
    pub(crate) fn refuse(&self) {
        self.set(|state| state.refuses = true);
        self.wait_for_listening(false);
        // A process that another test starts at this moment shares the socket, until it is a program of its own.
        wait_for("nobody has the proxy's socket", || {
            std::net::TcpStream::connect(self.address).err()
        });
    }

    /// Takes new connections again.
    pub(crate) fn allow(&self) {
        self.set(|state| state.refuses = false);
        self.wait_for_listening(true);
    }

    /// Holds what comes from now on, until [`flow`](Self::flow). Connections stay, and new ones are taken. What is
    /// held of a client that gives up and closes its connection reaches the server all the same.
    pub(crate) fn stall(&self, what: Stall) {
        self.set(|state| state.stall = Some(what));
    }

    /// Passes on what was held, in its order, and what comes.
    pub(crate) fn flow(&self) {
        self.set(|state| state.stall = None);
    }

    /// Waits this long before it passes on a chunk, in both directions.
    pub(crate) fn slow(&self, delay: Duration) {
        self.set(|state| state.delay = delay);
    }

    /// Passes the next command on, waits for its reply, drops that, and closes the connection. A client's first
    /// commands on a new connection are its own: see [`drop_reply_of`](Self::drop_reply_of).
    pub(crate) fn drop_next_reply(&self) {
        self.drop_reply_of(|_| true);
    }

    /// The same for the next command of which this holds; it sees the command as it is sent. Each call is for one
    /// reply. Replies before that one are passed on, and commands after it on the connection are not.
    pub(crate) fn drop_reply_of(&self, command: impl Fn(&[u8]) -> bool + Send + 'static) {
        lock(&self.network.losses).push(Box::new(command));
    }

    /// From now on every reply is passed on.
    pub(crate) fn drop_no_replies(&self) {
        lock(&self.network.losses).clear();
    }

    /// How many replies were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.network.lost.load(Ordering::SeqCst)
    }

    /// How many connections were taken.
    pub(crate) fn accepted(&self) -> u64 {
        self.network.accepted.load(Ordering::SeqCst)
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.open().len()
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        lock(&self.network.open)
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        self.network.state.send_modify(change);
    }

    fn wait_for_listening(&self, listens: bool) {
        wait_for("the proxy takes or refuses connections", || {
            (self.network.listens.load(Ordering::SeqCst) == listens).then_some(())
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Not by its own `drop`, which blocks, and so panics in a test's task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Network {
    async fn wait(&self, condition: impl FnMut(&State) -> bool) -> State {
        *self
            .state
            .subscribe()
            .wait_for(condition)
            .await
            .expect("the sender is `self`'s")
    }

    /// Waits as long as a chunk of this direction is delayed and held.
    async fn pass(&self, is_reply: bool) {
        let delay = self.state.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.wait(|state| match state.stall {
            None => true,
            Some(Stall::Replies) => !is_reply,
            Some(Stall::Both) => false,
        })
        .await;
    }

    /// Whether this command's reply is to be lost; it is asked once for each command.
    fn loses(&self, command: &[u8]) -> bool {
        let mut losses = lock(&self.losses);
        let found = losses.iter().position(|loss| loss(command));
        found.map(|index| losses.remove(index)).is_some()
    }
}

async fn accept(network: Arc<Network>, listener: TcpListener) {
    let address = listener.local_addr().expect("it is bound");
    let mut listener = Some(listener);
    loop {
        let bound = listener.take().unwrap_or_else(|| {
            wait_for("a proxy gets its port again", || {
                TcpListener::bind(address).ok()
            })
        });
        bound.set_nonblocking(true).expect("a socket can be so");
        let bound = tokio::net::TcpListener::from_std(bound).expect("it runs in a runtime");
        network.listens.store(true, Ordering::SeqCst);
        loop {
            let client = tokio::select! {
                accepted = bound.accept() => accepted,
                _ = network.wait(|state| state.refuses) => break,
            };
            let Ok((client, _)) = client else { continue };
            let mut open = lock(&network.open);
            let number = network.accepted.fetch_add(1, Ordering::SeqCst) + 1;
            open.insert(number);
            tokio::spawn(serve(Arc::clone(&network), client, number));
        }
        drop(bound);
        network.listens.store(false, Ordering::SeqCst);
        network.wait(|state| !state.refuses).await;
    }
}

async fn serve(network: Arc<Network>, client: TcpStream, number: u64) {
    tokio::select! {
        () = carry(&network, client) => {}
        _ = network.wait(|state| state.cut >= number) => {}
    }
    // The sockets are closed by now: `carry` had them.
    lock(&network.open).remove(&number);
}

/// Carries both directions until both have ended.
async fn carry(network: &Network, mut client: TcpStream) {
    let Ok(mut server) = TcpStream::connect(network.server).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let marked = AtomicU64::new(u64::MAX);
    tokio::join!(
        requests(network, from_client, to_server, &marked),
        replies(network, from_server, to_client, &marked),
    );
}

/// Ends when the client does, or after the command whose reply is to be lost; its number is in `marked` then.
async fn requests(
    network: &Network,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    marked: &AtomicU64,
) {
    let mut stream = Stream::default();
    let mut number = 0;
    while stream.read(&mut from).await {
        network.pass(false).await;
        while let Some((frame, counts)) = stream.next() {
            let is_last = counts && network.loses(&frame);
            if is_last {
                marked.store(number, Ordering::SeqCst);
            }
            number += u64::from(counts);
            if to.write_all(&frame).await.is_err() || is_last {
                return;
            }
        }
    }
    let _ = to.shutdown().await;
}

/// Ends when the server does, or instead of passing on the reply that is to be lost.
async fn replies(
    network: &Network,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    marked: &AtomicU64,
) {
    let mut stream = Stream::default();
    let mut number = 0;
    let mut client_listens = true;
    while stream.read(&mut from).await {
        network.pass(true).await;
        while let Some((frame, counts)) = stream.next() {
            if counts && number == marked.load(Ordering::SeqCst) {
                network.lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
            number += u64::from(counts);
            // A client that is gone does not end this: its commands may still be on their way.
            client_listens = client_listens && to.write_all(&frame).await.is_ok();
        }
    }
    let _ = to.shutdown().await;
}

/// Nothing panics while it holds one of these locks but a test's own predicate, and then the test fails anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
