//! The service: gives each request its context.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as TaskContext, Poll};

use http::{HeaderMap, Request, Response, header};
use tower_service::Service;

use super::future::ResponseFuture;
use crate::error::Error;
use crate::problem::ErrorKind;
use crate::session::{Area, Context, Current};

/// A service with sessions: what [`SessionLayer`](crate::SessionLayer) makes.
#[derive(Debug, Clone)]
pub struct SessionService<S> {
    inner: S,
    area: Arc<Area>,
}

impl<S> SessionService<S> {
    pub(super) const fn new(inner: S, area: Arc<Area>) -> Self {
        Self { inner, area }
    }
}

/// How this layer meets those around it.
enum Meeting {
    /// None of them is this one, or has its cookie.
    New,
    /// This very layer is among them.
    Again,
    /// Another one has the same cookie.
    Clash,
}

fn meet(area: &Arc<Area>, current: Option<&Current>) -> Meeting {
    let mut around = current.map(|current| &current.0);
    while let Some(context) = around {
        if Arc::ptr_eq(&context.area, area) {
            return Meeting::Again;
        }
        if context.area.config.cookie.name == area.config.cookie.name {
            return Meeting::Clash;
        }
        around = context.outer.as_ref();
    }
    Meeting::New
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for SessionService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match meet(&self.area, request.extensions().get()) {
            Meeting::New => {}
            Meeting::Again => return ResponseFuture::passing(self.inner.call(request)),
            Meeting::Clash => return ResponseFuture::refused(clash(&self.area)),
        }
        let context = Arc::new(Context::new(
            &self.area,
            request.method(),
            request.headers(),
            request.extensions(),
        ));
        // Browsers say where they are with what may change something: a login is among that.
        if self.area.config.cookie.secure && !request.method().is_safe() {
            self.area.note_plain_http(request.headers(), &context);
        }
        if context.has_no_address() {
            self.area.note_unknown_address();
        }
        request
            .extensions_mut()
            .insert(Current(Arc::clone(&context)));
        ResponseFuture::running(self.inner.call(request), context)
    }
}

fn clash(area: &Area) -> Error {
    let name = &area.config.cookie.name;
    let error = Error::new(ErrorKind::Misconfigured).with_detail(format!(
        "two session layers around one route both use the cookie {name:?}: the outer and the inner \"{name}\". Use one \
         layer (a clone of it may stand in several places), or give one of them another `cookie_name` (sessile {})",
        env!("CARGO_PKG_VERSION")
    ));
    if !area.clashed.swap(true, Relaxed) {
        tracing::error!(target: "sessile", %error);
    }
    error
}

impl Area {
    /// Says once why nobody stays signed in who comes by plain http from another host: browsers do not keep `Secure`
    /// cookies there. What tells is the browser's own `Origin`, which no proxy rewrites.
    fn note_plain_http(&self, headers: &HeaderMap, context: &Context) {
        let Some(host) = headers
            .get(header::ORIGIN)
            .and_then(|origin| origin.as_bytes().strip_prefix(b"http://"))
        else {
            return;
        };
        // Who brings the cookie has kept it.
        if is_local(host) || context.has_cookie() || self.warned.swap(true, Relaxed) {
            return;
        }
        tracing::warn!(
            target: "sessile",
            origin = %String::from_utf8_lossy(host),
            "a browser came by plain http from a host that is not this one: it will not keep the session cookie, which \
             is Secure. Serve https, or, in development, use localhost or insecure_cookies()"
        );
    }
}

impl Area {
    /// Says once that nobody's address is known: sessions are served all the same.
    fn note_unknown_address(&self) {
        if self.unaddressed.load(Relaxed) || self.unaddressed.swap(true, Relaxed) {
            return;
        }
        tracing::info!(
            target: "sessile",
            "requests come from addresses that are not known: lists of sessions will not show them. Serve with \
             into_make_service_with_connect_info, or put a ClientAddress into the extensions"
        );
    }
}

/// Hosts that browsers trust without TLS.
fn is_local(host: &[u8]) -> bool {
    let is = |name: &[u8]| {
        host.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b":"))
    };
    is(b"localhost")
        || host.starts_with(b"127.")
        || is(b"[::1]")
        || host
            .split(|&byte| byte == b':')
            .next()
            .is_some_and(|name| name.ends_with(b".localhost"))
}
