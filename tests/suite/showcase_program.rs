//! The showcase as a program: its options, its output, its end.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Place, Showcase, on_both, setups};

/// A Redis that nothing asks: what is wrong is found before.
const NOWHERE: &str = "redis://127.0.0.1:1";

#[test]
fn a_bad_option_is_explained_in_five_lines_and_ends_with_2() {
    let cases: [(&[&str], &str); 40] = [
        (&["--bogus"], "--bogus"),
        (&["extra"], "extra"),
        (&["--idle"], "--idle"),
        (&["--idle", "0"], "'0'"),
        (&["--idle", "-1"], "'-1'"),
        (&["--idle", "NaN"], "NaN"),
        (&["--absolute", "inf"], "inf"),
        (&["--absolute", "soon"], "soon"),
        (&["--idle", "1e12"], "hundred years"),
        (&["--idle", "0.0001"], "millisecond"),
        (&["--limit", "0"], "--limit"),
        (&["--limit", "many"], "many"),
        (&["--demo-ttl", "0"], "'0'"),
        (&["--demo-ttl", "1e12"], "of demos"),
        (&["--demo-ttl", "a day"], "a day"),
        (&["--demo-budget", "0"], "--demo-budget"),
        (&["--demo-budget", "-1"], "--demo-budget"),
        (&["--at-limit", "shrug"], "end-oldest, refuse"),
        (&["--listen", "here"], "here"),
        (&["--trusted-proxy", "10.0.0.0/99"], "10.0.0.0/99"),
        (&["--redis"], "--redis"),
        (&["--redis", ""], "redis://"),
        (&["--redis", "127.0.0.1:6379"], "redis://"),
        (&["--redis", "http://127.0.0.1"], "redis://"),
        (&["--redis", "redis://127.0.0.1:99999"], "redis://"),
        (&["--redis", "rediss://127.0.0.1/#insecure"], "#insecure"),
        (&["--redis", NOWHERE, "--namespace", "Shop"], "\"Shop\""),
        (
            &["--redis", NOWHERE, "--namespace", "demo"],
            "demo sessions",
        ),
        (&["--redis", NOWHERE, "--namespace", ""], "--namespace"),
        (&["--namespace", "UPPER"], "\"UPPER\""),
        (&["--namespace", "demo"], "demo sessions"),
        (&["--namespace", ""], "--namespace"),
        (&["--namespace", &"n".repeat(33)], "1 to 32"),
        (&["--accept-legacy", "tomorrow"], "an instant"),
        (&["--accept-legacy", "2027-01-01"], "an instant"),
        (&["--accept-legacy", "2027-01-01T00:00:00"], "an instant"),
        (&["--redis", NOWHERE, "--near-cache", "0"], "--near-cache"),
        (&["--redis", NOWHERE, "--near-cache", "-1"], "--near-cache"),
        (
            &["--redis", NOWHERE, "--near-cache", "99999999"],
            "near cache",
        ),
        (&["--near-cache", "10"], "--redis"),
    ];
    for (options, clue) in cases {
        let output = Showcase::refuse(options);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.contains(clue), "{options:?}: {said}");
        assert!(said.lines().count() <= 5, "{options:?}: {said}");
        assert!(output.stdout.is_empty(), "{options:?} leaves stdout alone");
    }
}

#[test]
fn a_namespace_is_refused_alike_with_redis_and_without() {
    for name in ["UPPER", "demo", "", "a b", "é"] {
        let [with, without] = [&["--redis", NOWHERE][..], &[]].map(|more| {
            let output = Showcase::refuse(&[more, &["--namespace", name]].concat());
            assert_eq!(output.status.code(), Some(2), "{name:?}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        });
        assert_eq!(with, without);
    }
    let longest = "n".repeat(32);
    for name in ["shop_2-a", "0", &longest] {
        Showcase::start(&["--namespace", name]);
        Showcase::on(NOWHERE, &["--namespace", name]);
    }
}

#[test]
fn an_instant_may_have_an_offset_and_decimals() {
    for instant in [
        "2027-01-01T00:00:00Z",
        "2027-01-01T00:00:00+01:00",
        "2027-01-01T00:00:00.25-23:59",
        "2027-01-01t00:00:00z",
    ] {
        Showcase::start(&["--accept-legacy", instant]);
    }
}

#[test]
fn a_password_is_not_in_the_complaint_about_its_url() {
    for url in [
        "redis://app:hunter2@127.0.0.1:99999",
        "redis://app:hunter2@127.0.0.1/name",
        "app:hunter2@127.0.0.1",
        "rediss://app:hunter2@127.0.0.1/#insecure",
    ] {
        let output = Showcase::refuse(&["--redis", url]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{url}: {said}");
        assert!(!said.contains("hunter2"), "{url}: {said}");
    }
}

#[test]
fn a_port_in_use_is_said_and_is_a_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Showcase::refuse(&["--listen", &address]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&address) && said.lines().count() <= 5,
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

on_both!(sigterm_and_ctrl_c_finish_what_runs_and_stop);
fn sigterm_and_ctrl_c_finish_what_runs_and_stop(place: &Place) {
    for signal in ["TERM", "INT"] {
        let mut showcase = place.start(&[]);
        let mut client = showcase.signed_in("alice");
        thread::scope(|scope| {
            let slow = scope.spawn(|| client.post_json("/api/slow/late?ms=700", &json!(1)));
            // Nothing tells from outside that it runs: it is given a moment to arrive.
            thread::sleep(Duration::from_millis(250));
            showcase.signal(signal);
            assert_eq!(slow.join().unwrap().status, 204, "{signal} waits for it");
        });
        let (status, rest) = showcase.wait();
        assert!(status.success(), "{signal} ends it well");
        assert_eq!(rest, "", "stdout has the first line only");
        let log = showcase.log();
        assert!(!log.contains("are lost"), "nothing is: {log}");
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut showcase = Showcase::start(&[]);
    let began = Instant::now();
    let mut running = TcpStream::connect(showcase.address()).unwrap();
    running
        .write_all(
            b"POST /api/slow/late?ms=60000 HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
              content-length: 1\r\n\r\n1",
        )
        .unwrap();
    thread::sleep(Duration::from_millis(250));
    showcase.signal("TERM");
    thread::sleep(Duration::from_millis(100));
    showcase.signal("TERM");
    showcase.wait();
    assert!(began.elapsed() < Duration::from_secs(30));
}

on_both!(no_request_has_a_line_in_the_log);
fn no_request_has_a_line_in_the_log(place: &Place) {
    let mut showcase = place.start(&[]);
    let mut client = showcase.signed_in("alice");
    let before = showcase.log();
    for _ in 0..20 {
        client.get("/api/ping");
        client.get("/api/me");
        client.get("/api/nowhere");
        showcase.client().get("/api/me");
    }
    assert_eq!(showcase.log(), before);
    assert!(
        before.contains("signed_in"),
        "what happens to sessions has: {before}"
    );
}

#[test]
fn the_cookie_is_bound_to_the_host_unless_asked_otherwise() {
    let safe = Showcase::start(&[]).client().login("alice");
    let set = safe.set_cookie().unwrap();
    assert!(set.starts_with("__Host-session="), "{set}");
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(set.contains(attribute), "{attribute} in {set}");
    }
    assert!(!set.contains("Domain") && !set.contains("Max-Age"), "{set}");

    let open = Showcase::start(&["--insecure-cookies"])
        .client()
        .login("alice");
    let set = open.set_cookie().unwrap();
    assert!(
        set.starts_with("session=") && !set.contains("Secure"),
        "{set}"
    );
    assert!(
        set.contains("; HttpOnly") && set.contains("; SameSite=Lax"),
        "{set}"
    );
    let open = Showcase::start(&["--insecure-cookies"])
        .client()
        .post("/api/demo");
    let set = open.set_cookie().unwrap();
    assert!(set.starts_with("demo=") && !set.contains("Secure"), "{set}");
}

#[test]
fn only_a_trusted_proxy_says_where_a_request_comes_from() {
    let address = |showcase: &Showcase| {
        let mut client = showcase
            .client()
            .with("x-forwarded-for", "203.0.113.9, 198.51.100.7");
        client.login("alice");
        client.get("/api/sessions").json()[0]["address"].clone()
    };
    assert_eq!(address(&Showcase::start(&[])), "127.0.0.1");
    let trusting = [
        "--trusted-proxy",
        "10.0.0.0/8",
        "--trusted-proxy",
        "127.0.0.1",
    ];
    assert_eq!(address(&Showcase::start(&trusting)), "198.51.100.7");
}

on_both!(health_names_the_backend_and_is_since_the_start);
fn health_names_the_backend_and_is_since_the_start(place: &Place) {
    let showcase = place.start(&[]);
    let health = showcase.client().get("/api/health");
    let report = health.json();
    assert_eq!(health.status, 200);
    let (backend, on_the_page) = match place {
        Place::Memory => ("memory", "the memory of this process"),
        Place::Redis(_) => ("redis", "Redis: shared by all processes"),
    };
    assert_eq!(report["backend"], backend);
    assert_eq!(report["mode"], "healthy");
    crate::showcase::assert_is_instant(&report["since"]);
    assert_eq!(showcase.client().get("/api/health").json(), report);
    assert!(showcase.client().get("/").text().contains(on_the_page));
    if let Place::Memory = place {
        setups::report(
            "memory",
            concat!("sessile ", env!("CARGO_PKG_VERSION")),
            "1 showcase process",
        );
    }
}
