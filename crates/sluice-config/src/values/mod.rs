//! Types of single values: each parses its text, checks its bounds, and knows its schema.

mod duration;
mod keyword;
mod name;
mod network;
mod number;
mod path;
mod probe;
mod rate;

pub(crate) use duration::{Affinity, Hold, Interval, Refresh, SlowStart, Timeout, WithdrawWait};
pub(crate) use keyword::{HashPart, Invalid};
pub(crate) use name::GroupName;
pub(crate) use network::Prefix;
pub(crate) use number::{
    BackendCount, ClientCount, ConnectionCount, PortNumber, TableSize, Threshold, Weight,
};
pub(crate) use path::{DirectoryPath, PathPattern, SocketPath};
pub(crate) use probe::{Argument, BodyText, DatagramText, HttpHost, HttpPath, StatusRange};
pub(crate) use rate::LimitRate;

use crate::problem::Fault;
use crate::read::Scalar;

/// The text of a scalar. A scalar that YAML resolves to a number may be written differently (1.10, 0x1f).
pub(crate) fn text<'a>(scalar: Scalar<'a>, what: &str) -> Result<&'a str, Fault> {
    match scalar {
        Scalar::Text(text) => Ok(text),
        Scalar::Bool(_) => {
            Err(Fault::new(format!("invalid {what} {scalar}: YAML reads a boolean"), "quote it"))
        }
        Scalar::Integer(_) | Scalar::Float(_) => {
            Err(Fault::new(format!("invalid {what} {scalar}: YAML reads a number"), "quote it"))
        }
    }
}
