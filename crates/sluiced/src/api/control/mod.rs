//! The control socket: HTTP/1.1 with JSON for `sluice` and `curl --unix-socket`.

mod active;
mod body;
mod peer;
mod server;
mod socket;

pub(crate) use server::{ControlState, serve};
pub(crate) use socket::ControlSocket;
