//! The table of a fault's runs.

use std::time::{Duration, Instant};

use super::browser::{Answer, Asked, What};
use super::server::Fault;

/// What came of one run.
#[derive(Debug)]
pub(crate) struct Run {
    requests: usize,
    /// From the fault until the breaker opened, and from the end of the fault until Redis was read again.
    opened: Duration,
    live: Duration,
    /// Requests with a session that got 503: until the breaker opened, and after that until Redis was read again.
    failed: usize,
    failed_away: usize,
    /// Of those that were answered without Redis.
    on_leases: usize,
    p99: Duration,
    slowest: Duration,
    wrong: Vec<String>,
}

impl Run {
    pub(crate) fn of(
        asked: Vec<Asked>,
        began: Instant,
        opened: Instant,
        back: Instant,
        live: Instant,
    ) -> Self {
        let holds = |asked: &&Asked| {
            matches!(
                asked.what,
                What::Read | What::Write | What::Logout | What::LookBack
            )
        };
        let away = |asked: &&Asked| asked.at >= opened && asked.at + asked.took <= back;
        let failed = |asked: &&Asked| asked.answer == Answer::Away;
        let mut took: Vec<_> = asked
            .iter()
            .filter(holds)
            .filter(away)
            .map(|asked| asked.took)
            .collect();
        took.sort_unstable();
        Self {
            requests: asked.len(),
            opened: opened - began,
            live: live.saturating_duration_since(back),
            failed: asked
                .iter()
                .filter(|asked| asked.at + asked.took >= began && asked.at < opened)
                .filter(failed)
                .count(),
            failed_away: asked
                .iter()
                .filter(holds)
                .filter(|asked| asked.at >= opened)
                .filter(failed)
                .count(),
            on_leases: took.len(),
            p99: took
                .get(took.len().saturating_sub(1) * 99 / 100)
                .copied()
                .unwrap_or_default(),
            slowest: asked
                .iter()
                .map(|asked| asked.took)
                .max()
                .unwrap_or_default(),
            wrong: asked.into_iter().filter_map(|asked| asked.wrong).collect(),
        }
    }

    fn row(&self, name: &str) {
        println!(
            "{name:<8} {:>9} {:>9.0} {:>7} {:>9} {:>9} {:>9.2} {:>11.0} {:>9.0} {:>6}",
            self.requests,
            ms(self.opened),
            self.failed,
            self.on_leases,
            self.failed_away,
            ms(self.p99),
            ms(self.slowest),
            ms(self.live),
            self.wrong.len(),
        );
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Whether all of it was right.
pub(crate) fn print(fault: Fault, runs: &[Run]) -> bool {
    println!(
        "\n{}",
        match fault {
            Fault::Killed => "Redis is killed, and started again two seconds later",
            Fault::Stopped => "Redis stands still for two seconds (SIGSTOP)",
        }
    );
    println!(
        "{:<8} {:>9} {:>9} {:>7} {:>9} {:>9} {:>9} {:>11} {:>9} {:>6}",
        "run",
        "requests",
        "open, ms",
        "failed",
        "on lease",
        "503 away",
        "p99, ms",
        "slowest, ms",
        "live, ms",
        "wrong"
    );
    for (n, run) in runs.iter().enumerate() {
        run.row(&(n + 1).to_string());
    }
    let worst = |of: fn(&Run) -> Duration| runs.iter().map(of).max().unwrap_or_default();
    let most = |of: fn(&Run) -> usize| runs.iter().map(of).max().unwrap_or_default();
    Run {
        requests: runs
            .iter()
            .map(|run| run.requests)
            .min()
            .unwrap_or_default(),
        opened: worst(|run| run.opened),
        live: worst(|run| run.live),
        failed: most(|run| run.failed),
        failed_away: most(|run| run.failed_away),
        on_leases: runs
            .iter()
            .map(|run| run.on_leases)
            .min()
            .unwrap_or_default(),
        p99: worst(|run| run.p99),
        slowest: worst(|run| run.slowest),
        wrong: runs.iter().flat_map(|run| run.wrong.clone()).collect(),
    }
    .row("worst");
    let wrong: Vec<_> = runs.iter().flat_map(|run| &run.wrong).collect();
    for wrong in wrong.iter().take(10) {
        println!("wrong: {wrong}");
    }
    wrong.is_empty()
}
