//! The records of the field, byte for byte, and what each becomes.

use std::time::{Duration, SystemTime};

use sessile::migrate::Shape;
use sessile::{Kind, SessionStore};

use super::fixture::{self, HOUR, WRITTEN, at, checked, messages, place, put, session, values};

/// A record of a user session.
struct User {
    id: &'static str,
    bytes: &'static [u8],
    user: Option<&'static str>,
    /// `None`: it is not said, and so not before the migration.
    created: Option<SystemTime>,
    seen: Option<SystemTime>,
    address: Option<&'static str>,
    agent: Option<&'static str>,
    values: &'static [(&'static str, &'static str)],
}

const MICROS: Duration = Duration::from_micros(886_408);

fn users() -> Vec<User> {
    let written = at(WRITTEN);
    let plain = |id, bytes: &'static str| User {
        id,
        bytes: bytes.as_bytes(),
        user: Some("u1"),
        created: Some(written),
        seen: Some(written),
        address: None,
        agent: None,
        values: &[],
    };
    vec![
        // As Python writes it. The id's milliseconds tell that the clock on the wall was UTC.
        User {
            user: Some("user_42"),
            created: Some(written + MICROS),
            seen: Some(written + MICROS + Duration::from_secs(61)),
            values: &[("email", r#""a@b""#)],
            ..plain(
                "user_42_1741081542886",
                r#"{"session_id": "user_42_1741081542886", "user_id": "user_42", "created_at": "2025-03-04T09:45:42.886408", "last_accessed": "2025-03-04T09:46:43.886408", "data": {"email": "a@b"}}"#,
            )
        },
        // The same where the wall was in Calcutta, a user with all that a user may hold, and no fraction.
        User {
            user: Some("a_b-c@d:e"),
            values: &[("n", "1")],
            ..plain(
                "a_b-c@d:e_1741081542000",
                r#"{"session_id": "a_b-c@d:e_1741081542000", "user_id": "a_b-c@d:e", "created_at": "2025-03-04T15:15:42", "last_accessed": "2025-03-04T15:15:42", "data": {"n": 1}}"#,
            )
        },
        // Any order, unknown fields, of two with one name the later.
        User {
            values: &[
                ("cart", r#"{"x": [1,  2.50]}"#),
                ("role", r#""admin""#),
                ("tier", "3"),
            ],
            ..plain(
                "f4bb2a0e-8f3c-4e9b-a0a5-1f5d1a3b9c10",
                r#"{"tier": 2, "data": {"cart": {"x": [1,  2.50]}, "role": "admin"}, "last_accessed": "2025-03-04T09:45:42", "user_id": "u1", "tier": 3, "created_at": "2025-03-04 09:45:42"}"#,
            )
        },
        // A name that both have is the data's; the other is kept beside it, and so is a name that no value can have.
        User {
            values: &[
                ("role", r#""user""#),
                ("legacy_fields", r#"{"":0,"role":"top"}"#),
            ],
            ..plain(
                "taken",
                r#"{"user_id": "u1", "role": "top", "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": {"role": "user", "": 0}}"#,
            )
        },
        // What is no JSON, and what is hardly JSON.
        User {
            values: &[
                ("huge", "123456789012345678901234567890"),
                ("nan", "null"),
                ("inf", "[null, null, 1e999]"),
                ("half", r#""x\ufffdy""#),
                ("whole", r#""\ud83d\ude00 é""#),
                ("text", r#""NaN \" Infinity""#),
            ],
            ..plain(
                "hardly-json",
                r#"{"user_id": "u1", "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": {"huge": 123456789012345678901234567890, "nan": NaN, "inf": [Infinity, -Infinity, 1e999], "half": "x\ud83dy", "whole": "\ud83d\ude00 é", "text": "NaN \" Infinity"}}"#,
            )
        },
        // A number for a user, as large as it likes, and an empty session.
        User {
            user: Some("123456789012345678901234567890"),
            ..plain(
                "session_bob",
                r#"{"user_id": 123456789012345678901234567890, "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": {}}"#,
            )
        },
        // Nobody, no data, and nothing of when.
        User {
            user: None,
            created: None,
            seen: None,
            ..plain(
                "nobody",
                r#"{"session_id": "nobody", "user_id": null, "created_at": null, "last_accessed": null, "data": null}"#,
            )
        },
        // Data that is no object stays what it is; the old id is kept nowhere.
        User {
            values: &[("data", "[1, 2]")],
            ..plain(
                "sess_1741081542_0123456789abcdef",
                r#"{"user_id": "u1", "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": [1, 2], "own": "sess_1741081542_0123456789abcdef"}"#,
            )
        },
        // The auth service: flat, in UTC.
        User {
            created: Some(written + MICROS),
            seen: Some(written + 2 * HOUR),
            address: Some("192.0.2.7"),
            agent: Some("Mozilla/5.0 (X11; Linux)"),
            values: &[
                ("fingerprint", r#""f00d""#),
                ("device_id", "null"),
                ("session_timeout", "24"),
                ("theme", r#""dark""#),
            ],
            ..plain(
                "qL8J7mZ2kq3x0v9Yx4R-1tT_6wN5sB8dE2fG7hJ9kLm",
                r#"{"user_id": "u1", "created_at": "2025-03-04T09:45:42.886408+00:00", "last_activity": "2025-03-04T11:45:42+00:00", "client_ip": "192.0.2.7", "user_agent": "Mozilla/5.0 (X11; Linux)", "fingerprint": "f00d", "device_id": null, "session_timeout": 24, "theme": "dark"}"#,
            )
        },
        // Its oldest, without an offset: UTC all the same, whatever an id says.
        User {
            ..plain(
                "u1_1741061542000",
                r#"{"user_id": "u1", "created_at": "2025-03-04T09:45:42", "last_activity": "2025-03-04T09:45:42"}"#,
            )
        },
        // The session service: compact.
        User {
            created: Some(written),
            seen: Some(written + Duration::from_millis(250)),
            address: Some("2001:db8::1"),
            agent: Some("app/2"),
            values: &[
                ("step", "2"),
                ("device_id", r#""d-1""#),
                ("metadata", r#"{"a":1}"#),
                ("new_field", "{}"),
            ],
            ..plain(
                "sess_0123456789abcdef0123456789abcdef",
                r#"{"session_id":"sess_0123456789abcdef0123456789abcdef","user_id":"u1","created_at":"2025-03-04T09:45:42Z","last_activity":"2025-03-04T09:45:42.250Z","expires_at":null,"device_id":"d-1","ip_address":"2001:db8::1","user_agent":"app/2","timeout_seconds":3600,"is_valid":true,"is_expired":false,"session_data":{"step":2},"metadata":{"a":1},"migrated_from":"an-old-id","migrated_to":null,"new_field":{}}"#,
            )
        },
        User {
            ..plain(
                "sess_ffffffffffffffffffffffffffffffff",
                r#"{"session_id":"sess_ffffffffffffffffffffffffffffffff","user_id":"u1","created_at":"2025-03-04T09:45:42Z","last_activity":"2025-03-04T09:45:42Z","expires_at":null,"device_id":null,"ip_address":null,"user_agent":null,"timeout_seconds":-5,"is_valid":true,"is_expired":false,"session_data":{},"metadata":{},"migrated_from":null,"migrated_to":null}"#,
            )
        },
    ]
}

#[tokio::test]
async fn every_shape_of_a_user_session_becomes_one_of_ours_with_all_that_it_held() {
    let (server, store) = place().await;
    let cases = users();
    for case in &cases {
        put(
            &server,
            &format!("session:{}", case.id),
            case.bytes,
            Some(HOUR / 2),
        );
    }
    let before = store.now();
    let report = fixture::migrate(&store).await;
    let after = SystemTime::now() + Duration::from_secs(1);
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.migrated.of(Shape::Platform), 8);
    assert_eq!(report.migrated.of(Shape::Auth), 2);
    assert_eq!(report.migrated.of(Shape::Service), 2);
    assert_eq!((report.numbers_mended, report.surrogates_mended), (3, 1));
    for case in &cases {
        let id = case.id;
        let record = session(&store, Kind::User, id)
            .await
            .unwrap_or_else(|| panic!("{id}"));
        assert_eq!(record.user(), case.user, "{id}");
        let stated = |expected: Option<SystemTime>, is: SystemTime| match expected {
            Some(expected) => assert_eq!(is, expected, "{id}"),
            None => assert!((before - HOUR..=after).contains(&is), "{id}: {is:?}"),
        };
        stated(case.created, record.created_at());
        stated(case.seen, record.seen_at());
        assert_eq!(
            record.signed_in_at(),
            case.user.map(|_| record.created_at()),
            "{id}"
        );
        assert_eq!(record.address(), case.address, "{id}");
        assert_eq!(record.user_agent(), case.agent, "{id}");
        let expected: Vec<_> = case
            .values
            .iter()
            .map(|(name, json)| ((*name).to_owned(), (*json).to_owned()))
            .collect();
        assert_eq!(values(&record), expected, "{id}");
        // Its end is the old expiry.
        let (ends, latest) = (record.ends_at(), after + HOUR / 2);
        assert!(
            ends <= latest && ends + Duration::from_secs(20) > latest,
            "{id}: {ends:?}"
        );
        assert!(record.absolute_end() <= latest, "{id}");
        assert!(!record.is_persistent());
        assert!(
            !fixture::exists(&server, &format!("session:{id}")),
            "{id} is still there"
        );
    }
    // In their users' lists, newest first.
    let listed = store.list("u1".into()).await.unwrap();
    assert_eq!(listed.len(), 8);
    for entry in server.dump() {
        let key = String::from_utf8_lossy(&entry.key).into_owned();
        assert!(entry.ttl.is_some(), "inv11: {key}");
        for case in &cases {
            // An id that is also a user's name or a word is in the dump as that.
            let is_secret = case.id.len() > 20;
            assert!(
                !is_secret || !entry.contains(case.id.as_bytes()),
                "{key} has an old id"
            );
        }
    }
}

/// What there is nothing to be made of, and why.
const INVALID: [(&str, &[u8], &str); 20] = [
    (
        "session:cut",
        br#"{"user_id": "u1", "created_at": "2025-0"#,
        "cut off",
    ),
    ("session:cut-escape", br#"{"user_id": "u1\ud8"#, "cut off"),
    ("session:empty", b"", "cut off"),
    ("session:text", b"hello", "no JSON"),
    ("session:list", b"[1, 2]", "no object"),
    ("session:null", b"null", "no object"),
    (
        "session:two",
        br#"{"data": {}, "last_accessed": null} {}"#,
        "no JSON",
    ),
    ("session:binary", b"\x80\x04\x95\x00pickle", "no JSON"),
    (
        "session:bad-utf8",
        b"{\"data\": {}, \"last_accessed\": \"\xff\"}",
        "no JSON",
    ),
    (
        "session:none-of-them",
        br#"{"user_id": "u1", "created_at": "2025-03-04T09:45:42"}"#,
        "none of the fields",
    ),
    (
        "session:half-a-user",
        br#"{"user_id": "a\ud800", "data": {}, "last_accessed": null}"#,
        "user is no text",
    ),
    (
        "session:bool-user",
        br#"{"user_id": true, "data": {}, "last_accessed": null}"#,
        "neither text nor an integer",
    ),
    (
        "session:float-user",
        br#"{"user_id": 1.5, "data": {}, "last_accessed": null}"#,
        "neither text nor an integer",
    ),
    (
        "session:empty-user",
        br#"{"user_id": "", "data": {}, "last_accessed": null}"#,
        "empty or longer",
    ),
    (
        "session:no-time",
        br#"{"user_id": "u1", "created_at": "yesterday", "last_accessed": null, "data": {}}"#,
        "`created_at` is no time",
    ),
    (
        "session:number-time",
        br#"{"user_id": "u1", "last_activity": 1741081542}"#,
        "`last_activity` is no time",
    ),
    (
        "session:",
        br#"{"user_id": "u1", "data": {}, "last_accessed": null}"#,
        "its id is empty",
    ),
    (
        "demo:session:no-role",
        br#"{"messages": [{"role": "user", "content": "a"}, {"content": "b"}]}"#,
        "message 2 has no role",
    ),
    (
        "demo:session:no-list",
        br#"{"messages": {"role": "user"}}"#,
        "messages are no list",
    ),
    (
        "demo:session:industry",
        br#"{"industry": 7}"#,
        "industry is no text",
    ),
];

#[tokio::test]
async fn what_cannot_be_read_is_left_alone_and_told_with_its_reason() {
    let (server, store) = place().await;
    for (key, bytes, _) in INVALID {
        put(&server, key, bytes, Some(HOUR));
    }
    let long = format!(
        r#"{{"data": {{"x": "{}"}}, "last_accessed": null}}"#,
        "x".repeat(70_000)
    );
    put(&server, "session:long", long.as_bytes(), Some(HOUR));
    let _: i64 = fixture::ask(&server, &["SADD", "session:a-set", "x"]);
    let _: i64 = fixture::ask(&server, &["HSET", "demo:session:a-hash", "x", "1"]);
    // What is of other services is not looked at.
    let _: i64 = fixture::ask(&server, &["SADD", "demo:active_sessions", "x"]);
    let _: i64 = fixture::ask(&server, &["RPUSH", "demo:analytics:20250304", "x"]);
    put(
        &server,
        "demo:report:f4bb2a0e-8f3c-4e9b-a0a5-1f5d1a3b9c10",
        b"{}",
        None,
    );
    put(&server, "shop:session:x", b"{}", None);
    let mut before = server.dump();
    let report = fixture::migrate(&store).await;
    let mut after = server.dump();
    for entry in before.iter_mut().chain(&mut after) {
        entry.ttl = entry.ttl.map(|_| HOUR);
    }
    after.retain(|entry| !entry.key.starts_with(b"beat:"));
    before.retain(|entry| !entry.key.starts_with(b"beat:"));
    assert_eq!(before, after, "nothing was touched");
    assert!(!report.is_complete());
    let number = INVALID.len() as u64 + 3;
    assert_eq!(
        (report.scanned, report.invalid),
        (number, number),
        "{report}"
    );
    let reasons = INVALID.map(|(key, _, reason)| (key, reason));
    let more = [
        ("session:long", "a session here may have 65536"),
        ("session:a-set", "it is no string"),
        ("demo:session:a-hash", "it is no string"),
    ];
    for (key, reason) in reasons.into_iter().chain(more) {
        let told = report.problems.iter().find(|problem| problem.key == key);
        let told = told.unwrap_or_else(|| panic!("{key} is not told"));
        assert!(told.reason.contains(reason), "{key}: {}", told.reason);
    }
}

#[tokio::test]
async fn what_is_over_by_what_it_says_itself_does_not_come_along() {
    let (server, store) = place().await;
    let service = |extra: &str| {
        format!(
            r#"{{"session_id":"x","user_id":"u1","created_at":"2025-03-04T09:45:42Z","last_activity":"2025-03-04T09:45:42Z","timeout_seconds":3600,"session_data":{{}},{extra}}}"#
        )
    };
    for (n, extra) in [
        r#""is_valid":false"#,
        r#""is_valid":true,"is_expired":true"#,
        r#""migrated_to":"another""#,
        r#""expires_at":"2025-03-04T10:45:42Z""#,
    ]
    .into_iter()
    .enumerate()
    {
        put(
            &server,
            &format!("session:over-{n}"),
            service(extra).as_bytes(),
            Some(HOUR),
        );
    }
    // The server would keep these for ever: their hour, or what they say, is long over.
    put(
        &server,
        "session:over-4",
        service(r#""is_valid":true"#).as_bytes(),
        None,
    );
    put(&server, "session:over-5", br#"{"user_id": "u1", "created_at": "2025-03-04T09:45:42", "last_accessed": "2025-03-04T09:45:42", "data": {}}"#, None);
    put(&server, "session:over-6", br#"{"user_id": "u1", "created_at": "2025-03-04T09:45:42", "last_activity": "2025-03-04T09:45:42", "session_timeout": -1}"#, None);
    put(
        &server,
        "demo:session:over-7",
        br#"{"started_at": "2025-03-04T09:45:42+00:00"}"#,
        None,
    );
    let report = fixture::migrate(&store).await;
    assert_eq!((report.scanned, report.over), (8, 8), "{report}");
    assert!(report.is_complete());
    assert_eq!(store.list("u1".into()).await.unwrap(), []);
}

#[tokio::test]
async fn what_the_server_never_drops_gets_an_end_from_its_last_request_on() {
    let (server, store) = place().await;
    let now = humantime::format_rfc3339_seconds(store.now() - HOUR / 2);
    let bytes = format!(
        r#"{{"user_id": "u1", "created_at": "{now}", "last_activity": "{now}", "session_timeout": 2}}"#
    );
    put(&server, "session:no-expiry", bytes.as_bytes(), None);
    let ages = Duration::from_secs(10_000_000_000);
    put(&server, "session:ages", bytes.as_bytes(), Some(ages));
    fixture::migrate(&store).await;
    let record = session(&store, Kind::User, "no-expiry").await.unwrap();
    assert_eq!(record.absolute_end(), record.seen_at() + 2 * HOUR);
    let record = session(&store, Kind::User, "ages").await.unwrap();
    assert!(record.absolute_end() <= store.now() + 400 * 24 * HOUR);
    assert!(server.dump().iter().all(|entry| entry.ttl.is_some()));
}

#[tokio::test]
async fn a_wall_clock_is_put_right_by_the_expiry_that_every_read_set() {
    let (server, store) = place().await;
    let seen = store.now() - Duration::from_secs(600);
    // A wall in New York, in winter.
    let wall = humantime::format_rfc3339_micros(seen - 5 * HOUR).to_string();
    let wall = wall.trim_end_matches('Z');
    let bytes = format!(
        r#"{{"session_id": "x", "user_id": "u1", "created_at": "{wall}", "last_accessed": "{wall}", "data": {{}}}}"#
    );
    put(
        &server,
        "session:f4bb2a0e-8f3c-4e9b-a0a5-1f5d1a3b9c10",
        bytes.as_bytes(),
        Some(HOUR - Duration::from_secs(600)),
    );
    // Whoever knows better says so.
    put(&server, "session:said", bytes.as_bytes(), Some(HOUR));
    fixture::migrate(&store).await;
    let record = session(&store, Kind::User, "f4bb2a0e-8f3c-4e9b-a0a5-1f5d1a3b9c10")
        .await
        .unwrap();
    let difference = record
        .seen_at()
        .max(seen)
        .duration_since(record.seen_at().min(seen))
        .unwrap();
    assert!(difference < Duration::from_millis(1), "{difference:?}");

    put(&server, "session:said2", bytes.as_bytes(), Some(HOUR));
    let report = fixture::migration(&store)
        .local_offset(-300)
        .run(|_| {})
        .await
        .unwrap();
    assert_eq!(checked(report).migrated.total(), 1);
    let record = session(&store, Kind::User, "said2").await.unwrap();
    assert!(record.seen_at() <= seen && record.seen_at() + Duration::from_millis(1) > seen);
}

#[tokio::test]
async fn every_shape_of_a_demo_becomes_one_of_ours_with_its_messages_and_their_times() {
    let (server, store) = place().await;
    let day = 24 * HOUR;
    put(
        &server,
        "demo:session:demo-1741081542886",
        r#"{"industry": "healthcare", "user_id": 123, "started_at": "2025-03-04T09:45:42.886408+00:00", "messages": [{"role": "user", "content": "h\u00e9llo", "timestamp": "2025-03-04T09:46:42+00:00", "tokens": 12, "tags": ["a", {"b": NaN}]}, {"role": "assistant", "content": "", "timestamp": "2025-03-04T09:46:43.5+00:00"}, {"role": "user", "content": "no time"}], "session_type": "demo", "referrer": "ad"}"#.as_bytes(),
        Some(day / 2),
    );
    put(&server, "demo:session:7b1f5c54-0d3b-4d47-9a57-3d3c5c8f7f10", br#"{"session_id": "7b1f5c54-0d3b-4d47-9a57-3d3c5c8f7f10", "user_id": "u1", "created_at": "2025-03-04T09:45:42+00:00", "config": {"speed": 2}, "status": "completed", "updated_at": "2025-03-04T09:50:42+00:00", "ended_at": null}"#, Some(HOUR));
    put(&server, "demo:session:bare", b"{}", Some(day / 2));
    put(
        &server,
        "demo:session:display",
        br#"{"industry": " Financial Services ", "messages": []}"#,
        Some(day / 2),
    );
    put(
        &server,
        "demo:session:other",
        r#"{"industry": "Fishing & Söhne"}"#.as_bytes(),
        Some(day / 2),
    );
    let report = fixture::migrate(&store).await;
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.migrated.of(Shape::Demo), 4);
    assert_eq!(report.migrated.of(Shape::DemoStatus), 1);
    assert_eq!((report.messages, report.numbers_mended), (3, 1));

    let demo = session(&store, Kind::Demo, "demo-1741081542886")
        .await
        .unwrap();
    assert_eq!(demo.user(), Some("123"));
    assert_eq!(demo.created_at(), at(WRITTEN + MICROS));
    assert_eq!(demo.touch_threshold(), Duration::ZERO);
    let pair = |name: &str, json: &str| (name.to_owned(), json.to_owned());
    assert_eq!(
        values(&demo),
        [
            pair("industry", r#""healthcare""#),
            pair("steps", "6"),
            pair("referrer", r#""ad""#)
        ]
    );
    let mut list = messages(&server, &store, "demo-1741081542886").await;
    for message in &mut list {
        let message = message.as_object_mut().unwrap();
        assert_eq!(message["id"].as_str().unwrap().len(), 22);
        message.remove("id");
        message.remove("total");
    }
    let micros = |at: Duration| u64::try_from(at.as_micros()).unwrap();
    assert_eq!(
        serde_json::Value::from(list),
        serde_json::json!([
            {"at": micros(WRITTEN + Duration::from_secs(60)), "role": "user", "content": "héllo", "metadata": {"tokens": 12, "tags": ["a", {"b": null}]}},
            {"at": micros(WRITTEN + Duration::from_millis(61_500)), "role": "assistant", "content": ""},
            {"at": micros(WRITTEN + MICROS), "role": "user", "content": "no time"},
        ])
    );

    let status = session(&store, Kind::Demo, "7b1f5c54-0d3b-4d47-9a57-3d3c5c8f7f10")
        .await
        .unwrap();
    assert_eq!(
        (status.user(), status.created_at()),
        (Some("u1"), at(WRITTEN))
    );
    assert_eq!(
        values(&status),
        [
            pair("industry", r#""general""#),
            pair("steps", "6"),
            pair("config", r#"{"speed": 2}"#),
            pair("status", r#""completed""#),
            pair("updated_at", r#""2025-03-04T09:50:42+00:00""#),
            pair("ended_at", "null"),
        ]
    );
    for (id, industry) in [
        ("bare", r#""general""#),
        ("display", r#""financial""#),
        ("other", r#""Fishing & Söhne""#),
    ] {
        let demo = session(&store, Kind::Demo, id).await.unwrap();
        assert_eq!(demo.user(), None);
        assert_eq!(demo.value("industry").unwrap(), industry.as_bytes(), "{id}");
        // A day before its end.
        assert!(
            demo.created_at() <= store.now() - day / 2 + Duration::from_secs(1),
            "{id}"
        );
        assert!(messages(&server, &store, id).await.is_empty());
    }
    assert!(
        server.dump().iter().all(|entry| entry.ttl.is_some()),
        "inv11"
    );
    assert_eq!(
        store.list("u1".into()).await.unwrap(),
        [],
        "a demo is in no user's list"
    );
}
