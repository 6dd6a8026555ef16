//! `actix-session` on actix-web, set up as its crate documentation ("Getting started") does with its
//! `RedisSessionStore`, and with its `CookieSessionStore` ("Choosing A Backend"), for it has no store in memory.
//!
//! The cookie's store has no session that a server could end: who keeps an old cookie keeps what is in it.

use std::hint::black_box;
use std::rc::Rc;

use actix_session::storage::{CookieSessionStore, RedisSessionStore};
use actix_session::{Session, SessionMiddleware};
use actix_web::body::MessageBody;
use actix_web::cookie::Key;
use actix_web::dev::{Service, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::error::{ErrorInternalServerError, ErrorNotFound};
use actix_web::web::{self, ServiceConfig};
use actix_web::{App as ActixApp, Error, test};

use super::{DATA_BYTES, data, user};
use crate::app::App;
use crate::request::Number;

type Answer = Result<&'static str, Error>;

pub(super) async fn floor() -> App {
    in_process(ActixApp::new().configure(bare)).await
}

pub(super) async fn in_cookie() -> App {
    let sessions = SessionMiddleware::new(CookieSessionStore::default(), Key::generate());
    in_process(ActixApp::new().wrap(sessions).configure(routes)).await
}

pub(super) async fn over_redis(url: &str) -> App {
    let store = RedisSessionStore::new(url).await.expect("Redis answers");
    let sessions = SessionMiddleware::new(store, Key::generate());
    in_process(ActixApp::new().wrap(sessions).configure(routes)).await
}

/// Serves over Redis, on one thread, and tells where.
///
/// # Errors
///
/// What the server or Redis says.
pub async fn serve(url: &str, listening: impl FnOnce(std::net::SocketAddr)) -> std::io::Result<()> {
    let key = Key::generate();
    let store = RedisSessionStore::new(url)
        .await
        .map_err(std::io::Error::other)?;
    let server = actix_web::HttpServer::new(move || {
        let sessions = SessionMiddleware::new(store.clone(), key.clone());
        ActixApp::new().wrap(sessions).configure(routes)
    })
    .workers(1)
    .bind(("127.0.0.1", 0))?;
    listening(server.addrs()[0]);
    server.run().await
}

async fn in_process<F, B>(app: ActixApp<F>) -> App
where
    F: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    B: MessageBody + 'static,
{
    let service = Rc::new(test::init_service(app).await);
    App::Actix(Box::new(move |request| {
        let answer = service.call(request);
        Box::pin(async {
            match answer.await {
                Ok(response) => response.map_into_boxed_body(),
                Err(error) => panic!("{error}"),
            }
        })
    }))
}

fn bare(config: &mut ServiceConfig) {
    config
        .route("/plain", web::get().to(plain))
        .route("/read", web::get().to(plain))
        .route("/write", web::get().to(bare_write))
        .route("/create", web::get().to(bare_create))
        .route("/login", web::get().to(bare_login));
}

async fn plain() -> &'static str {
    "ok"
}

async fn bare_write(number: Number) -> &'static str {
    black_box(number.0);
    "ok"
}

async fn bare_create() -> &'static str {
    black_box(data());
    "ok"
}

async fn bare_login(number: Number) -> &'static str {
    black_box(user(number.0));
    "ok"
}

fn routes(config: &mut ServiceConfig) {
    config
        .route("/plain", web::get().to(plain))
        .route("/read", web::get().to(read))
        .route("/write", web::get().to(write))
        .route("/create", web::get().to(create))
        .route("/login", web::get().to(login))
        .route("/enter", web::get().to(enter))
        .route("/last", web::get().to(last))
        .route("/me", web::get().to(me));
}

async fn read(session: Session) -> Answer {
    match session.get::<String>("data")? {
        Some(data) if data.len() == DATA_BYTES => Ok("ok"),
        _ => Err(ErrorNotFound("none")),
    }
}

async fn write(session: Session, number: Number) -> Answer {
    session
        .insert("last", number.0)
        .map_err(ErrorInternalServerError)?;
    Ok("ok")
}

async fn create(session: Session) -> Answer {
    session
        .insert("data", data())
        .map_err(ErrorInternalServerError)?;
    Ok("ok")
}

async fn login(session: Session, number: Number) -> Answer {
    session.renew();
    session
        .insert("user", user(number.0))
        .map_err(ErrorInternalServerError)?;
    Ok("ok")
}

async fn enter(session: Session, number: Number) -> Answer {
    session
        .insert("data", data())
        .map_err(ErrorInternalServerError)?;
    login(session, number).await
}

async fn last(session: Session) -> Result<String, Error> {
    let last = session.get::<u64>("last")?;
    Ok(last.map_or_else(|| "none".into(), |number| number.to_string()))
}

async fn me(session: Session) -> Result<String, Error> {
    let user = session.get("user")?;
    Ok(user.unwrap_or_else(|| "nobody".into()))
}
