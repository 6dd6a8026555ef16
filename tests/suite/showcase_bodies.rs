//! The showcase and bodies of requests that are not what they should be.

use http::Method;

use crate::showcase::refusal;
use crate::support::{Place, on_both};

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
