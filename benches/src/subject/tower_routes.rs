//! The handlers of `tower-sessions`: the same for the release with its store in memory, and for the one that its Redis
//! store goes with. To the compiler these are two crates with types of their own.

macro_rules! tower_routes {
    ($tower:ident) => {
        use axum::Router;
        use axum::http::StatusCode;
        use axum::routing::get;
        use $tower::Session;

        use super::{Answer, DATA_BYTES, FAILED, data, plain, user};
        use crate::request::Number;

        fn routes() -> Router {
            Router::new()
                .route("/plain", get(plain))
                .route("/read", get(read))
                .route("/write", get(write))
                .route("/create", get(create))
                .route("/login", get(login))
                .route("/enter", get(enter))
                .route("/last", get(last))
                .route("/me", get(me))
        }

        async fn read(session: Session) -> Answer {
            match session.get::<String>("data").await {
                Ok(Some(data)) if data.len() == DATA_BYTES => Ok("ok"),
                _ => Err(StatusCode::NOT_FOUND),
            }
        }

        async fn write(session: Session, number: Number) -> Answer {
            session.insert("last", number.0).await.map_err(|_| FAILED)?;
            Ok("ok")
        }

        async fn create(session: Session) -> Answer {
            session.insert("data", data()).await.map_err(|_| FAILED)?;
            Ok("ok")
        }

        async fn login(session: Session, number: Number) -> Answer {
            session.cycle_id().await.map_err(|_| FAILED)?;
            session
                .insert("user", user(number.0))
                .await
                .map_err(|_| FAILED)?;
            Ok("ok")
        }

        async fn enter(session: Session, number: Number) -> Answer {
            session.cycle_id().await.map_err(|_| FAILED)?;
            session.insert("data", data()).await.map_err(|_| FAILED)?;
            session
                .insert("user", user(number.0))
                .await
                .map_err(|_| FAILED)?;
            Ok("ok")
        }

        async fn last(session: Session) -> String {
            match session.get::<u64>("last").await {
                Ok(Some(number)) => number.to_string(),
                _ => "none".into(),
            }
        }

        async fn me(session: Session) -> String {
            match session.get("user").await {
                Ok(Some(user)) => user,
                _ => "nobody".into(),
            }
        }
    };
}

pub(super) use tower_routes;
