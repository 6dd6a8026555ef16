//! "Are you sure?"

use std::io::{BufRead, IsTerminal, Write};

use crate::options::Yes;
use crate::{Outcome, complain};

/// Asks on stderr, so that stdout is for what comes of it. `Err`: it is not to be done.
pub(crate) fn sure(what: &str, yes: Yes) -> Result<(), Outcome> {
    if yes.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        complain(&format!(
            "{what} There is no terminal to ask at: say --yes."
        ));
        return Err(Outcome::Usage);
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{what} Type yes to go on: ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    let _ = writeln!(stderr, "Nothing was changed.");
    Err(Outcome::Failed)
}
