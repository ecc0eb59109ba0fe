//! Status page, metrics and health for everybody who can reach `http.listen`. Nothing can be changed here, and nobody here
//! can keep the reconcile task or the others from their work.

mod change_feed;
mod connection_limits;
mod listener;
pub mod page;
mod routes;
mod write_rate;

pub(crate) use change_feed::Live;
pub(crate) use listener::Web;
pub(crate) use routes::{public, refuse, showing};
