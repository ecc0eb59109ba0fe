//! Status page, metrics and health for everybody who can reach `http.listen`. Nothing can be changed here, and nobody here
//! can keep the reconcile task or the others from their work.

mod door;
mod limits;
mod live;
pub mod page;
mod patient;
mod routes;

pub(crate) use door::Web;
pub(crate) use live::Live;
pub(crate) use routes::{public, refuse, showing};
