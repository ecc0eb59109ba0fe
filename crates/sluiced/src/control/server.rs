//! What can be asked.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use sluice_api::{ErrorReply, RELOAD_PATH, STATUS_PATH};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::request::Request;

type Requests = mpsc::Sender<Request>;

/// Answers until the task is aborted.
pub(crate) async fn serve(listener: UnixListener, requests: Requests) {
    let router = Router::new()
        .route(STATUS_PATH, get(status))
        .route(RELOAD_PATH, post(reload))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "no such path", "GET /api/v1/status"))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "no such method here", "GET status, POST reload")
        })
        .with_state(requests);
    if let Err(error) = axum::serve(listener, router).await {
        error!("serve the control socket: {error}");
    }
}

async fn status(State(requests): State<Requests>) -> Response {
    match ask(&requests, Request::Status).await {
        Ok(status) => Json(status).into_response(),
        Err(refusal) => refusal,
    }
}

async fn reload(State(requests): State<Requests>) -> Response {
    match ask(&requests, |answer| Request::Reload(Some(answer))).await {
        Ok(reply) if reply.ok => Json(reply).into_response(),
        Ok(reply) => (StatusCode::UNPROCESSABLE_ENTITY, Json(reply)).into_response(),
        Err(refusal) => refusal,
    }
}

/// Puts a request to the reconcile task and waits for its answer.
async fn ask<T>(
    requests: &Requests,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, Response> {
    let stopping = || refuse(StatusCode::SERVICE_UNAVAILABLE, "sluiced is stopping", "start it again");
    let (sender, answer) = oneshot::channel();
    requests.send(request(sender)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())
}

fn refuse(code: StatusCode, error: &str, hint: &str) -> Response {
    (code, Json(ErrorReply { error: error.to_owned(), hint: hint.to_owned() })).into_response()
}
