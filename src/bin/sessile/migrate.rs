//! migrate: with a progress bar, and a report.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::HumanDuration;
use sessile::migrate::{Migration, Progress, Report, Source};

use crate::ask::sure;
use crate::bar::Bar;
use crate::options::Migrate;
use crate::{Failure, Outcome, complain, output, store};

pub(crate) async fn run(options: Migrate) -> Result<Outcome, Failure> {
    if let Some(what) = in_vain(&options) {
        return Err(Failure::Usage(what.into()));
    }
    if !options.dry_run {
        let fate = if options.keep_old {
            "stay"
        } else {
            "are removed, each with its session"
        };
        let question = format!(
            "This moves all sessions of {} to sessile; the old keys {fate}. The old application must not run meanwhile.",
            Source::from(options.from).as_str()
        );
        if let Err(outcome) = sure(&question, options.yes) {
            return Ok(outcome);
        }
    }
    // Before anything is done: what cannot be written afterwards would be lost.
    let mut file = match &options.report {
        Some(path) => Some(create(path)?),
        None => None,
    };
    let store = store(&options.place).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut migration = Migration::new(&store, options.from.into())
        .dry_run(options.dry_run)
        .keep_old(options.keep_old)
        .stop_when(Arc::clone(&stop));
    for shape in options.only {
        migration = migration.only(shape);
    }
    if let Some(minutes) = options.local_offset {
        migration = migration.local_offset(minutes);
    }
    if let Some(name) = options.user_key {
        migration = migration.user_key(name);
    }
    if let Some(prefix) = options.prefix {
        migration = migration.prefix(prefix);
    }
    if let Some(limit) = options.limit {
        migration = migration.limit(limit);
    }
    tokio::spawn(stop_by_signal(stop));
    let (bar, began) = (Bar::new(), Instant::now());
    let ran = migration
        .run(|progress| bar.show(progress.fraction, message(progress, began.elapsed())))
        .await;
    bar.clear();
    let (report, failure) = match ran {
        Ok(report) => (report, None),
        Err(error) => ((*error.report).clone(), Some(error)),
    };
    if let Some(file) = &mut file {
        serde_json::to_writer_pretty(&mut *file, &report)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
    }
    tell(&report, options.json.json)?;
    if let Some(error) = failure {
        complain(&format!(
            "{error}; what was done until then stands, start it again and it goes on"
        ));
        return Ok(Outcome::Failed);
    }
    let is_done =
        report.is_complete() || (report.dry_run && report.failed == 0 && report.invalid == 0);
    Ok(if is_done {
        Outcome::Done
    } else {
        Outcome::Failed
    })
}

/// An option that changes nothing there: whoever gives it expects that it does.
fn in_vain(options: &Migrate) -> Option<&'static str> {
    let is_legacy = Source::from(options.from) == Source::Legacy;
    match is_legacy {
        true if options.prefix.is_some() => Some("--prefix has no meaning with --from legacy"),
        true if options.user_key.is_some() => Some("--user-key has no meaning with --from legacy"),
        false if options.local_offset.is_some() => {
            Some("--local-offset is for --from legacy: no other system writes local times")
        }
        true | false => None,
    }
}

fn tell(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        // Ids that may still open something in the old system are for the file alone.
        output::json(&report.masked())
    } else {
        output::line(report.to_string().trim_end())
    }
}

/// A new file, or an old one emptied, that nobody else may read: keys of old sessions are in it.
fn create(path: &Path) -> Result<std::fs::File, Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| {
        Failure::Failed(format!(
            "the report cannot be written to {}: {error}",
            path.display()
        ))
    })?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

/// Ctrl-C: what was begun is finished, and the report is told. A second one ends the program as usual.
async fn stop_by_signal(stop: Arc<AtomicBool>) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    stop.store(true, Ordering::Relaxed);
    let _ = writeln!(std::io::stderr(), "stopping…");
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(130);
    }
}

/// How many, how fast, and how long it still takes.
fn message(progress: &Progress, took: Duration) -> String {
    let took = took.as_secs_f64();
    let rate = progress.migrated as f64 / took.max(0.001);
    let left = match progress.fraction {
        fraction if fraction > 0.01 => {
            let left = Duration::from_secs_f64(took * (1.0 - fraction) / fraction);
            format!(", {} left", HumanDuration(left))
        }
        _ => String::new(),
    };
    format!("{} migrated, {rate:.0} a second{left}", progress.migrated)
}
