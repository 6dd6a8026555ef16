//! Where showcases keep their sessions: one in its memory, one in a Redis, two in the same Redis.

use super::{Client, Server, Showcase};

/// What a test of one showcase runs on; several that are started here share a Redis.
pub(crate) enum Place {
    Memory,
    Redis(Server),
}

impl Place {
    pub(crate) fn redis() -> Self {
        Self::Redis(Server::start())
    }

    pub(crate) fn start(&self, options: &[&str]) -> Showcase {
        match self {
            Self::Memory => Showcase::start(options),
            Self::Redis(server) => Showcase::on(&server.url(), options),
        }
    }
}

/// Makes two tests of a function, `….in_memory` and `….in_redis`. It stands above the function, where `#[test]` would;
/// a function that it is missing from is unused code, which the check does not let pass.
macro_rules! on_both {
    ($test:ident) => {
        mod $test {
            use crate::support::Place;

            #[test]
            fn in_memory() {
                super::$test(&Place::Memory);
            }

            #[test]
            fn in_redis() {
                super::$test(&Place::redis());
            }
        }
    };
}
pub(crate) use on_both;

/// Two processes of one application on one Redis.
pub(crate) struct Pair {
    // Before the server, so that they do not complain about its end.
    pub(crate) showcases: [Showcase; 2],
    pub(crate) server: Server,
}

impl Pair {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::with([options; 2])
    }

    /// Each with options of its own.
    pub(crate) fn with(options: [&[&str]; 2]) -> Self {
        let server = Server::start();
        let showcases = options.map(|options| Showcase::on(&server.url(), options));
        Self { showcases, server }
    }

    /// One of the two; odd and even numbers take turns.
    pub(crate) fn turn(&self, number: usize) -> &Showcase {
        &self.showcases[number % 2]
    }

    /// A client that is signed in at one of the two.
    pub(crate) fn signed_in(&self, number: usize, user: &str) -> Client {
        self.turn(number).signed_in(user)
    }

    /// Whether this client is signed in: the same at both.
    #[track_caller]
    pub(crate) fn is_signed_in(&self, client: &Client) -> bool {
        let [one, other] = self.both(client).map(|mut client| client.is_signed_in());
        assert_eq!(one, other, "both processes say the same");
        one
    }

    /// The same browser at each of the two.
    pub(crate) fn both(&self, client: &Client) -> [Client; 2] {
        [0, 1].map(|number| client.at(self.turn(number)))
    }
}
