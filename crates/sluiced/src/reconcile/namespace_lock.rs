//! One at a time: the claim to the table of a network namespace, which holds also where the kernel knows no owners
//! of tables, and ends with the process, however that ends.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use sluice_nft::Table;
use tracing::warn;

use crate::fatal::{Exit, Fatal};
use crate::reconcile::Failure;

/// Bit of `CAP_NET_ADMIN`.
const NET_ADMIN: u32 = 12;

/// What to do about another one.
const ONE: &str =
    "a network namespace has one sluiced: have that take your file with `sluice reload`, or stop it";

/// Held for as long as this lives. It is an abstract socket, whose name is known in one network namespace.
#[derive(Debug, Default)]
pub struct Claim {
    _listener: Option<UnixListener>,
    is_held: bool,
}

impl Claim {
    /// Whether nobody else can have it now.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Of who is alone for another reason, as tests are that have a table of their own.
    pub fn assumed() -> Self {
        Claim { _listener: None, is_held: true }
    }

    /// Fails if another process that could change the table has the claim.
    pub fn take() -> Result<Self, Fatal> {
        let failed = |error: io::Error| {
            let operation = format!("claim table {}: {error}", Table::NAME);
            Fatal::new(Exit::Runtime, operation, "raise the limits of the process")
        };
        let address = SocketAddr::from_abstract_name(Table::NAME).map_err(failed)?;
        // Whoever has it may end just now.
        for _ in 0..3 {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => return Ok(Claim { _listener: Some(listener), is_held: true }),
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(failed(error)),
                Err(_) => {}
            }
            let Ok(holder) = UnixStream::connect_addr(&address) else { continue };
            let pid = getsockopt(&holder, PeerCredentials).map_or(0, |credentials| credentials.pid());
            if may_change_tables(pid) {
                let port = pid.unsigned_abs();
                return Err(Fatal::new(Exit::Permission, Failure::Owned { port }, ONE));
            }
            warn!("process {pid} has the name of the claim to table {}, but not the right", Table::NAME);
            return Ok(Claim::default());
        }
        Ok(Claim::default())
    }
}

/// Anybody can take the name; nobody who could not change the table anyway is to keep us from it.
fn may_change_tables(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    capabilities.is_some_and(|mask| mask & 1 << NET_ADMIN != 0)
}
