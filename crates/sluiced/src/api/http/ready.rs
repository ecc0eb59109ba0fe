//! `/api/v1/ready`: whether services are ready, for `sluice ready` and for load balancers above this one. Needs no counters.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use sluice_api::{ErrorReply, ReadyQuery, ReadyReply, ServiceReadiness};
use sluice_core::model::ServiceName;
use tokio::time::timeout;

use super::refuse;
use super::routes::PublicState;
use crate::lookup;
use crate::pool::readiness::Readiness;

/// Time after which a daemon that does not answer counts as not ready.
const PATIENCE: Duration = Duration::from_secs(5);

/// 200 if the services are ready, 503 if not, 404 if one does not exist.
pub(super) async fn ready(
    State(state): State<PublicState>,
    query: Result<Query<ReadyQuery>, QueryRejection>,
) -> Response {
    let names = match query {
        Ok(Query(ReadyQuery { services })) => services,
        Err(error) => {
            return refuse(StatusCode::BAD_REQUEST, &error.body_text(), "ask for ?services=web,dns");
        }
    };
    let none = |why: String| ReadyReply { not_ready: Some(why), ..ReadyReply::default() };
    let reply = match timeout(PATIENCE, state.collector.view()).await {
        Ok(Ok(view)) => match reply(&view.readiness, names.as_deref()) {
            Ok(reply) => reply,
            Err(unknown) => return (StatusCode::NOT_FOUND, Json(unknown)).into_response(),
        },
        Ok(Err(stopping)) => none(stopping.to_string()),
        Err(_elapsed) => none(format!("sluiced does not respond within {} s", PATIENCE.as_secs())),
    };
    let code = if reply.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(reply)).into_response()
}

/// The readiness of these services, or of all enabled ones.
fn reply(readiness: &Readiness, names: Option<&str>) -> Result<ReadyReply, ErrorReply> {
    let services = &readiness.services;
    let names: BTreeSet<&ServiceName> = match names {
        None => services.iter().filter(|(_, it)| it.enabled).map(|(name, _)| name).collect(),
        Some(names) => {
            let found = names.split(',').map(|name| lookup::service(services, name).map(|(name, _)| name));
            found.collect::<Result<_, _>>()?
        }
    };
    let one = |name: &ServiceName| {
        let not_ready = readiness.of(name).and_then(Result::err).map(|why| why.to_string());
        ServiceReadiness { name: name.to_string(), ready: not_ready.is_none(), not_ready }
    };
    let services: Vec<_> = names.into_iter().map(one).collect();
    let not_ready = services.is_empty().then(|| "no service is enabled".to_owned());
    let ready = not_ready.is_none() && services.iter().all(|service| service.ready);
    Ok(ReadyReply { ready, not_ready, services })
}
