//! A person whose browser still has the old cookie.

use fantoccini::Locator;
use sessile::SessionStore;

use super::fixture::{HOUR, migrate, place, put};
use crate::support::Showcase;
use crate::support::browser::Driver;

const OLD: &str = "f4bb2a0e-8f3c-4e9b-a0a5-1f5d1a3b9c10";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_with_an_old_cookie_is_signed_in_and_gets_a_new_one() {
    let (server, store) = place().await;
    let record = r#"{"user_id": "alice", "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": {}}"#;
    put(
        &server,
        &format!("session:{OLD}"),
        record.as_bytes(),
        Some(HOUR),
    );
    migrate(&store).await;
    let until = humantime::format_rfc3339_seconds(store.now() + HOUR).to_string();
    let options = ["--insecure-cookies", "--accept-legacy", &until];
    let (showcase, driver) = (Showcase::on(&server.url(), &options), Driver::start());
    let browser = driver.browser().await;
    browser.goto(showcase.url()).await.unwrap();
    let old = format!("document.cookie = 'session={OLD}; path=/'");
    browser.execute(&old, Vec::new()).await.unwrap();
    for _ in 0..2 {
        browser.goto(showcase.url()).await.unwrap();
        let hello = Locator::XPath("//h1[normalize-space()='Hello alice']");
        browser.wait().for_element(hello).await.unwrap();
        let cookie = browser.get_named_cookie("session").await.unwrap();
        assert_ne!(cookie.value(), OLD);
    }
    assert_eq!(store.list("alice".into()).await.unwrap().len(), 1);
    browser.picture("migrated").await;
    browser.close().await;
}
