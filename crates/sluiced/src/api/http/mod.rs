//! Status page, metrics and health for all clients that reach `http.listen`. Read-only; clients cannot block the reconcile
//! task or other clients.

mod change_feed;
mod listener;
pub mod page;
mod ready;
mod routes;

pub(crate) use change_feed::ChangeFeed;
pub(crate) use listener::{HttpServer, ListenerChange};
pub(crate) use routes::{public, read_only, refuse};
