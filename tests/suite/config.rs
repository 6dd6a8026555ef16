//! What a layer refuses to be built with.

use std::time::Duration;

use sessile::{AtLimit, MemoryStore, SameSite, SessionLayer, SessionLayerBuilder};

fn refused(set: impl FnOnce(SessionLayerBuilder) -> SessionLayerBuilder, words: &[&str]) {
    let error = set(SessionLayer::builder(MemoryStore::new()))
        .build()
        .expect_err("it contradicts itself");
    let sentence = error.to_string();
    for word in words {
        assert!(
            sentence.contains(word),
            "{sentence:?} does not say {word:?}"
        );
    }
}

fn allowed(set: impl FnOnce(SessionLayerBuilder) -> SessionLayerBuilder) {
    set(SessionLayer::builder(MemoryStore::new()))
        .build()
        .unwrap();
}

#[test]
fn r11_a_host_prefix_with_a_domain_a_path_or_without_secure_is_refused_in_any_case_of_letters() {
    for name in ["__Host-x", "__HOST-x", "__host-x", "__Host-Http-x"] {
        refused(
            |b| b.cookie_name(name).cookie_domain("example.com"),
            &[name, "domain"],
        );
        refused(|b| b.cookie_name(name).cookie_path("/app"), &[name, "/app"]);
        refused(
            |b| b.cookie_name(name).insecure_cookies(),
            &[name, "Secure"],
        );
        allowed(|b| b.cookie_name(name));
    }
    for name in ["__Secure-x", "__secure-x", "__Http-x"] {
        refused(
            |b| b.cookie_name(name).insecure_cookies(),
            &[name, "Secure"],
        );
        allowed(|b| {
            b.cookie_name(name)
                .cookie_domain("example.com")
                .cookie_path("/app")
        });
    }
    refused(
        |b| b.cookie_domain("example.com"),
        &["__Host-session", "domain"],
    );
}

#[test]
fn r12_same_site_none_and_partitioned_need_secure() {
    refused(
        |b| b.insecure_cookies().same_site(SameSite::None),
        &["SameSite=None", "Secure"],
    );
    refused(
        |b| b.insecure_cookies().partitioned(true),
        &["Partitioned", "Secure"],
    );
    allowed(|b| b.same_site(SameSite::None).partitioned(true));
    allowed(|b| b.insecure_cookies());
}

#[test]
fn r13_names_and_attributes_have_bounds_and_plain_characters() {
    for name in ["", "a b", "a=b", "a;b", "ä", "a\"", "a,b", "a\r\nb"] {
        refused(|b| b.cookie_name(name), &["token"]);
    }
    // An id has 58 characters at most.
    refused(|b| b.cookie_name("x".repeat(4039)), &["4096"]);
    allowed(|b| b.cookie_name("x".repeat(4038)));
    for path in ["", "app", "/a;b", "/a\nb"] {
        refused(|b| b.cookie_name("x").cookie_path(path), &["path"]);
    }
    refused(
        |b| {
            b.cookie_name("x")
                .cookie_path(format!("/{}", "a".repeat(1024)))
        },
        &["1024"],
    );
    for domain in [
        "",
        ".",
        "a;b",
        "https://example.org",
        "example.org:8080",
        "example.org/",
        "example org",
        "example..org",
        "-example.org",
        "*.example.org",
        &"d".repeat(64),
        &["d"; 128].join("."),
    ] {
        refused(
            |b| b.cookie_name("x").cookie_domain(domain),
            &["domain", "host name"],
        );
    }
    for domain in [
        "example.org",
        ".example.org",
        "localhost",
        "xn--bcher-kva.example",
    ] {
        allowed(|b| b.cookie_name("x").cookie_domain(domain));
    }
}

#[test]
fn timeouts_of_nothing_or_for_ever_and_a_limit_of_nobody_are_refused() {
    refused(|b| b.idle_timeout(Duration::ZERO), &["idle timeout"]);
    refused(
        |b| b.absolute_timeout(Duration::MAX),
        &["absolute timeout", "hundred years"],
    );
    refused(
        |b| b.remember_timeouts(Duration::ZERO, Duration::from_secs(1)),
        &["remembered"],
    );
    refused(
        |b| {
            b.idle_timeout(Duration::from_secs(10))
                .touch_threshold(Duration::from_secs(11))
        },
        &["touch threshold"],
    );
    refused(
        |b| b.max_sessions_per_user(0, AtLimit::EndOldest),
        &["0 sessions"],
    );
}
