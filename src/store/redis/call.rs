//! One call: which attempts it makes, and what they come to together.
//!
//! A pure state machine. Whoever drives it checks out, sends and sleeps; this decides.

use std::time::{Duration, Instant};

use redis::{RedisError, Value};

use super::failure::{CallError, Trouble};

/// Waiting for a slot that is on its way, or for a server to be promoted, begins with this and grows to four times.
const PAUSE: Duration = Duration::from_millis(5);
/// An attempt that had less time would be lost: a pause ends up to a millisecond late, and so does a deadline.
const LEAST: Duration = Duration::from_millis(3);
/// So often a call is sent elsewhere, or finds its connection dead, without a pause: more is a circle.
const AT_ONCE: u32 = 3;

/// Whether a command whose reply was lost may be sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Sent once: an update.
    Never,
    /// Idempotent: once more.
    Once,
    /// It changes nothing: for as long as there is time.
    Freely,
}

/// The time that a call has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    /// It begins now: the clock is read once for all that is done at once.
    pub(super) began: Instant,
    /// When it is over, answered or not.
    pub(super) until: Instant,
}

impl Term {
    /// So long from now on.
    pub(super) fn of(most: Duration) -> Self {
        let began = Instant::now();
        Self {
            began,
            until: began + most,
        }
    }
}

/// What a command is built for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// The server refuses to run it later than this, by its own clock, in microseconds.
    pub(super) not_after: u64,
    /// The server does not know the script: with its text.
    pub(super) with_text: bool,
}

/// The server's answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) value: Value,
    /// An attempt before this one was lost, and may still run until this instant of the server's clock.
    pub(super) lost: Option<u64>,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Step {
    Done(Result<Reply, CallError>),
    /// Another attempt, after a pause.
    Again {
        pause: Duration,
        via: Via,
    },
}

/// Where the next attempt goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Via {
    /// To the server that has the slot, as far as is known.
    Owner,
    /// The same, and what is known is to be looked up again.
    Refreshed,
    /// To the server that has the slot now.
    Moved(Box<str>),
    /// To the server that the slot is moving to.
    Ask(Box<str>),
}

/// The course of one call.
#[derive(Debug)]
pub(super) struct Call {
    until: Instant,
    again: Again,
    /// How long it waits for a connection, and since when it has none.
    checkout: Duration,
    without: Option<Instant>,
    /// There is but one server: a redirection leads nowhere.
    alone: bool,
    with_text: bool,
    /// What was lost, and until when it may run.
    lost: Option<u64>,
    losses: u32,
    /// A server answered that it takes nothing now.
    put_off: Option<RedisError>,
    at_once: u32,
    pause: Duration,
}

impl Call {
    pub(super) const fn new(until: Instant, again: Again, checkout: Duration, alone: bool) -> Self {
        Self {
            until,
            again,
            checkout,
            without: None,
            alone,
            with_text: false,
            lost: None,
            losses: 0,
            put_off: None,
            at_once: 0,
            pause: PAUSE,
        }
    }

    /// Whether a script goes with its text.
    pub(super) const fn with_text(&self) -> bool {
        self.with_text
    }

    /// Whether the connection must be looked at before the command is handed over: what is sent but once, or for the
    /// last time, is not risked on one that is dead already, unless that has answered a moment ago.
    pub(super) fn is_last(&self) -> bool {
        self.again == Again::Never || self.losses > 0
    }

    /// When it is over, answered or not.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// How long to wait for a connection.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        let until = match self.without {
            None => self.until.min(now + self.checkout),
            Some(since) => self.until.min(since + self.checkout),
        };
        until.saturating_duration_since(now)
    }

    /// There was no connection, or nobody to connect to, in a part of the time that there is.
    pub(super) fn without_connection(
        &mut self,
        since: Instant,
        now: Instant,
        cause: RedisError,
    ) -> Step {
        self.without.get_or_insert(since);
        if self.patience(now).is_zero() {
            return self.failed(CallError::NotSent(cause));
        }
        self.go(
            now,
            Duration::ZERO,
            Via::Refreshed,
            CallError::NotSent(cause),
        )
    }

    /// The connection turned out to be dead before anything was handed to it.
    pub(super) fn dead(&mut self, now: Instant, cause: RedisError) -> Step {
        let pause = self.circling();
        self.go(now, pause, Via::Refreshed, CallError::NotSent(cause))
    }

    /// An attempt was answered.
    pub(super) const fn answered(&self, value: Value) -> Step {
        Step::Done(Ok(Reply {
            value,
            lost: self.lost,
        }))
    }

    /// An attempt was handed over, and came to nothing.
    pub(super) fn troubled(&mut self, now: Instant, not_after: u64, trouble: Trouble) -> Step {
        self.without = None;
        match trouble {
            Trouble::Refused(error) => self.failed(CallError::Refused(error)),
            Trouble::NoScript(error) if self.with_text => self.failed(CallError::Refused(error)),
            Trouble::NoScript(error) => {
                self.with_text = true;
                self.go(now, Duration::ZERO, Via::Owner, CallError::Refused(error))
            }
            Trouble::Moved(error) | Trouble::Ask(error) if self.alone => {
                self.failed(CallError::Refused(error))
            }
            Trouble::Moved(error) => match named(&error) {
                Some(server) => {
                    let pause = self.circling();
                    self.go(now, pause, Via::Moved(server), CallError::Refused(error))
                }
                None => self.failed(CallError::Refused(error)),
            },
            Trouble::Ask(error) => match named(&error) {
                Some(server) => {
                    let pause = self.circling();
                    self.go(now, pause, Via::Ask(server), CallError::Refused(error))
                }
                None => self.failed(CallError::Refused(error)),
            },
            Trouble::Later(error) | Trouble::Demoted(error) => {
                let pause = self.growing();
                self.put_off = Some(error.clone());
                self.go(now, pause, Via::Refreshed, CallError::Refused(error))
            }
            Trouble::Lost(cause) => {
                self.losses += 1;
                self.lost = self.lost.max(Some(not_after));
                let is_silent = cause.is_timeout();
                let error = CallError::Lost { not_after, cause };
                let again = match self.again {
                    Again::Never => false,
                    Again::Once => self.losses == 1,
                    // A server that says nothing says nothing in less time either, and whoever waits may have another
                    // answer.
                    Again::Freely => !is_silent || now + self.checkout < self.until,
                };
                if again {
                    self.go(now, Duration::ZERO, Via::Refreshed, error)
                } else {
                    self.failed(error)
                }
            }
        }
    }

    /// Another attempt, if there is time for one, and for its answer: what is certain by now would be lost with it.
    fn go(&mut self, now: Instant, pause: Duration, via: Via, otherwise: CallError) -> Step {
        if now + pause + LEAST < self.until {
            Step::Again { pause, via }
        } else {
            self.failed(otherwise)
        }
    }

    /// The end of a call that failed. As long as something that was lost may have happened, nothing else is certain. What
    /// a server answered says more than that there was no connection after it.
    fn failed(&mut self, error: CallError) -> Step {
        // A read changes nothing, lost or not: what counts is why there is no answer.
        let lost = self.lost.filter(|_| self.again != Again::Freely);
        Step::Done(Err(match (lost, error) {
            (None, CallError::NotSent(cause)) => match self.put_off.take() {
                Some(answer) => CallError::Refused(answer),
                None => CallError::NotSent(cause),
            },
            (None, error) => error,
            (
                Some(not_after),
                CallError::NotSent(cause)
                | CallError::Refused(cause)
                | CallError::Lost { cause, .. },
            ) => CallError::Lost { not_after, cause },
        }))
    }

    /// At once, the first times.
    fn circling(&mut self) -> Duration {
        self.at_once += 1;
        if self.at_once > AT_ONCE {
            self.growing()
        } else {
            Duration::ZERO
        }
    }

    fn growing(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (2 * pause).min(4 * PAUSE);
        pause
    }
}

/// The server that a redirection names.
fn named(error: &RedisError) -> Option<Box<str>> {
    error.redirect_node().map(|(server, _)| server.into())
}

#[cfg(test)]
mod tests {
    use super::super::failure::understood;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn call_at(again: Again) -> (Call, Instant) {
        let now = Instant::now();
        (Call::new(now + 150 * MS, again, 100 * MS, false), now)
    }

    fn cut() -> RedisError {
        std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
    }

    fn error(line: &str) -> Trouble {
        understood(redis::parse_redis_value(format!("-{line}\r\n").as_bytes())).unwrap_err()
    }

    #[test]
    fn what_was_lost_is_sent_again_only_if_it_may_be() {
        let (mut call, now) = call_at(Again::Never);
        assert!(call.is_last());
        let step = call.troubled(now, 7, Trouble::Lost(cut()));
        assert!(matches!(
            step,
            Step::Done(Err(CallError::Lost { not_after: 7, .. }))
        ));

        let (mut call, now) = call_at(Again::Once);
        assert!(!call.is_last());
        let step = call.troubled(now, 7, Trouble::Lost(cut()));
        assert!(matches!(
            step,
            Step::Again {
                pause: Duration::ZERO,
                ..
            }
        ));
        assert!(call.is_last());
        let step = call.troubled(now, 9, Trouble::Lost(cut()));
        assert!(matches!(
            step,
            Step::Done(Err(CallError::Lost { not_after: 9, .. }))
        ));
    }

    #[test]
    fn an_answer_after_a_loss_says_until_when_the_lost_one_may_run() {
        let (mut call, now) = call_at(Again::Once);
        call.troubled(now, 7, Trouble::Lost(cut()));
        let step = call.answered(Value::Okay);
        assert!(matches!(step, Step::Done(Ok(Reply { lost: Some(7), .. }))));
    }

    #[test]
    fn after_a_loss_a_refusal_is_a_loss() {
        let (mut call, now) = call_at(Again::Once);
        call.troubled(now, 7, Trouble::Lost(cut()));
        let step = call.troubled(now, 9, error("OOM command not allowed"));
        assert!(matches!(
            step,
            Step::Done(Err(CallError::Lost { not_after: 7, .. }))
        ));
        let (mut call, now) = call_at(Again::Once);
        call.troubled(now, 7, Trouble::Lost(cut()));
        let step = call.without_connection(now, now + 100 * MS, cut());
        assert!(matches!(
            step,
            Step::Done(Err(CallError::Lost { not_after: 7, .. }))
        ));
    }

    #[test]
    fn waiting_for_a_connection_ends_with_the_checkout_or_with_the_call() {
        let (mut call, now) = call_at(Again::Never);
        assert_eq!(call.patience(now), 100 * MS);
        assert_eq!(call.patience(now + 90 * MS), 60 * MS);
        let step = call.without_connection(now, now + 50 * MS, cut());
        assert!(matches!(step, Step::Again { .. }));
        assert_eq!(call.patience(now + 50 * MS), 50 * MS);
        let step = call.without_connection(now + 50 * MS, now + 100 * MS, cut());
        assert!(matches!(step, Step::Done(Err(CallError::NotSent(_)))));
    }

    #[test]
    fn a_server_that_takes_nothing_now_has_refused_though_there_is_no_connection_after_it() {
        for line in [
            "READONLY You can't write against a read only replica.",
            "TRYAGAIN half way",
        ] {
            let (mut call, now) = call_at(Again::Once);
            let step = call.troubled(now, 7, error(line));
            assert!(matches!(step, Step::Again { .. }));
            let step = call.without_connection(now, now + 100 * MS, cut());
            assert!(
                matches!(step, Step::Done(Err(CallError::Refused(_)))),
                "{step:?}"
            );
        }
    }

    #[test]
    fn a_script_that_is_unknown_goes_with_its_text_once() {
        let (mut call, now) = call_at(Again::Never);
        assert!(!call.with_text());
        let step = call.troubled(now, 7, error("NOSCRIPT No matching script."));
        assert!(matches!(
            step,
            Step::Again {
                pause: Duration::ZERO,
                via: Via::Owner
            }
        ));
        assert!(call.with_text());
        let step = call.troubled(now, 7, error("NOSCRIPT No matching script."));
        assert!(matches!(step, Step::Done(Err(CallError::Refused(_)))));
    }

    #[test]
    fn a_slot_on_its_way_is_waited_for_until_the_time_is_over() {
        let (mut call, now) = call_at(Again::Never);
        for (n, expected) in [5, 10, 20, 20].into_iter().enumerate() {
            let step = call.troubled(now, 7, error("TRYAGAIN half way"));
            let Step::Again {
                pause,
                via: Via::Refreshed,
            } = step
            else {
                panic!("attempt {n}: {step:?}")
            };
            assert_eq!(pause, expected * MS);
        }
        let step = call.troubled(now + 140 * MS, 7, error("TRYAGAIN half way"));
        assert!(matches!(step, Step::Done(Err(CallError::Refused(_)))));
    }

    #[test]
    fn what_is_certain_is_not_risked_on_an_attempt_that_has_no_time() {
        for left in [1, 3, 4] {
            let (mut call, now) = call_at(Again::Never);
            let step = call.troubled(now + (145 - left) * MS, 7, error("TRYAGAIN half way"));
            let is_made = matches!(step, Step::Again { .. });
            assert_eq!(is_made, left > 3, "{left} ms after the pause: {step:?}");
        }
    }

    #[test]
    fn a_redirection_is_followed_at_once_and_a_circle_slowly() {
        let (mut call, now) = call_at(Again::Never);
        for _ in 0..3 {
            let step = call.troubled(now, 7, error("MOVED 1 b:7000"));
            let Step::Again {
                pause,
                via: Via::Moved(server),
            } = step
            else {
                panic!("{step:?}")
            };
            assert_eq!((pause, &*server), (Duration::ZERO, "b:7000"));
        }
        let step = call.troubled(now, 7, error("ASK 1 :7001"));
        let Step::Again {
            pause,
            via: Via::Ask(server),
        } = step
        else {
            panic!("{step:?}")
        };
        assert_eq!((pause, &*server), (5 * MS, ":7001"));
    }
}
