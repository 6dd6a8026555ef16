//! What the answer to a command means, and how a call can fail.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use crate::store::{Failure, StoreError};

/// What a server says that takes nothing at the moment, or no writes.
const NOT_NOW: [&str; 6] = [
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "MISCONF",
];

/// A call failed. What is behind it is for the operator's log.
#[derive(Debug)]
pub(super) enum CallError {
    /// Nothing was sent for certain: no connection, or one that was known to be dead.
    NotSent(RedisError),
    /// A command was handed to a connection and its reply never came. It may still run until `not_after`, by the
    /// server's clock, in microseconds.
    Lost { not_after: u64, cause: RedisError },
    /// The server refused, and changed nothing.
    Refused(RedisError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(cause) => write!(f, "Redis cannot be reached: {}", Words(cause)),
            Self::Lost { cause, .. } => write!(f, "Redis did not answer: {}", Words(cause)),
            Self::Refused(cause) => write!(f, "Redis refused: {}", Words(cause)),
        }
    }
}

impl std::error::Error for CallError {}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        let failure = match &error {
            CallError::NotSent(_) => Failure::Unreachable,
            CallError::Lost { .. } => Failure::Silent,
            CallError::Refused(cause) => refusal(cause),
        };
        Self::new(error.to_string())
            .with_failure(failure)
            .with_source(error)
    }
}

/// Why the server refused: not now, no memory, or never.
fn refusal(error: &RedisError) -> Failure {
    let says = |word: &str| {
        // Before 7.0 a server wraps what a command inside a script ran into; the code is in the text.
        let wrapped = || error.detail()?.split_once(" -")?.1.split(' ').next();
        error.code() == Some(word) || wrapped() == Some(word)
    };
    if NOT_NOW.iter().any(|word| says(word)) {
        return Failure::Refused;
    }
    if says("OOM") {
        return Failure::Full;
    }
    match Trouble::refusal(error.clone()) {
        Trouble::Demoted(_) => Failure::Refused,
        // A slot that is on its way is no outage: the server takes whatever is in its other slots.
        Trouble::Later(_)
        | Trouble::NoScript(_)
        | Trouble::Moved(_)
        | Trouble::Ask(_)
        | Trouble::Refused(_)
        | Trouble::Lost(_) => Failure::Other,
    }
}

/// An error of the client library as an operator knows it: a server's as the server wrote it.
pub(super) struct Words<'a>(pub(super) &'a RedisError);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.kind(), self.0.code(), self.0.detail()) {
            (_, Some(code), Some(detail)) => write!(f, "{code} {detail}"),
            // An error of ours: its kind says nothing.
            (ErrorKind::Io | ErrorKind::Client, None, Some(detail)) => f.write_str(detail),
            _ => self.0.fmt(f),
        }
    }
}

/// An error of this layer, in its own words.
pub(super) fn failure(words: String) -> RedisError {
    (ErrorKind::Io, "connection", words).into()
}

/// The same failure, and where it happened. What the server itself said stays as it is.
pub(super) fn at(place: &impl fmt::Display, error: &RedisError) -> RedisError {
    failure(format!("{place}: {}", Words(error)))
}

/// Why an attempt that was handed to a connection came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server does not know the script: it wants the text.
    NoScript(RedisError),
    /// Another server has the slot, for good.
    Moved(RedisError),
    /// Another server has these keys: the slot is on its way.
    Ask(RedisError),
    /// Not now: the slot is half way, or nobody serves it at the moment.
    Later(RedisError),
    /// The server is a replica now.
    Demoted(RedisError),
    /// Definite: nothing changed.
    Refused(RedisError),
    /// Nobody knows whether it ran.
    Lost(RedisError),
}

/// Tells what a reply means.
pub(super) fn understood(reply: Result<Value, RedisError>) -> Result<Value, Trouble> {
    match reply {
        Ok(Value::ServerError(error)) => Err(Trouble::refusal(error.into())),
        Ok(value) => Ok(value),
        // Whatever is not the server's own word leaves it open whether the command ran.
        Err(error) => Err(Trouble::Lost(error)),
    }
}

impl Trouble {
    fn refusal(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::NoScript => Self::NoScript(error),
                ServerErrorKind::Moved => Self::Moved(error),
                ServerErrorKind::Ask => Self::Ask(error),
                ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown => Self::Later(error),
                ServerErrorKind::ReadOnly => Self::Demoted(error),
                ServerErrorKind::ResponseError => Self::in_script(error),
                _ => Self::Refused(error),
            },
            _ => Self::Refused(error),
        }
    }

    /// The error itself.
    pub(super) fn into_error(self) -> RedisError {
        match self {
            Self::NoScript(error)
            | Self::Moved(error)
            | Self::Ask(error)
            | Self::Later(error)
            | Self::Demoted(error)
            | Self::Refused(error)
            | Self::Lost(error) => error,
        }
    }

    /// Before 7.0 a server wraps what a command inside a script ran into; the code is in the text.
    fn in_script(error: RedisError) -> Self {
        match error.detail() {
            // A key that the script derived is of a slot that is on its way.
            Some(text) if text.contains("non local key") => Self::Later(error),
            Some(text) if text.contains("cluster is down") => Self::Later(error),
            Some(text) if text.contains("READONLY You can't write") => Self::Demoted(error),
            _ => Self::Refused(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server's line of error means.
    fn answer(line: &str) -> Trouble {
        let reply = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        understood(reply).unwrap_err()
    }

    #[test]
    fn an_error_of_the_server_means_what_to_do_next() {
        use Trouble::*;
        assert!(matches!(
            answer("NOSCRIPT No matching script. Please use EVAL."),
            NoScript(_)
        ));
        assert!(matches!(answer("MOVED 3999 127.0.0.1:6381"), Moved(_)));
        assert!(matches!(answer("ASK 3999 127.0.0.1:6381"), Ask(_)));
        for later in [
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "CLUSTERDOWN The cluster is down",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "ERR Error running script (call to f_5b7): @user_script:1: @user_script: 1: Script attempted to access a \
             non local key in a cluster node",
            "ERR Script attempted to access a non local key in a cluster node script: 5b7, on @user_script:1.",
        ] {
            assert!(matches!(answer(later), Later(_)), "{later}");
        }
        for demoted in [
            "READONLY You can't write against a read only replica.",
            "ERR Error running script (call to f_5b7): @user_script:1: @user_script: 1: -READONLY You can't write \
             against a read only replica.",
        ] {
            assert!(matches!(answer(demoted), Demoted(_)), "{demoted}");
        }
        for refused in [
            "LOADING Redis is loading the dataset in memory",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "NOAUTH Authentication required.",
            "NOREPLICAS Not enough good replicas to write.",
            "BUSY Redis is busy running a script.",
            "ERR unknown command",
        ] {
            assert!(matches!(answer(refused), Refused(_)), "{refused}");
        }
    }

    /// What an error of a store says of it.
    fn failed(error: CallError) -> Failure {
        StoreError::from(error).failure()
    }

    fn refused(line: &str) -> Failure {
        let reply = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        match reply {
            Ok(Value::ServerError(error)) => failed(CallError::Refused(error.into())),
            other => panic!("an error was expected, and there is {other:?}"),
        }
    }

    #[test]
    fn a_store_error_says_how_it_failed() {
        let cut = || RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(failed(CallError::NotSent(cut())), Failure::Unreachable);
        let (not_after, cause) = (7, cut());
        assert_eq!(
            failed(CallError::Lost { not_after, cause }),
            Failure::Silent
        );
        for not_now in [
            "READONLY You can't write against a read only replica.",
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "NOREPLICAS Not enough good replicas to write.",
            "CLUSTERDOWN The cluster is down",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "ERR Error running script (call to f_5b7): @user_script:1: @user_script: 1: -READONLY You can't write \
             against a read only replica.",
            "ERR Error running script (call to f_5b7): @user_script:1: @user_script: 1: -NOREPLICAS Not enough good \
             replicas to write.",
        ] {
            assert_eq!(refused(not_now), Failure::Refused, "{not_now}");
        }
        for full in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "ERR Error running script (call to f_5b7): @user_script:1: @user_script: 1: -OOM command not allowed when \
             used memory > 'maxmemory'.",
        ] {
            assert_eq!(refused(full), Failure::Full, "{full}");
        }
        for other in [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "NOAUTH Authentication required.",
            "NOPERM this user has no permissions to run the 'get' command",
            "MOVED 3999 127.0.0.1:6381",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "ERR Error running script (call to f_5b7): @user_script:1: @user_script: 1: Script attempted to access a \
             non local key in a cluster node",
            "BUSY Redis is busy running a script.",
            "ERR unknown command 'OOM', with args beginning with: 'READONLY'",
        ] {
            assert_eq!(refused(other), Failure::Other, "{other}");
        }
    }

    #[test]
    fn no_answer_is_lost() {
        for kind in [
            std::io::ErrorKind::BrokenPipe,
            std::io::ErrorKind::TimedOut,
            std::io::ErrorKind::ConnectionReset,
        ] {
            let reply = Err(std::io::Error::from(kind).into());
            assert!(matches!(understood(reply), Err(Trouble::Lost(_))));
        }
        let unparsable = redis::parse_redis_value(b"what is this\r\n");
        assert!(matches!(understood(unparsable), Err(Trouble::Lost(_))));
    }

    #[test]
    fn the_operator_reads_what_the_server_wrote() {
        let Trouble::Refused(error) = answer("NOAUTH Authentication required.") else {
            panic!("a refusal")
        };
        assert_eq!(
            CallError::Refused(error.clone()).to_string(),
            "Redis refused: NOAUTH Authentication required."
        );
        assert_eq!(
            CallError::NotSent(at(&"cache:6379", &error)).to_string(),
            "Redis cannot be reached: cache:6379: NOAUTH Authentication required."
        );
    }
}
