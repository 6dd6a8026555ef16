//! The showcase and bodies of requests that are not what they should be.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use http::Method;
use serde_json::{Value, json};

use crate::showcase::refusal;
use crate::support::{Place, Showcase, on_both};

/// Sends this as it is, then no more: the status and the report that come back.
fn answer_to(showcase: &Showcase, sent: &str) -> (u16, Value) {
    let mut connection = TcpStream::connect(showcase.address()).unwrap();
    connection.write_all(sent.as_bytes()).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is answered");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn a_body_that_is_cut_off_or_malformed_is_a_bad_request() {
    let showcase = Showcase::start(&[]);
    let head = "POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    for rest in [
        "content-length: 100\r\n\r\n{\"user\":",
        "transfer-encoding: chunked\r\n\r\n5\r\n{\"u",
        "transfer-encoding: chunked\r\n\r\nno size\r\n",
    ] {
        let (status, report) = answer_to(&showcase, &format!("{head}{rest}"));
        assert_eq!(
            (status, &report["error"]),
            (400, &json!("bad_request")),
            "{rest:?}: {report}"
        );
        assert_ne!(report["message"], "");
    }
}

#[test]
fn a_body_over_the_bound_is_too_large() {
    let showcase = Showcase::start(&[]);
    let mut client = showcase.client();
    // One byte more than is read: all of it is, and so the answer is not lost with the connection.
    let body = json!("x".repeat((16 << 20) - 1));
    let answer = client.put("/api/data/x", &body);
    assert_eq!(answer.refused(), refusal(413, "too_large"));
}

on_both!(a_list_is_no_object);
fn a_list_is_no_object(place: &Place) {
    let showcase = place.start(&[]);
    let mut client = showcase.signed_in("alice");
    for (path, list) in [
        ("/api/login", r#"["alice"]"#),
        ("/api/login", r#"["alice",false]"#),
        ("/api/admin/revoke", r#"["alice",""]"#),
        ("/api/activity", r#"["read","page"]"#),
        ("/api/demo", r#"["media"]"#),
        ("/api/activity", "null"),
        ("/api/login", r#""alice""#),
    ] {
        let answer = client.send_json(Method::POST, path, list);
        assert_eq!(answer.refused(), refusal(422, "invalid"), "{path} {list}");
        let said = answer.json()["message"].to_string();
        assert!(said.contains("expected an object"), "{path} {list}: {said}");
    }
    assert!(client.is_signed_in(), "nothing was revoked");
    let look = client.get("/api/security").json();
    assert_eq!(look["activity_count"], 0);
    let again = r#"{"user":"alice","user":"bob"}"#;
    let answer = client.send_json(Method::POST, "/api/login", again);
    assert_eq!(answer.refused(), refusal(422, "invalid"));
}
