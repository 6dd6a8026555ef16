//! What browsers are told to refuse, and what is refused to browsers.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problems::Refusal;

/// Forms of other sites change nothing here. `SameSite=Lax` keeps the cookie from them already; this also keeps them
/// from signing somebody in as somebody else, which needs no cookie. Browsers say where a form stands; what says nothing
/// is no browser of today.
pub(crate) async fn refuse_foreign_forms(request: Request, next: Next) -> Response {
    let site = request.headers().get("sec-fetch-site");
    let foreign = site.is_some_and(|site| site != "same-origin" && site != "none");
    if foreign && request.method() == Method::POST {
        let message = "This form stands on another site.";
        return Refusal::new(StatusCode::FORBIDDEN, "forbidden", message).into_response();
    }
    next.run(request).await
}

/// Nothing but this site's own style and script, no frame around it, and no form that leads away.
pub(super) fn add_headers(headers: &mut HeaderMap) {
    const CONTENT: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
                           frame-ancestors 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
