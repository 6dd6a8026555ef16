//! The showcase's HTTP contract for demos, row by row, as a client meets it.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::showcase::{assert_is_instant, assert_is_uuid, refusal};
use crate::showcase_redis::keys;
use crate::support::crowd::at_once;
use crate::support::wait::wait_for;
use crate::support::{Client, Pair, Place, Server, Showcase, on_both};

/// A browser with a demo.
pub(crate) fn started(showcase: &Showcase, industry: &str) -> Client {
    let mut client = showcase.client();
    let answer = client.post_json("/api/demo", &json!({ "industry": industry }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    client
}

pub(crate) fn say(client: &mut Client, content: &str) -> (u16, Value) {
    let message = json!({ "role": "user", "content": content });
    let answer = client.post_json("/api/demo/messages", &message);
    (answer.status, answer.json())
}

/// What was said, in order.
#[track_caller]
pub(crate) fn contents(client: &mut Client) -> Vec<String> {
    let answer = client.get("/api/demo/messages");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let messages = answer.json();
    let contents = messages.as_array().expect("it is a list").iter();
    contents
        .map(|message| message["content"].as_str().unwrap().to_owned())
        .collect()
}

/// Of so many one may meet a machine that is busy for longer than a request waits: it may be there or not, and is said
/// again if it is not. Gives the message, if it was told.
fn say_surely(client: &mut Client, content: &str) -> Option<Value> {
    wait_for("a message is added", || match say(client, content) {
        (201, message) => Some(Some(message)),
        (503, _) => {
            let answer = client.get("/api/demo/messages");
            let said = answer.json().as_array().cloned().unwrap_or_default();
            let is_there = said.iter().any(|message| message["content"] == content);
            is_there.then_some(None)
        }
        (status, answer) => panic!("{status} for a message: {answer}"),
    })
}

#[track_caller]
fn assert_no_demo(client: &mut Client) {
    for answer in [
        client.get("/api/demo"),
        client.get("/api/demo/messages"),
        client.post_json(
            "/api/demo/messages",
            &json!({ "role": "user", "content": "x" }),
        ),
        // What is asked first is whether there is one.
        client.send_json(Method::POST, "/api/demo/messages", "{"),
    ] {
        assert_eq!(answer.refused(), refusal(404, "no_demo_session"));
    }
}

on_both!(a_demo_is_started_once_and_then_found_again);
fn a_demo_is_started_once_and_then_found_again(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    assert_no_demo(&mut client);
    let answer = client.post_json("/api/demo", &json!({ "industry": "healthcare" }));
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("vary"), Some("cookie"));
    let set = answer.set_cookie().unwrap();
    assert!(set.starts_with("__Host-demo="), "{set}");
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(set.contains(attribute), "{attribute} in {set}");
    }
    assert!(!set.contains("Domain") && !set.contains("Max-Age"), "{set}");

    let status = answer.json();
    assert_is_uuid(&status["session_id"]);
    assert_is_instant(&status["started_at"]);
    assert_is_instant(&status["ends_at"]);
    assert!(status["started_at"].as_str() < status["ends_at"].as_str());
    let expected = json!({
        "session_id": status["session_id"], "industry": "healthcare", "started_at": status["started_at"],
        "ends_at": status["ends_at"], "message_count": 0, "progress_percentage": 0.0, "status": "active",
        "last_interaction": null,
    });
    assert_eq!(status, expected);

    say(&mut client, "hello");
    let again = client.post_json("/api/demo", &json!({ "industry": "media" }));
    assert_eq!((again.status, again.set_cookie()), (200, None));
    assert_eq!(again.json()["session_id"], status["session_id"]);
    assert_eq!(again.json()["industry"], "healthcare");
    assert_eq!(again.json()["message_count"], 1);
    assert_eq!(client.get("/api/demo").json(), again.json());
}

on_both!(an_industry_is_known_or_as_given_or_general);
fn an_industry_is_known_or_as_given_or_general(place: &Place) {
    let showcase = place.start(&[]);
    let longest = "é".repeat(32);
    for (body, industry) in [
        ("", "general"),
        (" \n", "general"),
        ("{}", "general"),
        (r#"{"industry":null}"#, "general"),
        (r#"{"industry":""}"#, "general"),
        (r#"{"industry":" \t"}"#, "general"),
        (r#"{"industry":"Financial Services"}"#, "financial"),
        (r#"{"industry":"ECOMMERCE"}"#, "ecommerce"),
        (
            r#"{"industry":" Deep-sea mining ","more":1}"#,
            "Deep-sea mining",
        ),
        (&format!(r#"{{"industry":"{longest}"}}"#), &longest),
    ] {
        let mut client = showcase.client();
        let answer = client.send_json(Method::POST, "/api/demo", body);
        assert_eq!(answer.status, 201, "{body}: {}", answer.text());
        assert_eq!(answer.json()["industry"], industry, "{body}");
    }
    let bare = showcase.client().send(Method::POST, "/api/demo", None);
    assert_eq!(
        (bare.status, &bare.json()["industry"]),
        (201, &json!("general"))
    );

    let mut client = showcase.client();
    for (body, status) in [
        (r#"{"industry":5}"#, 422),
        (r#"{"industry":["media"]}"#, 422),
        (r#"{"industry":{}}"#, 422),
        (r#"{"industry":false}"#, 422),
        (r#""media""#, 422),
        (r#"["media"]"#, 422),
        ("[]", 422),
        ("null", 422),
        (&format!(r#"{{"industry":"{longest}x"}}"#), 422),
        ("{", 400),
        ("media", 400),
        (r#"{"industry":"\ud800"}"#, 400),
    ] {
        let answer = client.send_json(Method::POST, "/api/demo", body);
        assert_eq!(answer.refused().0, status, "{body}: {}", answer.text());
    }
    let form = client.post_form("/api/demo", "industry=media");
    assert_eq!(form.refused(), refusal(400, "bad_request"));
    assert_eq!(client.demo, None, "a refusal starts nothing");
}

on_both!(a_message_keeps_its_metadata_and_has_the_servers_time);
fn a_message_keeps_its_metadata_and_has_the_servers_time(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = started(&showcase, "technology");
    let posted = json!({
        "role": "assistant", "content": "é \"quoted\"\n\u{1F600}", "confidence": 0.95, "sources": ["a", {"b": [1, null]}],
        "id": "mine", "at": 1, "total": -1, "metadata": {"deep": true}, "": "nameless",
    });
    let answer = client.post_json("/api/demo/messages", &posted);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let mut message = answer.json();
    assert_is_instant(&message["timestamp"]);
    let status = client.get("/api/demo").json();
    assert_eq!(status["last_interaction"], message["timestamp"]);
    assert!(status["started_at"].as_str() <= message["timestamp"].as_str());
    assert_eq!(client.get("/api/demo/messages").json(), json!([message]));
    message.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(message, posted);
}

on_both!(a_time_that_the_client_says_does_not_count);
fn a_time_that_the_client_says_does_not_count(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = started(&showcase, "general");
    let began = client.get("/api/demo").json()["started_at"].clone();
    for time in [
        json!("2020-01-01T00:00:00.000Z"),
        json!("soon"),
        json!(5),
        json!(null),
    ] {
        let posted = json!({ "role": "user", "content": "x", "note": 1, "timestamp": time });
        let answer = client.post_json("/api/demo/messages", &posted);
        assert_eq!(answer.status, 201, "{time}: {}", answer.text());
        let message = answer.json();
        assert_is_instant(&message["timestamp"]);
        assert!(began.as_str() <= message["timestamp"].as_str(), "{message}");
        assert_eq!(message["note"], 1);
        let kept = client.get("/api/demo/messages").json();
        assert_eq!(kept.as_array().unwrap().last(), Some(&message));
    }
}

on_both!(a_message_that_is_none_is_422_and_nothing_is_added);
fn a_message_that_is_none_is_422_and_nothing_is_added(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = started(&showcase, "general");
    say(&mut client, "kept");
    for body in [
        json!({}),
        json!({ "role": "user" }),
        json!({ "content": "x" }),
        json!({ "role": "", "content": "x" }),
        json!({ "role": "user", "content": "" }),
        json!({ "role": " \n", "content": "x" }),
        json!({ "role": "user", "content": " \t " }),
        json!({ "role": 5 }),
        json!({ "role": 5, "content": "x" }),
        json!({ "role": null, "content": "x" }),
        json!({ "role": "user", "content": null }),
        json!({ "role": "user", "content": ["x"] }),
        json!({ "role": "user", "content": { "text": "x" } }),
        json!(["user", "x"]),
        json!("user"),
        json!(null),
    ] {
        let answer = client.post_json("/api/demo/messages", &body);
        assert_eq!(answer.refused().0, 422, "{body}: {}", answer.text());
    }
    for (body, status) in [
        ("", 400),
        ("{", 400),
        (r#"{"role":"user","content":"\ud800"}"#, 400),
        (r#"{"role":"user","role":"admin","content":"x"}"#, 422),
    ] {
        let answer = client.send_json(Method::POST, "/api/demo/messages", body);
        assert_eq!(answer.refused().0, status, "{body}");
    }
    let form = client.post_form("/api/demo/messages", "role=user&content=x");
    assert_eq!(form.refused(), refusal(400, "bad_request"));
    assert_eq!(contents(&mut client), ["kept"]);
}

on_both!(progress_is_messages_over_six_and_completed_demos_go_on);
fn progress_is_messages_over_six_and_completed_demos_go_on(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = started(&showcase, "media");
    for count in 1..=8_u32 {
        say(&mut client, &count.to_string());
        let status = client.get("/api/demo").json();
        let percent = (f64::from(count) / 6.0 * 100.0).min(100.0);
        assert_eq!(status["message_count"], count);
        assert_eq!(status["progress_percentage"].as_f64(), Some(percent));
        let word = if count < 6 { "active" } else { "completed" };
        assert_eq!(status["status"], word);
    }
}

on_both!(what_is_over_a_bound_is_413_and_nothing_is_lost);
fn what_is_over_a_bound_is_413_and_nothing_is_lost(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = started(&showcase, "general");
    let too_large = refusal(413, "too_large");
    let huge = "x".repeat(65 << 10);
    for message in [
        json!({ "role": "user", "content": huge }),
        json!({ "role": "user", "content": "x", "note": huge }),
        json!({ "role": "r".repeat(65), "content": "x" }),
        json!({ "role": "user", "content": "x".repeat(15 << 20) }),
    ] {
        let answer = client.post_json("/api/demo/messages", &message);
        assert_eq!(answer.refused(), too_large);
    }
    // 16 of these are a mebibyte, and the rest of each message is more.
    let large = "x".repeat(63 << 10);
    for number in 0..16 {
        say_surely(&mut client, &format!("{number}{large}"));
    }
    let message = json!({ "role": "user", "content": large });
    let answer = client.post_json("/api/demo/messages", &message);
    assert_eq!(answer.refused(), too_large);
    say_surely(&mut client, "a small one fits");
    assert_eq!(contents(&mut client).len(), 17);

    let mut client = started(&showcase, "general");
    for number in 0..1000 {
        say_surely(&mut client, &number.to_string());
    }
    let message = json!({ "role": "user", "content": "one too many" });
    let answer = client.post_json("/api/demo/messages", &message);
    assert_eq!(answer.refused(), too_large);
    let expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(contents(&mut client), expected);
    assert_eq!(client.get("/api/demo").json()["message_count"], 1000);
}

on_both!(a_demo_is_ended_once_and_its_cookie_with_it);
fn a_demo_is_ended_once_and_its_cookie_with_it(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = started(&showcase, "financial");
    say(&mut client, "hello");
    let mut tab = client.clone();
    let answer = client.delete("/api/demo");
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    let removal = answer.set_cookie().unwrap();
    for part in ["__Host-demo=;", "Max-Age=0", "Secure", "HttpOnly", "Path=/"] {
        assert!(removal.contains(part), "{part} in {removal}");
    }
    assert_no_demo(&mut client);
    assert_no_demo(&mut tab);
    let report = tab.get("/api/demo").json();
    assert_eq!(report["reason"], "logged_out");
    assert_is_instant(&report["at"]);
    for client in [&mut client, &mut tab] {
        assert_eq!(client.delete("/api/demo").status, 204);
        let anew = client.post_json("/api/demo", &json!({ "industry": "media" }));
        assert_eq!(anew.status, 201, "the next one is another one");
        assert_eq!(contents(client), [""; 0]);
    }
}

on_both!(a_demo_ends_by_its_own_clock_which_nothing_moves);
fn a_demo_ends_by_its_own_clock_which_nothing_moves(place: &Place) {
    let showcase = place.start(&["--demo-ttl", "0.5", "--idle", "60"]);
    let mut client = started(&showcase, "media");
    client.login("alice");
    let ends_at = client.get("/api/demo").json()["ends_at"].clone();
    let said = say(&mut client, "hello").1;
    assert!(said["timestamp"].as_str() < ends_at.as_str());
    assert_eq!(client.get("/api/demo").json()["ends_at"], ends_at);
    // The one real wait: these processes have no clock but the machine's.
    thread::sleep(Duration::from_millis(900));
    let over = client.get("/api/demo");
    assert_eq!(over.refused(), refusal(404, "no_demo_session"));
    assert_eq!(over.json()["reason"], "absolute");
    assert!(client.is_signed_in());
    let answer = client.post("/api/demo");
    assert_eq!(answer.status, 201);
}

on_both!(a_demo_and_a_users_session_share_a_browser_and_nothing_else);
fn a_demo_and_a_users_session_share_a_browser_and_nothing_else(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = started(&showcase, "ecommerce");
    say(&mut client, "before");
    let demo = client.demo.clone();
    assert_eq!(client.get("/api/session").json()["kind"], "none");
    client.login("alice");
    assert_eq!(client.demo, demo, "signing in leaves the demo alone");
    client.put("/api/data/x", &json!(1));
    say(&mut client, "signed in");
    assert_eq!(
        client.listed().len(),
        1,
        "a demo is none of the user's sessions"
    );
    client.post("/api/regenerate");
    client.post("/api/logout");
    assert_eq!((&client.cookie, &client.demo), (&None, &demo));
    assert_eq!(contents(&mut client), ["before", "signed in"]);

    client.login("alice");
    assert_eq!(client.delete("/api/demo").status, 204);
    assert_eq!(client.demo, None);
    assert!(client.is_signed_in());
    // The one's id is not the other's.
    let id = |cookie: &Option<String>| {
        cookie
            .as_ref()
            .unwrap()
            .split_once('=')
            .unwrap()
            .1
            .to_owned()
    };
    let mut swapped = started(&showcase, "media");
    let (session, demo) = (id(&client.cookie), id(&swapped.demo));
    swapped.cookie = Some(format!("__Host-session={demo}"));
    swapped.demo = Some(format!("__Host-demo={session}"));
    assert_eq!(swapped.get("/api/session").json()["kind"], "none");
    assert_no_demo(&mut swapped);
}

on_both!(a_made_up_demo_cookie_is_no_demo_and_is_never_adopted);
fn a_made_up_demo_cookie_is_no_demo_and_is_never_adopted(place: &Place) {
    let showcase = place.start(&[]);
    for value in [
        "",
        "x",
        &"A".repeat(47),
        &"A".repeat(6000),
        "demo-1795455942886",
    ] {
        let mut client = showcase.client();
        let planted = Some(format!("__Host-demo={value}"));
        client.demo.clone_from(&planted);
        assert_no_demo(&mut client);
        assert_eq!(client.delete("/api/demo").set_cookies(), [""; 0]);
        assert_eq!(client.post("/api/demo").status, 201);
        assert_ne!(client.demo, planted);
    }
}

on_both!(an_address_starts_as_many_demos_in_an_hour_as_the_budget_says);
fn an_address_starts_as_many_demos_in_an_hour_as_the_budget_says(place: &Place) {
    let options = ["--demo-budget", "3", "--trusted-proxy", "127.0.0.1"];
    // Two processes, where they have something to share.
    let showcases = [place.start(&options), place.start(&options)];
    let shared = matches!(place, Place::Redis(_));
    let client = |number: usize, address: &str| {
        let showcase = &showcases[if shared { number % 2 } else { 0 }];
        showcase.client().with("x-forwarded-for", address)
    };
    let mut holders = Vec::new();
    for number in 0..3 {
        let mut client = client(number, "192.0.2.1");
        assert_eq!(client.post("/api/demo").status, 201);
        holders.push(client);
    }
    for number in 3..5 {
        let answer = client(number, "192.0.2.1").post("/api/demo");
        assert_eq!(answer.refused(), refusal(429, "too_many_demos"));
        let after: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3600).contains(&after), "{after} s");
    }
    for client in &mut holders {
        assert_eq!(client.post("/api/demo").status, 200, "theirs is theirs");
        assert_eq!(say(client, "hello").0, 201);
    }
    assert_eq!(client(0, "192.0.2.2").post("/api/demo").status, 201);
}

on_both!(a_form_on_another_site_starts_no_demo_and_adds_nothing);
fn a_form_on_another_site_starts_no_demo_and_adds_nothing(place: &Place) {
    let showcase = place.start(&[]);
    for (site, status) in [
        ("cross-site", 403),
        ("same-site", 403),
        ("same-origin", 201),
    ] {
        let mut client = showcase.client().with("sec-fetch-site", site);
        let answer = client.post("/api/demo");
        assert_eq!(answer.status, status, "{site}");
        if status == 403 {
            assert_eq!(answer.refused(), refusal(403, "forbidden"));
        }
    }
}

#[test]
fn a_hundred_writers_at_two_processes_lose_no_message_and_both_have_one_order() {
    let pair = Pair::start(&[]);
    let client = started(pair.turn(0), "manufacturing");
    let said = at_once(100, |number| {
        say_surely(&mut client.at(pair.turn(number)), &number.to_string())
    });
    let orders = pair.both(&client).map(|mut client| {
        let status = client.get("/api/demo").json();
        assert_eq!(status["message_count"], 100);
        assert_eq!(status["status"], "completed");
        client.get("/api/demo/messages").json()
    });
    assert_eq!(orders[0], orders[1]);
    let order = orders[0].as_array().unwrap();
    for message in said.iter().flatten() {
        assert!(order.contains(message), "{message}");
    }
    let contents: BTreeSet<_> = order
        .iter()
        .map(|message| message["content"].as_str())
        .collect();
    assert_eq!(contents.len(), 100, "each is there once");
    let times: Vec<_> = order
        .iter()
        .map(|message| message["timestamp"].as_str())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_demo_cookie_of_another_namespace_is_no_demo() {
    let server = Server::start();
    let options: [&[&str]; 2] = [&["--namespace", "shop"], &["--namespace", "shop-2"]];
    let showcases = options.map(|options| Showcase::on(&server.url(), options));
    let mut client = started(&showcases[0], "media");
    say(&mut client, "hello");
    let mut elsewhere = client.at(&showcases[1]);
    assert_no_demo(&mut elsewhere);
    assert_eq!(elsewhere.delete("/api/demo").status, 204);
    assert_eq!(elsewhere.post("/api/demo").status, 201);
    assert_ne!(elsewhere.demo, client.demo);
    assert_eq!(contents(&mut client), ["hello"]);
    let keys = keys(&server);
    for prefix in ["shop:demo:session:", "shop-2:demo:session:"] {
        assert!(keys.iter().any(|key| key.starts_with(prefix)), "{keys:?}");
    }
}
