//! end, end-all.

use serde::Serialize;
use sessile::Ended;

use crate::ask::sure;
use crate::options::{End, EndAll, Json};
use crate::{Failure, Outcome, complain, detail, output, sessions, store};

pub(crate) async fn one(options: End) -> Result<Outcome, Failure> {
    let question = format!(
        "This ends the session {} of {}.",
        options.handle, options.user
    );
    if let Err(outcome) = sure(&question, options.yes) {
        return Ok(outcome);
    }
    let store = store(&options.place).await?;
    let ended = sessions(&store)?
        .revoke(options.user.as_str(), options.handle, &options.reason)
        .await
        .map_err(|error| detail(&error))?;
    if ended.count == 0 {
        if options.json.json {
            output::json(&Counted { ended: 0 })?;
        }
        complain(&"that user has no live session of that handle");
        return Ok(Outcome::Failed);
    }
    tell(ended, options.json)
}

pub(crate) async fn all(options: EndAll) -> Result<Outcome, Failure> {
    let question = format!("This ends all sessions of {}.", options.user);
    if let Err(outcome) = sure(&question, options.yes) {
        return Ok(outcome);
    }
    let store = store(&options.place).await?;
    let ended = sessions(&store)?
        .revoke_all(options.user.as_str(), &options.reason)
        .await
        .map_err(|error| detail(&error))?;
    tell(ended, options.json)
}

#[derive(Debug, Serialize)]
struct Counted {
    ended: usize,
}

fn tell(ended: Ended, json: Json) -> Result<Outcome, Failure> {
    if json.json {
        output::json(&Counted { ended: ended.count })?;
    } else {
        output::line(&match ended.count {
            1 => "1 session was ended.".to_owned(),
            count => format!("{count} sessions were ended."),
        })?;
    }
    Ok(Outcome::Done)
}
