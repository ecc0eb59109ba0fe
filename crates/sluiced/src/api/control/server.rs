//! The routes of the control socket, served by a task on the runtime.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use sluice_api::{
    ALL_BACKENDS, BackendPath, CONNECTIONS_PATH, ChangedBackend, ConnectionsQuery, ErrorReply, FileText,
    MAX_REASON, NODE_PATH, NodeRequest, OVERRIDE_PATH, OVERRIDES_PATH, OverrideChange, OverrideRequest,
    OverridesReply, OverridesRequest, PLAN_PATH, PlanRequest, RELOAD_PATH,
};
use sluice_config::{Loaded, MAX_SIZE, SourceFile, Texts};
use sluice_core::model::MAX_WEIGHT;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::active::active;
use super::body::{BodyLimit, BodyMemory, read_body};
use super::peer::Peer;
use crate::api::collector::{StatusCollector, Stopping};
use crate::api::connections::accept;
use crate::api::http::{ChangeFeed, read_only, refuse};
use crate::conntrack::counter::FlowCounter;
use crate::conntrack::lister::{ConnectionLister, ListError};
use crate::request::{OverrideError, Request, bad_file};

/// Maximum size of a request that changes overrides, in bytes: tens of thousands of backends.
const MAX_OVERRIDES: usize = 2 << 20;

/// Maximum size of a request that makes the node leave or join, in bytes.
const MAX_NODE: usize = 4096;

type Requests = mpsc::Sender<Request>;

/// State of the routes: the channels to the tasks that answer.
pub(crate) struct ControlState {
    /// The configuration file.
    pub(crate) file: PathBuf,
    pub(crate) requests: Requests,
    pub(crate) counter: FlowCounter,
    pub(crate) listing: ConnectionLister,
    pub(crate) collector: StatusCollector,
    pub(crate) feed: ChangeFeed,
}

/// Serves the control socket until the task is aborted.
pub(crate) async fn serve(listener: UnixListener, state: ControlState) {
    let ControlState { file, requests, counter, listing, collector, feed } = state;
    let configurations = BodyLimit::new(MAX_SIZE as usize, 1);
    let overrides = BodyLimit::new(MAX_OVERRIDES, 8);
    let node = BodyLimit::new(MAX_NODE, 8);
    let router = Router::new()
        .route(CONNECTIONS_PATH, get(connections))
        .route(RELOAD_PATH, post(reload))
        .route(PLAN_PATH, post(plan).layer(from_fn_with_state(configurations, read_body)))
        .route(OVERRIDE_PATH, post(set_override).layer(from_fn_with_state(overrides.clone(), read_body)))
        .route(OVERRIDES_PATH, post(set_overrides).layer(from_fn_with_state(overrides, read_body)))
        .route(NODE_PATH, post(set_node).layer(from_fn_with_state(node, read_body)))
        // Bodies were read, and have limits of their own.
        .layer(DefaultBodyLimit::disable())
        .with_state(ApiState { file: file.into(), requests, counter, listing })
        .merge(read_only(collector, feed))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "no such path", "GET /api/v1/status"))
        .method_not_allowed_fallback(async || {
            refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed",
                "GET status, GET connections, POST reload, POST plan, POST override, POST overrides, POST node",
            )
        });
    accept(listener, router).await;
}

/// State of the routes that only the control socket has.
#[derive(Clone)]
struct ApiState {
    file: Arc<Path>,
    requests: Requests,
    counter: FlowCounter,
    listing: ConnectionLister,
}

async fn set_override(
    State(state): State<ApiState>,
    Extension(Peer(uid)): Extension<Peer>,
    request: Result<Json<OverrideRequest>, JsonRejection>,
) -> Response {
    let example = "send {\"service\": \"web\", \"backend\": \"web1\", \"change\": {\"admin\": \"drain\"}}";
    match request {
        Ok(Json(request)) if request.backend == ALL_BACKENDS => {
            refuse(StatusCode::BAD_REQUEST, "one backend only", "POST /api/v1/overrides changes several")
        }
        Ok(Json(request)) => match apply_overrides(state, request.into(), uid).await {
            Ok(reply) => Json(reply.each().next()).into_response(),
            Err(refusal) => refusal,
        },
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.body_text(), example),
    }
}

async fn set_overrides(
    State(state): State<ApiState>,
    Extension(Peer(uid)): Extension<Peer>,
    request: Result<Json<OverridesRequest>, JsonRejection>,
) -> Response {
    let example = "send {\"backends\": [{\"service\": \"web\", \"backend\": \"web1\"}], \"change\": {\"admin\": \"drain\"}}";
    match request {
        Ok(Json(request)) => match apply_overrides(state, request, uid).await {
            Ok(reply) => Json(reply).into_response(),
            Err(refusal) => refusal,
        },
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.body_text(), example),
    }
}

/// Validates a request, has it applied, and adds the number of live connections to the reply.
async fn apply_overrides(
    ApiState { requests, counter, .. }: ApiState,
    request: OverridesRequest,
    uid: u32,
) -> Result<OverridesReply, Response> {
    if matches!(request.change, OverrideChange::Weight(Some(weight)) if weight > MAX_WEIGHT) {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "a weight is at most 256",
            "send a number from 0 to 256, or null",
        ));
    }
    if let Some(refusal) = check_reason(request.reason.as_deref()) {
        return Err(refusal);
    }
    let mut reply = match ask(&requests, |answer| Request::Override(request, uid, answer)).await? {
        Ok(reply) => reply,
        Err(OverrideError::Unknown(reply)) => {
            return Err((StatusCode::NOT_FOUND, Json(reply)).into_response());
        }
        Err(OverrideError::Excessive(reply)) => {
            return Err((StatusCode::BAD_REQUEST, Json(reply)).into_response());
        }
        Err(OverrideError::Pending(reply)) => {
            return Err((StatusCode::INTERNAL_SERVER_ERROR, Json(reply)).into_response());
        }
    };
    // The overrides are already in force; counting may take a while.
    if let Some(flows) = counter.count().await {
        let path = |it: &ChangedBackend| BackendPath {
            service: it.service.clone(),
            backend: it.status.name.clone(),
        };
        let paths: Vec<_> = reply.backends.iter().map(path).collect();
        let active = match ask(&requests, Request::Services).await {
            // There may be many flows to look through.
            Ok(services) => spawn_blocking(move || active(&services, &paths, &flows.flow_counts)).await,
            Err(_stopping) => Ok(vec![]),
        };
        let active = active.unwrap_or_default();
        reply.backends.iter_mut().zip(active).for_each(|(it, active)| it.status.active = active);
    }
    Ok(reply)
}

async fn set_node(
    State(ApiState { requests, .. }): State<ApiState>,
    Extension(Peer(uid)): Extension<Peer>,
    request: Result<Json<NodeRequest>, JsonRejection>,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(error) => {
            return refuse(StatusCode::BAD_REQUEST, &error.body_text(), "send {\"change\": \"leave\"}");
        }
    };
    if let Some(refusal) = check_reason(request.reason.as_deref()) {
        return refusal;
    }
    match ask(&requests, |answer| Request::Node(request, uid, answer)).await {
        Ok(reply) => Json(reply).into_response(),
        Err(refusal) => refusal,
    }
}

/// The refusal of a reason that does not fit on one line.
fn check_reason(reason: Option<&str>) -> Option<Response> {
    let is_bad = |reason: &&str| reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control);
    reason.filter(is_bad).map(|_| {
        refuse(
            StatusCode::BAD_REQUEST,
            &format!("a reason has at most {MAX_REASON} characters, and no control characters"),
            "shorten it to one line",
        )
    })
}

async fn connections(
    State(ApiState { requests, listing, .. }): State<ApiState>,
    query: Result<Query<ConnectionsQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => {
            let example = "ask for ?service=web&backend=web1&limit=100";
            return refuse(StatusCode::BAD_REQUEST, &error.body_text(), example);
        }
    };
    let services = match ask(&requests, Request::Services).await {
        Ok(services) => services,
        Err(refusal) => return refusal,
    };
    match listing.list(&query, services).await {
        // Encoding a hundred thousand connections takes a moment.
        Ok(connections) => match spawn_blocking(move || Json(connections).into_response()).await {
            Ok(response) => response,
            Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "try again"),
        },
        Err(ListError::Bad(reply)) => (StatusCode::BAD_REQUEST, Json(reply)).into_response(),
        Err(ListError::Unknown(reply)) => (StatusCode::NOT_FOUND, Json(reply)).into_response(),
        Err(ListError::Failed(reply)) => (StatusCode::INTERNAL_SERVER_ERROR, Json(reply)).into_response(),
    }
}

async fn reload(State(ApiState { requests, .. }): State<ApiState>) -> Response {
    match ask(&requests, |answer| Request::Reload(Some(answer))).await {
        Ok(reply) if reply.ok => Json(reply).into_response(),
        Ok(reply) => (StatusCode::UNPROCESSABLE_ENTITY, Json(reply)).into_response(),
        Err(refusal) => refusal,
    }
}

/// The plan of a reload, of the texts in the body if there is one.
async fn plan(
    State(ApiState { file, requests, .. }): State<ApiState>,
    Extension(memory): Extension<BodyMemory>,
    body: Bytes,
) -> Response {
    // On a blocking thread, because a large configuration or a slow disk takes a moment. It continues if the client is gone.
    let parse = move || {
        let _memory = memory;
        to_plan(&file, &body)
    };
    let loaded = match spawn_blocking(parse).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(reply)) => return (StatusCode::BAD_REQUEST, Json(reply)).into_response(),
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "try again"),
    };
    match ask(&requests, |answer| Request::Plan(loaded, answer)).await {
        Ok(Ok(plan)) => Json(plan).into_response(),
        Ok(Err(reply)) => (StatusCode::INTERNAL_SERVER_ERROR, Json(reply)).into_response(),
        Err(refusal) => refusal,
    }
}

/// The configuration in a body, or in the daemon's file without a body.
fn to_plan(file: &Path, body: &[u8]) -> Result<Box<Loaded>, ErrorReply> {
    if body.is_empty() {
        return sluice_config::load(file).map(Box::new).map_err(|problems| bad_file(&problems));
    }
    let PlanRequest { file, includes } = serde_json::from_slice(body).map_err(|error| ErrorReply {
        error: format!("the body is no configuration: {error}"),
        hint: "send {\"file\": {\"path\": \"sluice.yaml\", \"text\": \"services: {}\"}}, or nothing"
            .to_owned(),
    })?;
    let source = |FileText { path, text }| SourceFile { path: path.into(), text };
    let included = includes.into_iter().map(|it| (it.pattern, it.files.into_iter().map(source).collect()));
    let texts = Texts { main: source(file), included: included.collect() };
    texts.parse().map(Box::new).map_err(|problems| bad_file(&problems))
}

/// Sends a request to the reconcile task and waits for its answer.
async fn ask<T>(
    requests: &Requests,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, Response> {
    let stopping = || Stopping.into_response();
    let (sender, answer) = oneshot::channel();
    requests.send(request(sender)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())
}
