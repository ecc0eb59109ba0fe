//! HTTP/1.1 connections of the status page and of the control socket, with bounds on their number, size and time.

mod accept;
mod limits;
mod write_rate;

pub(super) use accept::{Listener, TIMEOUT, accept};
pub(super) use limits::Bounds;
