//! Looks up services and backends by name.

use sluice_api::ErrorReply;
use sluice_config::nearest;
use sluice_core::model::{Backend, BackendKey, Service, ServiceName, Services};

/// The service with this name.
pub(crate) fn service<'a>(
    services: &'a Services,
    name: &str,
) -> Result<(&'a ServiceName, &'a Service), ErrorReply> {
    let found = ServiceName::new(name).ok().and_then(|name| services.get_key_value(&name));
    found.ok_or_else(|| {
        let known = services.keys().map(ServiceName::as_str);
        unknown(format!("no service {name}"), nearest(name, known))
    })
}

/// The backend of a service with this name.
pub(crate) fn backend<'a>(
    (name, service): (&ServiceName, &'a Service),
    backend: &str,
) -> Result<&'a Backend, ErrorReply> {
    service.backends.iter().find(|known| known.name.as_str() == backend).ok_or_else(|| {
        let known = service.backends.iter().map(|backend| backend.name.as_str());
        unknown(format!("service {name} has no backend {backend}"), nearest(backend, known))
    })
}

/// The key of a backend by the names of its service and itself.
pub(crate) fn key(services: &Services, name: &str, backend: &str) -> Result<BackendKey, ErrorReply> {
    let (name, found) = service(services, name)?;
    let backend = self::backend((name, found), backend)?;
    Ok(BackendKey { service: name.clone(), backend: backend.name.clone() })
}

fn unknown(error: String, meant: Option<&str>) -> ErrorReply {
    let hint = match meant {
        Some(meant) => format!("did you mean {meant}?"),
        None => "`sluice status` shows all services and backends".to_owned(),
    };
    ErrorReply { error, hint }
}
