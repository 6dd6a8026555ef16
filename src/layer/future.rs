//! The response's future: waits for the handler, stores what it staged, then lets the response go.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, header};
use pin_project_lite::pin_project;

use crate::error::Error;
use crate::record::Record;
use crate::session::{Context, Finish, Outgoing, Phase};

pin_project! {
    /// The future of a [`SessionService`](crate::SessionService)'s response.
    ///
    /// # Cancel safety
    /// Dropped while the handler runs, staged data is dropped with it; what the handler awaited has happened; a
    /// session whose cookie was not sent is ended. Dropped while the commit runs, the commit goes on in the background.
    #[must_use = "futures do nothing until they are polled"]
    pub struct ResponseFuture<F, B> {
        // First, and so dropped first: what the handler still holds then finds that the request is dead.
        guard: Guard,
        #[pin]
        stage: Stage<F, B>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F, B> {
        /// Another layer minds the session.
        Passing { #[pin] inner: F },
        /// The handler runs.
        Running { #[pin] inner: F },
        /// It has answered, and what it staged is being stored.
        Committing { commit: Finish<Result<(), Error>>, response: Option<Response<B>> },
        /// There is nothing to run.
        Refused { error: Option<Error> },
    }
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) const fn passing(inner: F) -> Self {
        Self {
            guard: Guard(None),
            stage: Stage::Passing { inner },
        }
    }

    pub(super) const fn running(inner: F, context: Arc<Context>) -> Self {
        Self {
            guard: Guard(Some(context)),
            stage: Stage::Running { inner },
        }
    }

    pub(super) const fn refused(error: Error) -> Self {
        Self {
            guard: Guard(None),
            stage: Stage::Refused { error: Some(error) },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut stage = this.stage;
        loop {
            let response = match stage.as_mut().project() {
                StageProjection::Passing { inner } => return inner.poll(cx),
                StageProjection::Running { inner } => ready!(inner.poll(cx))?,
                StageProjection::Committing { commit, response } => {
                    let committed = ready!(Pin::new(commit).poll(cx));
                    let response = response
                        .take()
                        .expect("a future is not polled after its end");
                    let response = committed.map_or_else(replacement, |()| response);
                    return Poll::Ready(Ok(finish(this.guard, response)));
                }
                StageProjection::Refused { error } => {
                    let error = error.take().expect("a future is not polled after its end");
                    return Poll::Ready(Ok(replacement(error)));
                }
            };
            if this.guard.is_idle() {
                this.guard.0 = None;
                return Poll::Ready(Ok(response));
            }
            let response = withheld(this.guard, response);
            // Not `is_server_error`: clients take what is above 599 for a 5xx (RFC 9110, 15).
            let failed = response.status().as_u16() >= 500;
            match this.guard {
                Guard(Some(context)) if context.has_work(failed) => {
                    // This one count is the guard's, and the handler is gone: from one no second can come.
                    let shared = Arc::strong_count(context) > 1;
                    let commit =
                        Finish::new(Arc::clone(context).commit_for_response(failed, shared));
                    stage.set(Stage::Committing {
                        commit,
                        response: Some(response),
                    });
                }
                guard => return Poll::Ready(Ok(finish(guard, response))),
            }
        }
    }
}

/// Makes the response final, after which there is nothing to guard.
fn finish<B>(guard: &mut Guard, response: Response<B>) -> Response<B> {
    let Some(context) = &guard.0 else {
        return response;
    };
    let response = context.finish(response);
    guard.0 = None;
    response
}

/// The response, or what goes out in its place where nobody could tell whose request it was.
fn withheld<B: Default>(guard: &Guard, response: Response<B>) -> Response<B> {
    let error = guard
        .0
        .as_ref()
        .filter(|context| context.was_read())
        .and_then(|context| context.state().withheld(response.status()));
    error.map_or(response, replacement)
}

/// The response that says why the handler's does not hold.
fn replacement<B: Default>(error: Error) -> Response<B> {
    error.tell();
    error.problem().clone().into_response(B::default())
}

/// Ends what nobody will ever hold, when the request dies before its response is made: by cancellation, by a panic, or
/// by an error of the service.
#[derive(Debug)]
struct Guard(Option<Arc<Context>>);

impl Guard {
    /// Whether nobody has asked for the session, and nobody can any more: so it is with most requests, and then there is
    /// nothing to look at, to store or to close.
    fn is_idle(&mut self) -> bool {
        let context = self.0.as_mut().and_then(Arc::get_mut);
        context.is_some_and(|context| !context.was_read() && context.asked_demo().is_none())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.abandon();
            if let Some(demo) = context.asked_demo() {
                demo.abandon();
            }
        }
    }
}

impl Context {
    /// Closes the staging; whether there is something to store before the response may go.
    fn has_work(&self, failed: bool) -> bool {
        let demo = self
            .asked_demo()
            .is_some_and(|demo| demo.has_own_work(failed));
        self.has_own_work(failed) || demo
    }

    fn has_own_work(&self, failed: bool) -> bool {
        if !self.was_read() {
            return false;
        }
        let mut state = self.state();
        state.phase = Phase::Committing;
        (!failed && !state.staged.is_empty())
            || state
                .live()
                .is_some_and(|live| live.due.is_some() || live.is_promoted())
    }

    /// Makes the response final: the cookie, and what caches must know.
    fn finish<B>(&self, mut response: Response<B>) -> Response<B> {
        for context in [Some(self), self.asked_demo().map(|demo| &**demo)]
            .into_iter()
            .flatten()
        {
            if context.was_read() {
                context.attach(response.headers_mut());
            }
            context.close();
        }
        response
    }

    fn attach(&self, headers: &mut HeaderMap) {
        vary_by_cookie(headers);
        if let Some(name) = &self.area.config.remaining_header
            && let Some(remaining) = self.remaining()
        {
            headers.insert(name, remaining.header());
        }
        let set = {
            let state = self.state();
            match (&state.cookie, state.live()) {
                (Outgoing::Set, Some(live)) => match live.id {
                    Some(id) => Some((id, self.max_age(&live.record))),
                    // None is sent but its own.
                    None => return,
                },
                (Outgoing::Remove, _) => None,
                (Outgoing::Set, None) | (Outgoing::Nothing, _) => return,
            }
        };
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let config = &self.area.config.cookie;
        match (&self.jar, set) {
            (Some(jar), Some((id, age))) => jar.add(config.set(&id, age)),
            // `add` also for the removal: the jar's own `remove` says nothing if it could not read the request's cookie.
            (Some(jar), None) => jar.add(config.removal()),
            (None, Some((id, age))) => {
                headers.append(header::SET_COOKIE, config.set_header(&id, age));
            }
            (None, None) => {
                headers.append(header::SET_COOKIE, config.removal_header());
            }
        }
    }

    /// How long the browser keeps the cookie, if longer than its own session.
    fn max_age(&self, record: &Record) -> Option<Duration> {
        record.is_persistent().then(|| {
            let end = record.absolute_end();
            end.duration_since(self.area.store.now())
                .unwrap_or(Duration::ZERO)
        })
    }
}

/// What was read under a cookie must not be served to another (RFC 9110, 12.5.5).
fn vary_by_cookie(headers: &mut HeaderMap) {
    let has = headers.get_all(header::VARY).iter().any(|value| {
        value.as_bytes().split(|&byte| byte == b',').any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"cookie")
        })
    });
    if !has {
        headers.append(header::VARY, HeaderValue::from_static("cookie"));
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
