pub(super) use super::call::{Again, Attempt, Reply};
use super::clock::*;
use super::failure::*;
use super::target::*;
use crate::id::Bucket;
use std::sync::Arc;
use std::time::Instant;
pub(super) struct Servers {
    client: redis::Client,
    conn: tokio::sync::OnceCell<redis::aio::MultiplexedConnection>,
    clock: Arc<StoreClock>,
    c: ServerClock,
}
pub(super) struct Primary(redis::aio::MultiplexedConnection);
impl Primary {
    pub(super) async fn send(
        &self,
        _u: Instant,
        cmd: &redis::Cmd,
    ) -> Result<redis::Value, CallError> {
        self.0
            .clone()
            .send_packed_command(cmd)
            .await
            .map_err(CallError::Refused)
    }
}
impl Servers {
    pub(super) fn new(reach: Reach, clock: Arc<StoreClock>) -> Self {
        let Target::Server(i) = reach.target;
        Self {
            client: redis::Client::open(i).expect("x"),
            conn: Default::default(),
            c: ServerClock::new(clock.zero()),
            clock,
        }
    }
    async fn get(&self) -> redis::aio::MultiplexedConnection {
        self.conn
            .get_or_init(async || {
                let mut c = self
                    .client
                    .get_multiplexed_async_connection()
                    .await
                    .expect("c");
                let s = Instant::now();
                let (a, b): (u64, u64) = redis::cmd("TIME").query_async(&mut c).await.expect("t");
                self.c.read(s, Instant::now(), a * 1_000_000 + b);
                self.clock.follow([&self.c].into_iter());
                c
            })
            .await
            .clone()
    }
    pub(super) async fn send(
        &self,
        _b: Bucket,
        _u: Instant,
        _a: Again,
        build: impl Fn(&Attempt) -> redis::Cmd + Send + Sync,
    ) -> Result<Reply, CallError> {
        let mut c = self.get().await;
        let mut at = Attempt {
            not_after: self.c.now() + 5_000_000,
            with_text: false,
        };
        loop {
            match Answer::of(c.send_packed_command(&build(&at)).await) {
                Answer::Value(value) => return Ok(Reply { value, lost: None }),
                Answer::NoScript(_) => at.with_text = true,
                Answer::Refused(e) => return Err(CallError::Refused(e)),
                o => panic!("{o:?}"),
            }
        }
    }
    pub(super) async fn send_each(
        &self,
        u: Instant,
        c: Vec<(Bucket, redis::Cmd)>,
    ) -> Result<Vec<Result<redis::Value, redis::RedisError>>, CallError> {
        let mut v = vec![];
        for (b, c) in c {
            v.push(match self.send(b, u, Again::Never, |_| c.clone()).await {
                Ok(r) => Ok(r.value),
                Err(CallError::Refused(e)) => Err(e),
                Err(e) => return Err(e),
            });
        }
        Ok(v)
    }
    pub(super) async fn primaries(&self) -> Result<Vec<Primary>, CallError> {
        Ok(vec![Primary(self.get().await)])
    }
}
