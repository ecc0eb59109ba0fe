//! Read-only routes, for the HTTP listener and the control socket.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sluice_api::{ErrorReply, HEALTHZ_PATH, LIVE_PATH, METRICS_PATH, READY_PATH, STATUS_PATH};
use tokio::time::timeout;

use super::change_feed::ChangeFeed;
use super::page::page;
use super::ready::ready;
use crate::api::collector::{StatusCollector, Stopping};
use crate::api::metrics::Format;

/// Timeout of `/healthz`.
const PATIENCE: Duration = Duration::from_secs(5);

/// State of the routes: the sources of the answers.
#[derive(Clone)]
pub(super) struct PublicState {
    pub(super) collector: StatusCollector,
    feed: ChangeFeed,
}

/// The read-only routes and the status page, for the HTTP listener.
pub(crate) fn public(collector: StatusCollector, feed: ChangeFeed) -> Router {
    let hint =
        || refuse(StatusCode::NOT_FOUND, "no such page", "see /, /metrics, /healthz and /api/v1/status");
    let method_not_allowed =
        || refuse(StatusCode::METHOD_NOT_ALLOWED, "this address is read-only", "use sluice on the balancer");
    read_only(collector, feed)
        .route("/", get(status_page))
        .fallback(async move || hint())
        .method_not_allowed_fallback(async move || method_not_allowed())
}

/// The read-only routes.
pub(crate) fn read_only(collector: StatusCollector, feed: ChangeFeed) -> Router {
    Router::new()
        .route(STATUS_PATH, get(status))
        .route(LIVE_PATH, get(changes))
        .route(METRICS_PATH, get(metrics))
        .route(HEALTHZ_PATH, get(healthz))
        .route(READY_PATH, get(ready))
        .with_state(PublicState { collector, feed })
}

async fn status_page() -> Response {
    let page = page();
    let policy = HeaderValue::from_static(&page.policy);
    let mut response = answer("text/html; charset=utf-8", Bytes::from_static(page.html.as_bytes()));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

async fn status(State(state): State<PublicState>) -> Result<Response, Stopping> {
    Ok(answer("application/json", state.collector.collect().await?.json().await?))
}

async fn changes(State(state): State<PublicState>) -> Result<Response, Stopping> {
    let events = state.feed.subscribe().await?;
    Ok(answer("text/event-stream", Body::from_stream(events)))
}

async fn metrics(State(state): State<PublicState>, headers: HeaderMap) -> Result<Response, Stopping> {
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::of(accepted);
    let snapshot = state.collector.collect().await?;
    Ok(answer(format.content_type(), snapshot.metrics(format).await?))
}

/// `/healthz`: 200 if the kernel is in sync.
async fn healthz(State(state): State<PublicState>) -> Response {
    let unwell = |why: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response();
    match timeout(PATIENCE, state.collector.view()).await {
        Ok(Ok(view)) => match &view.table.error {
            None => "ok\n".into_response(),
            Some(error) => unwell(format!("not in sync: {error}")),
        },
        Ok(Err(stopping)) => unwell(stopping.to_string()),
        Err(_elapsed) => unwell(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn answer(kind: &'static str, body: impl Into<Body>) -> Response {
    let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, body.into()).into_response()
}

pub(crate) fn refuse(code: StatusCode, error: &str, hint: &str) -> Response {
    (code, axum::Json(ErrorReply { error: error.to_owned(), hint: hint.to_owned() })).into_response()
}

impl IntoResponse for Stopping {
    fn into_response(self) -> Response {
        refuse(StatusCode::SERVICE_UNAVAILABLE, &self.to_string(), "retry when sluiced runs again")
    }
}
