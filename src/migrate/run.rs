//! The migration: scans, hands each step over, and adds up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::peers;
use super::report::{OldIndexes, Report, Shape};
use super::source::{Named, Source};
use super::step::{Keys, Step};
use crate::store::redis::admin::{Direct, Scanned, each, fraction};
use crate::store::{RedisStore, StoreError};

/// How many keys the server looks at in one step: well below a millisecond.
const SCAN: usize = 500;
/// A Redis that is away is waited for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Members of an old index that are looked at together.
const MEMBERS: usize = 250;
/// So many of them are looked up together.
const AT_A_TIME: usize = 1_000;
/// So many steps are under way at a time: while the server carries one out, the next is read here.
const AT_ONCE: usize = 3;

/// A migration, to be set up and [run](Self::run).
#[derive(Debug, Clone)]
#[must_use = "a migration does nothing until it is run"]
pub struct Migration {
    pub(super) store: RedisStore,
    pub(super) source: Source,
    pub(super) dry_run: bool,
    pub(super) keep_old: bool,
    pub(super) only: Vec<Shape>,
    pub(super) offset: Option<::time::UtcOffset>,
    pub(super) user_key: Option<String>,
    prefix: Option<String>,
    limit: Option<u64>,
    step: usize,
    stop: Arc<AtomicBool>,
}

/// How far a migration is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// How much of the keys was looked at, from 0 to 1.
    pub fraction: f64,
    /// Keys with the name of a session.
    pub scanned: u64,
    /// Sessions that were migrated.
    pub migrated: u64,
}

/// A migration that did not come to its end, and what it had done until then. Started again, it goes on.
#[derive(Debug)]
pub struct MigrateError {
    /// What was done.
    pub report: Box<Report>,
    words: String,
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for MigrateError {}

impl Migration {
    /// From that system, in the Redis of `store`, to the namespace of `store`.
    pub fn new(store: &RedisStore, source: Source) -> Self {
        Self {
            store: store.clone(),
            source,
            dry_run: false,
            keep_old: false,
            only: Vec::new(),
            offset: None,
            user_key: None,
            prefix: None,
            limit: None,
            step: SCAN,
            stop: Arc::default(),
        }
    }

    /// Reads and counts, and writes nothing. Default: no.
    pub const fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Leaves the old keys where they are. Default: no, each goes in the step in which its session is written here. With
    /// it, the old system can go on as if nothing was: do not let it, for what ends in one then lives on in the other.
    pub const fn keep_old(mut self, keep: bool) -> Self {
        self.keep_old = keep;
        self
    }

    /// Only sessions of this shape, and of those that were named before. Default: all.
    pub fn only(mut self, shape: Shape) -> Self {
        self.only.push(shape);
        self
    }

    /// How far local times without an offset are ahead of UTC, in minutes. Default: found out for each session, from the
    /// milliseconds in its id or from its expiry, and UTC where neither says.
    ///
    /// More than a day is cut.
    pub fn local_offset(mut self, minutes: i32) -> Self {
        let minutes = minutes.clamp(-24 * 60 + 1, 24 * 60 - 1);
        self.offset = ::time::UtcOffset::from_whole_seconds(minutes * 60).ok();
        self
    }

    /// The name of the value that has the user, as text, as an integer, or as an object's member `user_id`: for systems
    /// whose sessions do not know users. Default: what the login crates beside them use: `axum-login.data`,
    /// `user_auth_session_id`, `actix_identity.user_id`.
    pub fn user_key(mut self, name: impl Into<String>) -> Self {
        self.user_key = Some(name.into());
        self
    }

    /// What the old keys begin with. Default: nothing, and `sessions:` for axum_session. It has no
    /// meaning for [`Source::Legacy`].
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Stops when at least so many sessions were migrated. Default: none.
    pub const fn limit(mut self, sessions: u64) -> Self {
        self.limit = Some(sessions);
        self
    }

    /// How many keys the server looks at in one step, from 1 to 2,000. Default: 500, well below a millisecond. So many
    /// sessions are then written together.
    pub fn step(mut self, keys: usize) -> Self {
        self.step = keys.clamp(1, 2_000);
        self
    }

    /// Stops soon after this is set. What was begun is finished.
    pub fn stop_when(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// Migrates. `progress` is called after each step.
    ///
    /// # Errors
    /// [`MigrateError`] when Redis cannot be reached for half a minute, and for a cluster: the systems that are read from
    /// knew but one server, and a session moves between slots.
    ///
    /// # Cancel safety
    /// Safe: each session has moved or has not. Sent commands may still run.
    pub async fn run(self, mut progress: impl FnMut(&Progress)) -> Result<Report, MigrateError> {
        let began = Instant::now();
        let mut report = Report {
            dry_run: self.dry_run,
            ..Report::default()
        };
        let ran = self.migrate(&mut report, &mut progress).await;
        report.took = began.elapsed();
        match ran {
            Ok(()) => Ok(report),
            Err(error) => {
                report.stopped = true;
                Err(MigrateError {
                    report: Box::new(report),
                    words: error.to_string(),
                })
            }
        }
    }

    async fn migrate(
        &self,
        report: &mut Report,
        progress: &mut impl FnMut(&Progress),
    ) -> Result<(), StoreError> {
        let server = self.server().await?;
        let mut steps = JoinSet::new();
        let pattern = self.source.pattern(self.old_prefix());
        let mut cursor = Some(b"0".to_vec());
        while let Some(here) = cursor.take() {
            let fraction = fraction(&here);
            let Scanned { next, keys } = server.scan(&here, &pattern, self.step).await?;
            let keys = self.named(keys, report);
            while steps.len() >= AT_ONCE {
                join(&mut steps, report).await?;
            }
            if !keys.is_empty() {
                let step = Step {
                    migration: self.clone(),
                    server: server.clone(),
                };
                steps.spawn(step.run(keys));
            }
            progress(&Progress {
                fraction,
                scanned: report.scanned,
                migrated: report.migrated.total(),
            });
            cursor = next;
            if self.is_to_stop(report) && cursor.is_some() {
                report.stopped = true;
                break;
            }
        }
        while !steps.is_empty() {
            join(&mut steps, report).await?;
        }
        if self.source == Source::Legacy && !report.stopped {
            self.old_indexes(&server, report).await?;
        }
        progress(&Progress {
            fraction: if report.stopped { 0.0 } else { 1.0 },
            scanned: report.scanned,
            migrated: report.migrated.total(),
        });
        Ok(())
    }

    /// The one that there is.
    async fn server(&self) -> Result<Direct, StoreError> {
        let is_cluster = || {
            StoreError::new(
                "this is a Redis Cluster: sessions are migrated within one server, for they move in one step or not at \
                 all; migrate before the server becomes a cluster",
            )
        };
        let mut servers = self.store.direct(PATIENCE).await?;
        let (Some(server), true) = (servers.pop(), servers.is_empty()) else {
            return Err(is_cluster());
        };
        if !server.is_alone() {
            return Err(is_cluster());
        }
        // Whoever may not ask is told by the first step.
        let info: String = server
            .ask(redis::cmd("INFO").arg("cluster"))
            .await
            .unwrap_or_default();
        if info.contains("cluster_enabled:1") {
            return Err(is_cluster());
        }
        Ok(server)
    }

    /// Those of the keys that may be old sessions.
    fn named(&self, keys: Vec<Vec<u8>>, report: &mut Report) -> Keys {
        let mut named = Keys::new();
        for key in keys {
            match self.source.id(self.old_prefix(), &key) {
                Named::Session(kind, id) => {
                    let id_at = key.len() - id.len();
                    named.push((key, kind, id_at));
                }
                Named::Ours => {
                    report.scanned += 1;
                    report.ours += 1;
                }
                Named::Other => {}
            }
        }
        named
    }

    fn old_prefix(&self) -> &str {
        match &self.prefix {
            Some(prefix) => prefix,
            None => peers::prefix(self.source),
        }
    }

    fn is_to_stop(&self, report: &Report) -> bool {
        self.stop.load(Ordering::Relaxed)
            || self
                .limit
                .is_some_and(|limit| report.migrated.total() >= limit)
    }

    /// Takes members that name no session out of the old lists of users' sessions. The lists here were made with the
    /// sessions themselves.
    async fn old_indexes(&self, server: &Direct, report: &mut Report) -> Result<(), StoreError> {
        let mut cursor = Some(b"0".to_vec());
        while let Some(here) = cursor {
            let Scanned { next, keys } = server.scan(&here, "user_sessions:*", SCAN).await?;
            let kinds = server.ask_all(each("TYPE", &keys)).await?;
            let lists = keys.iter().zip(kinds).filter_map(|(key, kind)| {
                // Ours are sorted sets.
                let kind: String = redis::from_redis_value(kind.ok()?).ok()?;
                (kind == "set").then_some(&**key)
            });
            self.old_lists(server, lists.collect(), &mut report.old_indexes)
                .await?;
            cursor = if self.stop.load(Ordering::Relaxed) {
                None
            } else {
                next
            };
        }
        Ok(())
    }

    async fn old_lists(
        &self,
        server: &Direct,
        lists: Vec<&[u8]>,
        counts: &mut OldIndexes,
    ) -> Result<(), StoreError> {
        counts.lists += lists.len() as u64;
        let mut open: Vec<_> = lists
            .into_iter()
            .map(|list| (list, b"0".to_vec()))
            .collect();
        while !open.is_empty() {
            let scans = open.iter().map(|(list, cursor)| {
                let mut scan = redis::cmd("SSCAN");
                scan.arg(*list).arg(cursor).arg("COUNT").arg(MEMBERS);
                scan
            });
            let answers = server.ask_all(scans.collect()).await?;
            let mut members = Vec::new();
            let mut next = Vec::new();
            for ((list, _), answer) in open.into_iter().zip(answers) {
                // One that is gone meanwhile, or is something else now, has none.
                let found: Option<(Vec<u8>, Vec<Vec<u8>>)> = answer
                    .ok()
                    .and_then(|found| redis::from_redis_value(found).ok());
                let Some((cursor, found)) = found else {
                    continue;
                };
                members.extend(found.into_iter().map(|member| (list, member)));
                if cursor != b"0" {
                    next.push((list, cursor));
                }
            }
            for members in members.chunks(AT_A_TIME) {
                self.drop_dead(server, members, counts).await?;
            }
            open = next;
        }
        Ok(())
    }

    /// Takes those out of their lists that name no session.
    async fn drop_dead(
        &self,
        server: &Direct,
        members: &[(&[u8], Vec<u8>)],
        counts: &mut OldIndexes,
    ) -> Result<(), StoreError> {
        let records = members
            .iter()
            .map(|(_, member)| [b"session:", &member[..]].concat());
        let exist = server.ask_all(each("EXISTS", records)).await?;
        let mut remove = Vec::new();
        for ((list, member), exists) in members.iter().zip(exist) {
            if matches!(exists, Ok(redis::Value::Int(0))) {
                let mut command = redis::cmd("SREM");
                command.arg(*list).arg(member);
                remove.push(command);
            }
        }
        counts.dead_members += remove.len() as u64;
        if !self.dry_run && !self.keep_old {
            server.ask_all(remove).await?;
        }
        Ok(())
    }
}

/// Adds what a step came to.
async fn join(
    steps: &mut JoinSet<(Report, Result<(), StoreError>)>,
    report: &mut Report,
) -> Result<(), StoreError> {
    match steps.join_next().await {
        Some(Ok((more, done))) => {
            report.add(more);
            done
        }
        Some(Err(error)) => Err(StoreError::new(format!(
            "a step of the migration died: {error}"
        ))),
        None => Ok(()),
    }
}
