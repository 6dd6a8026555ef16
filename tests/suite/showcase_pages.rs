//! The showcase's pages over plain HTTP; what only a browser can tell is in `browser.rs`.

use http::Method;
use serde_json::json;

use crate::support::client::Answer;
use crate::support::{Client, Place, on_both};

#[track_caller]
fn assert_goes_home(answer: &Answer) {
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
}

#[track_caller]
fn assert_is_page(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status);
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        answer.text().contains(text),
        "{text:?} in {}",
        answer.text()
    );
}

fn sign_in(client: &mut Client, user: &str) {
    let answer = client.post_form("/sign-in", &format!("user={user}"));
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/?signed-in=1"))
    );
    assert_goes_home(&client.get("/?signed-in=1"));
}

on_both!(a_page_lets_nothing_foreign_in_and_is_not_cached);
fn a_page_lets_nothing_foreign_in_and_is_not_cached(place: &Place) {
    let showcase = place.start(&[]);
    let page = showcase.client().get("/");
    assert_is_page(&page, 200, "<h1>Sign in</h1>");
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "style-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(rule), "{rule} in {policy}");
    }
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.set_cookie(), None, "a look costs no cookie");
    assert!(!page.text().contains("<script"), "no script is needed");
    let style = showcase.client().get("/style.css");
    assert_eq!(
        (style.status, style.header("content-type")),
        (200, Some("text/css; charset=utf-8"))
    );
}

on_both!(a_person_signs_in_keeps_lists_and_signs_out);
fn a_person_signs_in_keeps_lists_and_signs_out(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    assert_goes_home(&client.post_form("/list/cart/add", "item=+green+tea+"));
    assert_goes_home(&client.post_form("/list/notes/add", "item=milk"));
    sign_in(&mut client, "alice");
    let page = client.get("/");
    assert_is_page(&page, 200, "Hello alice");
    assert!(page.text().contains("green tea") && !page.text().contains("milk"));
    assert_eq!(client.get("/api/data/cart").json(), json!(["green tea"]));
    assert_goes_home(&client.post_form("/list/cart/remove", "item=green+tea"));
    assert_eq!(client.get("/api/data/cart").json(), json!([]));

    let before = client.cookie.clone();
    assert_goes_home(&client.post("/regenerate"));
    assert_ne!(client.cookie, before);
    assert_goes_home(&client.post("/sign-out"));
    assert_eq!(client.cookie, None);
    assert_is_page(&client.get("/"), 200, "<h1>Sign in</h1>");
}

on_both!(a_form_leaves_what_is_no_list_of_texts_as_it_is);
fn a_form_leaves_what_is_no_list_of_texts_as_it_is(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client();
    for value in [
        r#"{"b": 1.10,  "a": 123456789012345678901234567890}"#,
        r#"["tea", 1.0]"#,
        r#""tea""#,
        "1e2",
        "null",
    ] {
        for name in ["cart", "notes"] {
            let path = format!("/api/data/{name}");
            assert_eq!(client.send_json(Method::PUT, &path, value).status, 204);
            for form in ["add", "remove"] {
                let answer = client.post_form(&format!("/list/{name}/{form}"), "item=tea");
                assert_is_page(&answer, 409, "is no list of texts");
                assert_eq!(client.get(&path).text(), value, "{form} leaves it");
            }
        }
    }
    client.delete("/api/data/cart");
    assert_goes_home(&client.post_form("/list/cart/add", "item=tea"));
    assert_eq!(client.get("/api/data/cart").text(), r#"["tea"]"#);
}

on_both!(a_remembered_cookie_outlives_the_browser);
fn a_remembered_cookie_outlives_the_browser(place: &Place) {
    let showcase = place.start(&[]);
    let answer = showcase
        .client()
        .post_form("/sign-in", "user=alice&remember=yes");
    let (_, age) = answer.set_cookie().unwrap().split_once("Max-Age=").unwrap();
    let age: u32 = age.split(';').next().unwrap().parse().unwrap();
    assert!(
        (2_591_000..=2_592_000).contains(&age),
        "30 days, not {age} s"
    );
}

on_both!(what_people_write_is_shown_as_text);
fn what_people_write_is_shown_as_text(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.client().with("user-agent", "<b>agent</b>");
    sign_in(&mut client, "%3Ci%3Eeve%3C/i%3E");
    client.post_form("/list/cart/add", "item=%22%3E%3Cimg+src%3Dx%3E");
    client.put("/api/data/notes", &json!({ "<u>": 1 }));
    let page = client.get("/").text();
    for foreign in ["<i>", "<b>", "<img", "<u>"] {
        assert!(!page.contains(foreign), "{foreign} is escaped");
    }
    assert!(page.contains("&lt;i&gt;eve") && page.contains("Set through the API"));
}

on_both!(a_device_is_ended_by_its_button_and_told_so);
fn a_device_is_ended_by_its_button_and_told_so(place: &Place) {
    let showcase = place.start(&[]);
    let (mut laptop, mut phone) = (showcase.client(), showcase.client());
    sign_in(&mut laptop, "alice");
    sign_in(&mut phone, "alice");
    let handle = phone.get("/api/session").json()["handle"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_goes_home(&laptop.post_form("/sessions/end", &format!("handle={handle}")));
    assert_is_page(&phone.get("/"), 200, "ended from another device");
    assert_is_page(
        &phone.post("/sessions/end-others"),
        401,
        "ended from another device",
    );
    sign_in(&mut phone, "alice");
    assert_goes_home(&laptop.post("/sessions/end-others"));
    assert_is_page(&phone.get("/"), 200, "ended from another device");
    laptop.post_json(
        "/api/admin/revoke",
        &json!({ "user": "alice", "reason": "a <lost> laptop" }),
    );
    assert_is_page(&laptop.get("/"), 200, "a &lt;lost&gt; laptop");
}

on_both!(a_refusal_is_a_page);
fn a_refusal_is_a_page(place: &Place) {
    let showcase = place.start(&["--limit", "1", "--at-limit", "refuse"]);
    let mut client = showcase.client();
    assert_is_page(&client.get("/nowhere"), 404, "There is no such page");
    assert_is_page(&client.post("/"), 405, "That did not work");
    assert_is_page(
        &client.post_form("/sign-in", "user="),
        422,
        "1 to 256 bytes",
    );
    assert_is_page(
        &client.post_form("/sign-in", "name=x"),
        422,
        "missing field",
    );
    assert_is_page(
        &client.post_form("/list/cart/add", "item=++"),
        422,
        "1 to 100 characters",
    );
    assert_is_page(
        &client.post_form("/list/other/add", "item=x"),
        400,
        "That did not work",
    );
    assert_is_page(&client.post("/sessions/end-others"), 401, "Please sign in");
    sign_in(&mut client, "alice");
    let full = showcase.client().post_form("/sign-in", "user=alice");
    assert_is_page(&full, 409, "as many devices as allowed");
}

on_both!(a_form_on_another_site_does_nothing);
fn a_form_on_another_site_does_nothing(place: &Place) {
    let showcase = place.start(&[]);
    for (site, status) in [
        ("cross-site", 403),
        ("same-site", 403),
        ("same-origin", 303),
        ("none", 303),
    ] {
        let mut client = showcase.client().with("sec-fetch-site", site);
        assert_eq!(
            client.post_form("/sign-in", "user=alice").status,
            status,
            "{site}"
        );
        assert_eq!(
            client.send(Method::GET, "/", None).status,
            200,
            "a link from elsewhere is fine"
        );
    }
}
