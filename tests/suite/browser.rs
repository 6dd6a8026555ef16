//! The showcase's pages in a real browser: what a person sees, and what the browser makes of the cookie.

use std::time::{Duration, Instant};

use cookie::{Cookie, SameSite};
use fantoccini::Locator;
use fantoccini::key::Key;

use crate::support::browser::{Browser, Driver};
use crate::support::{Showcase, setups};

/// How long a page may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const COOKIE: &str = "__Host-session";
const DEMO: &str = "__Host-demo";
/// What went wrong otherwise is in the error.
const DONE: &str = "the browser does what it is asked";

impl Browser {
    /// What the element says, once it is there.
    async fn text(&self, css: &str) -> String {
        let element = self.wait().for_element(Locator::Css(css)).await;
        element.expect(DONE).text().await.expect(DONE)
    }

    /// Waits for this text in the page's heading.
    async fn wait_for_heading(&self, text: &str) {
        let path = format!("//h1[normalize-space()='{text}']");
        self.wait()
            .for_element(Locator::XPath(&path))
            .await
            .expect(DONE);
    }

    async fn fill(&self, id: &str, text: &str) {
        let field = self.find(Locator::Id(id)).await.expect(DONE);
        field.send_keys(text).await.expect(DONE);
    }

    async fn click(&self, css: &str) {
        self.find(Locator::Css(css))
            .await
            .expect(DONE)
            .click()
            .await
            .expect(DONE);
    }

    async fn press(&self, key: &str) {
        self.active_element()
            .await
            .expect(DONE)
            .send_keys(key)
            .await
            .expect(DONE);
    }

    /// What has the keyboard: its id, or else its text.
    async fn focused(&self) -> String {
        let element = self.active_element().await.expect(DONE);
        match element.attr("id").await.expect(DONE) {
            Some(id) => id,
            None => element.text().await.expect(DONE),
        }
    }

    async fn count(&self, css: &str) -> usize {
        self.find_all(Locator::Css(css)).await.expect(DONE).len()
    }

    /// Waits until there are so many: a click is answered by another page.
    async fn wait_for_count(&self, css: &str, count: usize) {
        let began = Instant::now();
        while self.count(css).await != count {
            assert!(began.elapsed() < PATIENCE, "{count} of {css}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How far the demo is, in percent, as the bar shows it.
    async fn progress(&self) -> f64 {
        let bar = self.find(Locator::Css("progress")).await.expect(DONE);
        let value = bar
            .attr("value")
            .await
            .expect(DONE)
            .expect("it has a value");
        value.parse().expect("it is a number")
    }

    async fn cookie(&self) -> Cookie<'static> {
        self.get_named_cookie(COOKIE).await.expect(DONE)
    }

    async fn sign_in(&self, showcase: &Showcase, user: &str) {
        self.goto(showcase.url()).await.expect(DONE);
        self.fill("user", user).await;
        self.click("form.card button").await;
        self.wait_for_heading(&format!("Hello {user}")).await;
    }
}

#[tokio::test]
async fn two_browsers_of_one_user_see_each_other_and_one_ends_the_other() {
    let (showcase, driver) = (Showcase::start(&[]), Driver::start());
    let (laptop, phone) = (driver.browser().await, driver.phone().await);
    laptop.sign_in(&showcase, "alice").await;
    phone.sign_in(&showcase, "alice").await;
    laptop.refresh().await.unwrap();
    for browser in [&laptop, &phone] {
        browser.wait_for_count(".devices li", 2).await;
        browser.wait_for_count(".devices li.current", 1).await;
    }
    laptop.picture("signed-in").await;
    phone.picture("signed-in-phone").await;

    laptop.click(".devices li:not(.current) button").await;
    laptop.wait_for_count(".devices li", 1).await;

    phone.refresh().await.unwrap();
    phone.wait_for_heading("Sign in").await;
    let notice = phone.text(".notice").await;
    assert!(notice.contains("ended from another device"), "{notice}");
    phone.picture("ended-phone").await;
    laptop.refresh().await.unwrap();
    laptop.wait_for_heading("Hello alice").await;

    phone.sign_in(&showcase, "alice").await;
    phone.click("form[action='/sign-out'] button").await;
    phone.wait_for_heading("Sign in").await;
    assert_eq!(
        phone.count(".notice").await,
        0,
        "who signs out is not told why they are signed out"
    );
    assert!(phone.get_all_cookies().await.unwrap().is_empty());

    let version = format!("chromium {}", laptop.version());
    laptop.close().await;
    phone.close().await;
    setups::report(
        "browser",
        &version,
        "1 chromedriver, 2 chromium, 1 showcase",
    );
}

#[tokio::test]
async fn signing_in_by_keyboard_changes_the_id_and_keeps_the_cart_alone() {
    let (showcase, driver) = (Showcase::start(&[]), Driver::start());
    let browser = driver.browser().await;
    browser.goto(showcase.url()).await.unwrap();
    assert!(
        browser.get_all_cookies().await.unwrap().is_empty(),
        "a look costs no cookie"
    );
    browser.picture("signed-out").await;
    let weight = browser
        .find(Locator::Css("header a"))
        .await
        .unwrap()
        .css_value("font-weight")
        .await;
    assert_eq!(weight.unwrap(), "700", "the style is let in");

    for (field, list) in [("cart-item", "cart"), ("notes-item", "notes")] {
        browser.fill(field, "tea").await;
        browser.press(&char::from(Key::Enter).to_string()).await;
        let item = format!("section[aria-labelledby={list}] .items li span");
        assert_eq!(browser.text(&item).await, "tea");
    }
    let before = browser.cookie().await;

    let tab = char::from(Key::Tab).to_string();
    let mut order = Vec::new();
    for keys in ["", "alice", " "] {
        browser.press(&tab).await;
        order.push(browser.focused().await);
        if !keys.is_empty() {
            browser.press(keys).await;
        }
    }
    assert_eq!(
        order[..2],
        ["sessile", "user"],
        "the form is the first thing after the name of the site"
    );
    assert_eq!(browser.count("input[name=remember]:checked").await, 1);
    browser.press(&tab).await;
    assert_eq!(browser.focused().await, "Sign in");
    browser.press(&char::from(Key::Enter).to_string()).await;
    browser.wait_for_heading("Hello alice").await;
    assert_eq!(browser.current_url().await.unwrap().path(), "/");
    assert_eq!(browser.current_url().await.unwrap().query(), None);

    let cookie = browser.cookie().await;
    assert_ne!(cookie.value(), before.value(), "signing in changes the id");
    for cookie in [&before, &cookie] {
        assert_eq!(cookie.http_only(), Some(true));
        assert_eq!(cookie.secure(), Some(true));
        assert_eq!(cookie.path(), Some("/"));
        assert_eq!(cookie.same_site(), Some(SameSite::Lax));
    }
    assert_eq!(
        before.expires_datetime(),
        None,
        "a stranger's goes with the browser"
    );
    assert!(
        cookie.expires_datetime().is_some(),
        "who is remembered keeps it"
    );
    assert_eq!(
        browser
            .count("section[aria-labelledby=cart] .items li")
            .await,
        1
    );
    assert_eq!(
        browser
            .count("section[aria-labelledby=notes] .items li")
            .await,
        0
    );
    browser.close().await;
}

#[tokio::test]
async fn a_browser_without_cookies_is_told_so_after_signing_in() {
    let (showcase, driver) = (Showcase::start(&[]), Driver::start());
    let browser = driver.phone().await;
    browser.sign_in(&showcase, "alice").await;
    browser.delete_all_cookies().await.unwrap();
    // Where signing in leads, for a browser that did not keep the cookie.
    browser
        .goto(&format!("{}/?signed-in=1", showcase.url()))
        .await
        .unwrap();
    let notice = browser.text(".notice").await;
    assert!(notice.contains("did not keep the cookie"), "{notice}");
    browser.picture("cookie-lost-phone").await;
    browser.close().await;
}

/// The demo of whoever has no script, and what the browser makes of its cookie.
#[tokio::test]
async fn a_demo_is_chosen_held_and_kept_by_signing_in() {
    let (showcase, driver) = (Showcase::start(&[]), Driver::start());
    let (laptop, phone) = (driver.browser().await, driver.phone().await);
    for (browser, name) in [(&laptop, ""), (&phone, "-phone")] {
        browser.goto(showcase.url()).await.unwrap();
        browser.click("a[href='/demo']").await;
        browser.wait_for_heading("Start a demo").await;
        assert!(
            browser.get_all_cookies().await.unwrap().is_empty(),
            "a look costs no cookie"
        );
        browser.picture(&format!("demo-choice{name}")).await;
        browser.click("button[value=healthcare]").await;
        browser.wait_for_heading("Healthcare demo").await;
        assert_eq!(browser.progress().await, 0.0);

        browser.click("button.ask").await;
        browser.wait_for_count(".talk > li", 2).await;
        assert_eq!(browser.progress().await.round(), 33.0);
        browser.fill("content", "And who pays for that?").await;
        browser.press(&char::from(Key::Enter).to_string()).await;
        browser.wait_for_count(".talk > li", 4).await;
        assert_eq!(
            browser.text(".talk > li:nth-child(3) .content").await,
            "And who pays for that?"
        );
        let known = browser.text(".talk > li:nth-child(4) .known").await;
        assert!(known.contains("confidence: 0."), "{known}");
        let url = browser.current_url().await.unwrap();
        assert_eq!(url.fragment(), Some("latest"));
        assert_eq!(browser.text(".how-far .badge").await, "active");
        browser.click("button.ask").await;
        browser.wait_for_count(".talk > li", 6).await;
        assert_eq!(browser.progress().await, 100.0);
        assert_eq!(browser.text(".how-far .badge").await, "completed");
        browser
            .goto(&format!("{}/demo", showcase.url()))
            .await
            .unwrap();
        browser.picture(&format!("demo-completed{name}")).await;

        let before = browser.get_named_cookie(DEMO).await.unwrap();
        browser.fill("user", "alice").await;
        browser.picture(&format!("demo-keep{name}")).await;
        browser.click("section[aria-labelledby=keep] button").await;
        let kept = browser.text(".kept").await;
        assert_eq!(kept, "This conversation is kept for alice.");
        assert_eq!(browser.count(".talk > li").await, 6);
        assert_eq!(browser.progress().await, 100.0);
        let url = browser.current_url().await.unwrap();
        assert_eq!((url.path(), url.query()), ("/demo", None));
        let after = browser.get_named_cookie(DEMO).await.unwrap();
        assert_ne!(
            after.value(),
            before.value(),
            "its id changes with its owner"
        );
        for cookie in [&before, &after] {
            assert_eq!(cookie.http_only(), Some(true));
            assert_eq!(cookie.secure(), Some(true));
            assert_eq!(cookie.same_site(), Some(SameSite::Lax));
            assert_eq!(cookie.expires_datetime(), None);
        }
        browser.picture(&format!("demo-kept{name}")).await;

        browser.click("form[action='/demo/end'] button").await;
        browser.wait_for_heading("Start a demo").await;
        let cookies = browser.get_all_cookies().await.unwrap();
        let names: Vec<_> = cookies.iter().map(Cookie::name).collect();
        assert_eq!(names, [COOKIE], "signed in still, and without a demo");
        browser.goto(showcase.url()).await.unwrap();
        browser.wait_for_heading("Hello alice").await;
        browser.picture(&format!("demo-home{name}")).await;
    }
    laptop.close().await;
    phone.close().await;
}

#[tokio::test]
async fn a_user_sees_what_happened_and_the_store_is_watched_live() {
    let (showcase, driver) = (Showcase::start(&[]), Driver::start());
    let browser = driver.browser().await;
    browser.sign_in(&showcase, "alice").await;
    browser.click("a[href='/security']").await;
    browser.wait_for_heading("Security of alice").await;
    browser.fill("resource", "/report").await;
    browser.click("form.line button").await;
    browser
        .wait_for_count("section[aria-labelledby=activity] li", 1)
        .await;
    let history = browser.text("section[aria-labelledby=history] li").await;
    assert!(history.contains("Signed in"), "{history}");
    browser.picture("security").await;

    let store = format!("{}/store", showcase.url());
    browser.goto(&store).await.expect(DONE);
    browser.wait_for_heading("The store").await;
    let mut other = showcase.signed_in("bob");
    // Without loading the page again.
    let began = Instant::now();
    let shows = async |count: &str| {
        while browser.text("#user").await != count {
            assert!(began.elapsed() < PATIENCE, "{count} sessions are shown");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    shows("2").await;
    tokio::task::spawn_blocking(move || other.post("/api/logout"))
        .await
        .unwrap();
    shows("1").await;
    let line = browser.find(Locator::Id("line")).await.expect(DONE);
    let points = line.attr("points").await.expect(DONE).unwrap_or_default();
    assert!(points.split(' ').count() >= 2, "it moves: {points}");
    browser.picture("store").await;
    browser.close().await;
}
