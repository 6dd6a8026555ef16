//! The showcase's demo page over plain HTTP; what only a browser can tell is in `browser.rs`.

use serde_json::json;

use crate::showcase_demo::{contents, say, started};
use crate::support::client::Answer;
use crate::support::{Client, Place, on_both};

#[track_caller]
fn assert_goes_to(answer: &Answer, place: &str) {
    let location = answer.header("location");
    assert_eq!((answer.status, location), (303, Some(place)));
}

/// The page, which must have all of this, and none of that.
#[track_caller]
fn assert_shows(client: &mut Client, texts: &[&str], not: &[&str]) {
    let page = client.get("/demo");
    assert_eq!(page.status, 200);
    let page = page.text();
    for text in texts {
        assert!(page.contains(text), "{text:?} in {page}");
    }
    for text in not {
        assert!(!page.contains(text), "no {text:?} in {page}");
    }
}

/// By the form.
fn start(client: &mut Client, industry: &str) {
    let answer = client.post_form("/demo/start", &format!("industry={industry}"));
    assert_goes_to(&answer, "/demo?started=1");
    assert_goes_to(&client.get("/demo?started=1"), "/demo");
}

fn keep(client: &mut Client, user: &str) {
    let answer = client.post_form("/demo/keep", &format!("user={user}"));
    assert_goes_to(&answer, "/demo?signed-in=1");
    assert_goes_to(&client.get("/demo?signed-in=1"), "/demo");
}

on_both!(a_person_converses_completes_the_demo_and_ends_it);
fn a_person_converses_completes_the_demo_and_ends_it(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    assert!(client.get("/").text().contains(r#"href="/demo""#));
    assert_shows(
        &mut client,
        &["Start a demo", "Healthcare", "E-commerce"],
        &["<script"],
    );
    assert_eq!(
        client.get("/demo").set_cookie(),
        None,
        "a look costs no cookie"
    );
    start(&mut client, "healthcare");
    assert_shows(
        &mut client,
        &["Healthcare demo", "Nothing was said yet.", "active", "0 %"],
        &[],
    );
    let mut last = String::new();
    for (percent, word) in [
        ("33 %", "active"),
        ("67 %", "active"),
        ("100 %", "completed"),
    ] {
        let page = client.get("/demo").text();
        let (_, suggested) = page.split_once("Ask: ").expect("a question is suggested");
        let question = suggested.split('<').next().unwrap().to_owned();
        assert_ne!(question, last);
        let answer = client.post_form("/demo/say", &format!("content={question}"));
        assert_goes_to(&answer, "/demo#latest");
        assert_shows(
            &mut client,
            &[percent, word, &question, "confidence: 0."],
            &[],
        );
        last = question;
    }
    assert_shows(&mut client, &["6 messages"], &["Ask: "]);
    client.post_form("/demo/say", "content=+And+then%3F+");
    let messages = client.get("/api/demo/messages").json();
    let messages = messages.as_array().unwrap();
    assert_eq!(messages.len(), 8, "a completed demo goes on");
    assert_eq!(messages[6]["content"], "And then?");
    for (number, message) in messages.iter().enumerate() {
        let role = ["user", "assistant"][number % 2];
        assert_eq!(message["role"], role);
        assert_eq!(message["confidence"].is_f64(), role == "assistant");
        assert_eq!(message["sources"].is_array(), role == "assistant");
        assert_eq!(message["processing_time_ms"].is_f64(), role == "assistant");
    }

    let mut tab = client.clone();
    assert_goes_to(&client.post("/demo/end"), "/demo");
    assert_eq!(client.demo, None);
    assert_shows(&mut client, &["Start a demo"], &["was ended"]);
    assert_shows(&mut tab, &["Start a demo", "Your demo was ended."], &[]);
    for path in ["/demo/say", "/demo/end"] {
        assert_goes_to(&tab.post_form(path, "content=late"), "/demo");
    }
    start(&mut tab, "Deep-sea+mining");
    assert_shows(&mut tab, &["Deep-sea mining demo"], &[]);
}

on_both!(who_signs_in_on_the_page_keeps_the_conversation);
fn who_signs_in_on_the_page_keeps_the_conversation(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    client.post_form("/list/cart/add", "item=tea");
    client.post_form("/list/notes/add", "item=milk");
    start(&mut client, "media");
    client.post_form("/demo/say", "content=hello");
    let before = contents(&mut client);
    let mut old = client.clone();
    keep(&mut client, "alice");
    assert_ne!(client.demo, old.demo);
    assert_eq!(contents(&mut client), before);
    assert_eq!(client.get("/api/me").json()["user"], "alice");
    assert_eq!(client.get("/api/data/cart").json(), json!(["tea"]));
    assert_eq!(client.get("/api/data/notes").status, 404);
    assert_shows(
        &mut client,
        &["kept for <strong>alice", "hello"],
        &["Sign in and keep"],
    );
    assert_shows(&mut old, &["Start a demo", "under a new one"], &["hello"]);

    // The next one at this browser does not read along.
    client.post("/sign-out");
    for user in [None, Some("bob")] {
        if let Some(user) = user {
            client.login(user);
        }
        assert_shows(
            &mut client,
            &["Sign in as the same user"],
            &["hello", "alice"],
        );
        assert_goes_to(&client.post_form("/demo/say", "content=x"), "/demo");
    }
    keep(&mut client, "alice");
    assert_shows(&mut client, &["kept for <strong>alice", "hello"], &[]);
    assert_eq!(contents(&mut client), before);
}

on_both!(who_is_signed_in_owns_what_they_start_and_may_keep_what_they_started_before);
fn who_is_signed_in_owns_what_they_start_and_may_keep_what_they_started_before(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.signed_in("alice");
    start(&mut client, "technology");
    assert_shows(&mut client, &["kept for <strong>alice"], &["Keep it for"]);

    let mut client = started(&showcase, "technology");
    client.login("bob");
    assert_shows(
        &mut client,
        &["It is nobody’s yet.", "Keep it for bob"],
        &[],
    );
    keep(&mut client, "bob");
    assert_shows(&mut client, &["kept for <strong>bob"], &["Keep it for"]);
    assert_eq!(client.listed().len(), 1, "it is the same browser's session");
}

on_both!(what_was_said_is_shown_as_text_and_only_the_last_of_it);
fn what_was_said_is_shown_as_text_and_only_the_last_of_it(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = started(&showcase, "<b>industry</b>");
    client.post_json(
        "/api/demo/messages",
        &json!({ "role": "<u>role</u>", "content": "<i>content</i>", "<s>": "<img src=x>" }),
    );
    assert_shows(
        &mut client,
        &[
            "&lt;b&gt;industry",
            "&lt;u&gt;role",
            "&lt;i&gt;content",
            "&lt;s&gt;",
        ],
        &["<b>", "<u>", "<i>", "<s>", "<img"],
    );
    for number in 0..120 {
        say(&mut client, &format!("message-{number}."));
    }
    assert_shows(
        &mut client,
        &["21 earlier messages", "message-20.", "message-119."],
        &["message-19."],
    );
}

on_both!(what_a_demos_form_cannot_do_is_said_on_a_page);
fn what_a_demos_form_cannot_do_is_said_on_a_page(place: &Place) {
    let showcase = place.start(&["--demo-budget", "1"]);
    let mut client = showcase.client();
    let long = "x".repeat(65);
    for (path, form, status, text) in [
        (
            "/demo/start",
            format!("industry={long}"),
            422,
            "at most 64 bytes",
        ),
        ("/demo/start", "other=x".into(), 422, "missing field"),
        ("/demo/keep", "user=".into(), 422, "1 to 256 bytes"),
    ] {
        let answer = client.post_form(path, &form);
        assert_eq!(answer.status, status, "{form}");
        assert!(answer.text().contains(text), "{}", answer.text());
    }
    start(&mut client, "media");
    let large = "x".repeat(2001);
    for content in ["", "++", &large] {
        let answer = client.post_form("/demo/say", &format!("content={content}"));
        assert_eq!(answer.status, 422);
        assert!(answer.text().contains("1 to 2000 characters"));
    }
    let refused = showcase.client().post_form("/demo/start", "industry=media");
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.text().contains("Too many demos"));
}

on_both!(a_browser_without_cookies_is_told_so_after_starting_a_demo);
fn a_browser_without_cookies_is_told_so_after_starting_a_demo(place: &Place) {
    let showcase = place.start(&[]);
    let page = showcase.client().get("/demo?started=1").text();
    assert!(page.contains("You started a demo, but your browser did not keep the cookie."));
    let page = showcase.client().get("/demo?signed-in=1").text();
    assert!(
        page.contains("You signed in, but your browser did not keep the cookie."),
        "{page}"
    );
    let mut foreign = showcase.client().with("sec-fetch-site", "cross-site");
    assert_eq!(
        foreign.post_form("/demo/start", "industry=media").status,
        403
    );
}
