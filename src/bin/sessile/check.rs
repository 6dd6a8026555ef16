//! cleanup, doctor.

use sessile::admin::{Admin, Level};

use crate::ask::sure;
use crate::bar::Bar;
use crate::options::{Cleanup, OfAll};
use crate::output::{self, Table};
use crate::{Failure, Outcome, store};

pub(crate) async fn cleanup(options: Cleanup) -> Result<Outcome, Failure> {
    if !options.dry_run {
        let question = "This puts lists of users' sessions right, deletes conversations whose demo is gone, and gives keys an expiry \
             that have none.";
        if let Err(outcome) = sure(question, options.yes) {
            return Ok(outcome);
        }
    }
    let store = store(&options.place).await?;
    let bar = Bar::new();
    let repair = Admin::new(&store)
        .repair(options.dry_run, |done| bar.show(done, String::new()))
        .await;
    bar.clear();
    let repair = repair?;
    if options.json.json {
        output::json(&repair)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&["NUMBER", "OF WHAT"]);
    for (count, what) in [
        (repair.records, "records looked at"),
        (repair.lists, "lists looked at"),
        (
            repair.listed,
            "sessions were missing from their users' lists",
        ),
        (
            repair.ended,
            "of those were from before all of their user's ended, and are over now",
        ),
        (repair.unlisted, "members of lists were no live session"),
        (
            repair.conversations,
            "conversations of demos that are gone were deleted",
        ),
        (repair.expiries, "keys had no expiry"),
        (repair.malformed, "keys hold no session, and are left alone"),
    ] {
        table.row(vec![count.to_string(), what.into()]);
    }
    table.print()?;
    if repair.dry_run && !repair.found_nothing() {
        output::line("Nothing was changed: run it without --dry-run.")?;
    }
    Ok(Outcome::Done)
}

pub(crate) async fn doctor(options: OfAll) -> Result<Outcome, Failure> {
    let store = store(&options.place).await?;
    let findings = Admin::new(&store).doctor(&options.place.redis).await;
    let worst = findings.iter().map(|finding| finding.level).max();
    if options.json.json {
        output::json(&findings)?;
    } else {
        let mut table = Table::new(&["LEVEL", "CHECK", "WHAT IS"]);
        for finding in &findings {
            table.row(vec![
                finding.level.as_str().into(),
                finding.check.into(),
                finding.what.clone(),
            ]);
        }
        table.print()?;
        for finding in findings
            .iter()
            .filter(|finding| finding.level > Level::Good)
        {
            if let Some(advice) = finding.advice {
                output::line(&format!("{}: {advice}.", finding.check))?;
            }
        }
    }
    Ok(match worst {
        Some(Level::Error) => Outcome::Failed,
        Some(Level::Good | Level::Note | Level::Warning) | None => Outcome::Done,
    })
}
