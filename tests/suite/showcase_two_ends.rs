//! Two processes on one Redis: ending all, or the others, while somebody signs in or gets a new id.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::showcase::{assert_ended, refusal};
use crate::support::crowd::{at_once, race};
use crate::support::wait::wait_for;
use crate::support::{Client, Pair, Proxy, Server, Showcase};

/// Holds one of the two sides of a race back a little, each time a little differently: even rounds one, odd ones the
/// other.
fn stagger(round: usize, side: usize) {
    if round % 2 == side {
        thread::sleep(Duration::from_micros(100 * (round as u64 % 24)));
    }
}

#[test]
fn inv12_r46_a_login_that_races_revoking_all_is_wholly_before_or_wholly_after() {
    let pair = Pair::start(&[]);
    for round in 0..60 {
        let user = format!("user-{round}");
        let first = pair.signed_in(round, &user);
        let late = pair.turn(round).client();
        let ((answer, late), ended) = race(
            || {
                let mut late = late;
                stagger(round, 0);
                let answer = late.login(&user);
                (answer, late)
            },
            || {
                stagger(round, 1);
                pair.turn(round + 1).revoke(&user)
            },
        );
        for mut tab in pair.both(&first) {
            assert_ended(&mut tab, "revoked");
        }
        if answer.status != 200 {
            // It began before the end, and came after it.
            assert_eq!(answer.refused(), refusal(401, "session_ended"));
            assert_eq!((ended, late.cookie), (1, None));
        } else if pair.is_signed_in(&late) {
            assert_eq!(ended, 1, "it came after the end");
            assert_eq!(late.clone().listed().len(), 1);
        } else {
            assert_eq!(ended, 2, "it came before the end");
            assert_ended(&mut late.clone(), "revoked");
        }
    }
}

/// The login's process is far from Redis, so that its command is still on its way when the end is acknowledged.
#[test]
fn inv12_r46_a_login_whose_request_began_before_revoking_all_does_not_survive_it() {
    const ONE_WAY: Duration = Duration::from_millis(40);
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let (far, near) = (
        Showcase::on(&proxy.url(), &[]),
        Showcase::on(&server.url(), &[]),
    );
    far.signed_in("alice");
    proxy.slow(ONE_WAY);
    let mut refused = 0;
    wait_for("logins are refused", || {
        let login = || {
            let mut late = far.client();
            let answer = late.login("alice");
            (answer, Instant::now(), late.at(&near))
        };
        let revoke = || {
            thread::sleep(ONE_WAY / 2);
            let began = Instant::now();
            near.revoke("alice");
            began
        };
        let ((answer, answered, mut late), ending) = race(login, revoke);
        if answer.status != 200 {
            assert_eq!(answer.refused(), refusal(401, "session_ended"));
            refused += 1;
        } else if late.is_signed_in() {
            // Its request began after the end: from there to Redis and back it takes this long.
            assert!(answered - ending >= 2 * ONE_WAY, "it began before the end");
        }
        (refused == 5).then_some(())
    });
}

#[test]
fn inv12_r46_a_login_again_that_races_ending_all_is_wholly_before_or_wholly_after() {
    let pair = Pair::start(&[]);
    for round in 0..40 {
        let user = format!("user-{round}");
        let (mut first, again) = (
            pair.signed_in(round, &user),
            pair.signed_in(round + 1, &user),
        );
        let ((answer, again), end) = race(
            || {
                let mut again = again.at(pair.turn(round / 2));
                stagger(round, 0);
                let answer = again.login(&user);
                (answer, again)
            },
            || {
                stagger(round, 1);
                first.delete("/api/sessions")
            },
        );
        // The session that the login replaces counts once, under its old id or its new one.
        assert_eq!((end.status, &end.json()["ended"]), (200, &2.into()));
        let survives = pair.is_signed_in(&again);
        if answer.status != 200 {
            assert_eq!(answer.refused(), refusal(401, "session_ended"));
            assert!(!survives);
        }
        let mut judge = pair.turn(round).client();
        judge.login_after_an_end(&user);
        assert_eq!(judge.listed().len(), 1 + usize::from(survives));
    }
}

/// A session, and when its sign-in began and was answered.
struct SignIn {
    client: Client,
    began: Instant,
    done: Instant,
}

/// Signs in anew until it is over, and each time gets new ids as long as it can, `ids` at most.
fn sign_in_in_a_loop(pair: &Pair, number: usize, ids: usize, over: &AtomicBool) -> Vec<SignIn> {
    let mut all = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let mut client = pair.turn(number).client();
        let began = Instant::now();
        let answer = client.login("mallory");
        let done = Instant::now();
        if answer.status != 200 {
            assert_eq!(answer.refused(), refusal(401, "session_ended"));
            continue;
        }
        for number in 0..ids {
            client.go_to(pair.turn(number));
            let answer = client.post("/api/regenerate");
            if answer.set_cookie().is_none() || over.load(Ordering::SeqCst) {
                break;
            }
        }
        all.push(SignIn {
            client,
            began,
            done,
        });
    }
    all
}

#[test]
fn inv12_r46_revoking_all_terminates_and_holds_against_loops_of_logins_and_of_regenerations() {
    let pair = Pair::start(&[]);
    let over = AtomicBool::new(false);
    let mut ends = Vec::new();
    let sign_ins: Vec<SignIn> = thread::scope(|scope| {
        let (pair, over) = (&pair, &over);
        let loops: Vec<_> = [(0, 0), (1, 0), (0, usize::MAX), (1, usize::MAX)]
            .into_iter()
            .map(|(number, ids)| scope.spawn(move || sign_in_in_a_loop(pair, number, ids, over)))
            .collect();
        for number in 0..20 {
            let began = Instant::now();
            pair.turn(number).revoke("mallory");
            ends.push((began, Instant::now()));
            thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::SeqCst);
        loops
            .into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    let (began, done) = *ends.last().unwrap();
    let mut before = 0;
    for one in &sign_ins {
        // A chain of ids is as old as the sign-in that it began with.
        let survives = pair.is_signed_in(&one.client);
        if one.done < began {
            assert!(!survives, "it was ended by id, however new the id");
            before += 1;
        }
        if one.began > done {
            assert!(survives, "it began after all the ends");
        }
    }
    assert!(before >= 20, "there was something to end: {before}");
    pair.turn(0).revoke("mallory");
    assert!(sign_ins.iter().all(|one| !pair.is_signed_in(&one.client)));
}

#[test]
fn inv12_logouts_and_ends_of_all_at_once_through_both_leave_none() {
    let pair = Pair::start(&[]);
    for round in 0..10 {
        let user = format!("user-{round}");
        let clients = [0, 1, 2, 3, 4].map(|number| pair.signed_in(number, &user));
        let answers = at_once(5, |number| {
            let mut client = clients[number].at(pair.turn(number + round));
            match number {
                0..3 => client.post("/api/logout"),
                _ => client.delete("/api/sessions"),
            }
        });
        for answer in answers {
            // Who comes second finds no session of theirs, or one that just ended.
            assert!([200, 401].contains(&answer.status), "{}", answer.text());
        }
        assert!(clients.iter().all(|client| !pair.is_signed_in(client)));
        let mut judge = pair.turn(round).client();
        judge.login_after_an_end(&user);
        assert_eq!(judge.listed().len(), 1);
    }
}

#[test]
fn inv12_r47_ending_the_others_keeps_the_caller_also_in_the_middle_of_a_rotation() {
    let pair = Pair::start(&[]);
    for round in 0..40 {
        let user = format!("user-{round}");
        let caller = pair.signed_in(round, &user);
        let others = [0, 1].map(|number| pair.signed_in(number, &user));
        let (caller, end) = race(
            || {
                let mut caller = caller.at(pair.turn(round));
                stagger(round, 0);
                assert_eq!(caller.post("/api/regenerate").status, 200);
                caller
            },
            || {
                stagger(round, 1);
                caller
                    .at(pair.turn(round + 1))
                    .delete("/api/sessions?others=true")
            },
        );
        assert!(
            pair.is_signed_in(&caller),
            "the caller stays, whoever came first"
        );
        let remain = match end.status {
            200 => {
                assert_eq!(end.json()["ended"], 2);
                for other in &others {
                    for mut tab in pair.both(other) {
                        assert_ended(&mut tab, "revoked");
                    }
                }
                1
            }
            // The id was superseded before this was read.
            _ => {
                assert_eq!(end.refused(), refusal(401, "session_ended"));
                3
            }
        };
        assert_eq!(caller.clone().listed().len(), remain);
    }
}
