//! Whether a server lets this user do what sessions need.

use redis::{Cmd, Value};

use super::{Level, Verdict, good};
use crate::store::StoreError;
use crate::store::redis::admin::Direct;

/// What the server says of each command.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// Commands that it does not let this user run, on keys of ours.
    pub(super) forbidden: Vec<&'static str>,
    /// Commands that it does not say this of: those that cannot be tried, of a server before Redis 7.
    pub(super) unknown: Vec<&'static str>,
    /// Why it takes no writes.
    pub(super) takes_no_writes: Option<String>,
}

/// What cannot be tried without an effect, asked of the server's own judgement (since Redis 7.0). The keys are arguments: as
/// keys of the script, the server would refuse the whole of it for one that is forbidden.
const MAY: &str = "\
if not redis.acl_check_cmd then return 'unknown' end
local refused = {}
for n = 1, #ARGV, 3 do
  if not redis.acl_check_cmd(ARGV[n + 1], ARGV[n + 2]) then refused[#refused + 1] = ARGV[n] end
end
return refused";

impl Rights {
    /// Tries each command that sessions need so that it changes nothing.
    pub(super) async fn ask(server: &Direct, prefix: &str) -> Result<Self, StoreError> {
        let mut rights = Self::default();
        let tries = tries(prefix);
        let commands = tries.iter().map(|(_, command)| command.clone()).collect();
        for ((name, _), answer) in tries.iter().zip(server.ask_all(commands).await?) {
            let Err(error) = answer else { continue };
            match error.code() {
                Some("NOPERM") => rights.forbidden.push(name),
                Some("READONLY" | "NOREPLICAS" | "OOM" | "MISCONF" | "MASTERDOWN") => {
                    rights.takes_no_writes = error.code().map(str::to_owned);
                }
                // It was let through, and found nothing to do.
                _ => {}
            }
        }
        rights.ask_of_writes(server, prefix).await?;
        Ok(rights)
    }

    async fn ask_of_writes(&mut self, server: &Direct, prefix: &str) -> Result<(), StoreError> {
        let writes = writes(prefix);
        let mut command = redis::cmd("EVAL");
        command.arg(MAY).arg(0);
        for (name, words, key) in &writes {
            command.arg(name).arg(words).arg(key);
        }
        let answer = server.ask_all(vec![command]).await?.into_iter().next();
        let names = writes.iter().map(|(name, ..)| *name);
        match answer {
            Some(Ok(Value::Array(refused))) => {
                let is_refused = |name: &&str| {
                    refused.iter().any(
                        |word| matches!(word, Value::BulkString(word) if word == name.as_bytes()),
                    )
                };
                self.forbidden.extend(names.filter(is_refused));
            }
            // Also whoever may not run scripts: that is told already.
            _ => self.unknown.extend(names),
        }
        Ok(())
    }

    pub(super) fn judge(&self) -> Verdict {
        if !self.forbidden.is_empty() {
            return (
                Level::Error,
                format!("this user may not: {}", self.forbidden.join(", ")),
                Some("grant the rights that the README lists under Redis"),
            );
        }
        match self.takes_no_writes.as_deref() {
            Some("READONLY") => (
                Level::Error,
                "it is a read-only replica".into(),
                Some("give the address of the primary"),
            ),
            Some(code) => (
                Level::Error,
                format!("it takes no writes now ({code})"),
                Some("see memory, persistence and replication"),
            ),
            None if !self.unknown.is_empty() => (
                Level::Note,
                format!(
                    "it does not say whether this user may: {}; all else is allowed",
                    self.unknown.join(", ")
                ),
                Some("see that the rights are those that the README lists under Redis"),
            ),
            None => good("every command that sessions need is allowed, scripts too"),
        }
    }
}

/// The commands that cannot be tried, each with a key of ours: name, command, key.
fn writes(prefix: &str) -> [(&'static str, &'static str, String); 4] {
    [
        (
            "rpush demo:session:*",
            "rpush",
            format!("{prefix}demo:session:{{0000}}:no-such-session:messages"),
        ),
        (
            "rpush user_events:*",
            "rpush",
            format!("{prefix}user_events:{{0000}}:"),
        ),
        (
            "rpush user_activity:*",
            "rpush",
            format!("{prefix}user_activity:{{0000}}:"),
        ),
        (
            "incr demo_budget:*",
            "incr",
            format!("{prefix}demo_budget:{{0000}}:no-such-budget"),
        ),
    ]
}

/// The commands that sessions need, each so that it does nothing.
fn tries(prefix: &str) -> Vec<(&'static str, Cmd)> {
    let record = format!("{prefix}session:{{0000}}:no-such-session");
    let demo = format!("{prefix}demo:session:{{0000}}:no-such-session");
    let index = format!("{prefix}user_sessions:{{0000}}:");
    let since = format!("{prefix}user_since:{{0000}}:");
    let events = format!("{prefix}user_events:{{0000}}:");
    let activity = format!("{prefix}user_activity:{{0000}}:");
    let beat = format!("{prefix}beat:{{0000}}:no-such-beat");
    let budget = format!("{prefix}demo_budget:{{0000}}:no-such-budget");
    let command = |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command
    };
    vec![
        ("get session:*", command(&["GET", &record])),
        ("get demo:session:*", command(&["GET", &demo])),
        ("get user_since:*", command(&["GET", &since])),
        ("get beat:*", command(&["GET", &beat])),
        ("get demo_budget:*", command(&["GET", &budget])),
        ("llen", command(&["LLEN", &demo])),
        ("lindex", command(&["LINDEX", &demo, "0"])),
        ("rename", command(&["RENAME", &demo, &demo])),
        (
            "lrange user_events:*",
            command(&["LRANGE", &events, "0", "0"]),
        ),
        (
            "lrange user_activity:*",
            command(&["LRANGE", &activity, "0", "0"]),
        ),
        (
            "ltrim user_events:*",
            command(&["LTRIM", &events, "0", "-1"]),
        ),
        (
            "ltrim user_activity:*",
            command(&["LTRIM", &activity, "0", "-1"]),
        ),
        ("set", command(&["SET", &record, "", "XX"])),
        ("set demo:session:*", command(&["SET", &demo, "", "XX"])),
        (
            "set user_since:*",
            command(&["SET", &since, "", "XX", "KEEPTTL"]),
        ),
        ("set beat:*", command(&["SET", &beat, "", "XX"])),
        ("del", command(&["DEL", &record])),
        ("exists", command(&["EXISTS", &record])),
        ("pexpireat", command(&["PEXPIREAT", &record, "1"])),
        ("pttl", command(&["PTTL", &record])),
        ("zadd", command(&["ZADD", &index, "XX", "1", "x"])),
        ("zcard", command(&["ZCARD", &index])),
        ("zrange", command(&["ZRANGE", &index, "0", "0"])),
        (
            "zrangebyscore",
            command(&["ZRANGEBYSCORE", &index, "0", "0"]),
        ),
        ("zrank", command(&["ZRANK", &index, "x"])),
        ("zrem", command(&["ZREM", &index, "x"])),
        ("zscore", command(&["ZSCORE", &index, "x"])),
        ("time", command(&["TIME"])),
        // Unknown to the server, and refused for that if for nothing else.
        (
            "evalsha",
            command(&["EVALSHA", "0000000000000000000000000000000000000000", "0"]),
        ),
        // A number of keys that is none.
        ("eval", command(&["EVAL", "return 1", "none"])),
        ("info", command(&["INFO", "server"])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_goes_before_what_is_not_known() {
        let mut rights = Rights::default();
        assert_eq!(rights.judge().0, Level::Good);
        rights.unknown.push("incr demo_budget:*");
        assert_eq!(rights.judge().0, Level::Note);
        rights.takes_no_writes = Some("OOM".into());
        assert_eq!(rights.judge().0, Level::Error);
        rights.forbidden.push("zadd");
        let (level, what, advice) = rights.judge();
        assert_eq!(level, Level::Error);
        assert!(what.contains("zadd") && advice.is_some(), "{what}");
    }
}
