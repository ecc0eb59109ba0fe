//! Fatal errors and exit codes of the daemon and of commands.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use nix::errno::Errno;
use sluice_config::Problem;
use sluice_netlink::OpenError;

/// Exit codes, those of `sysexits.h` where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// An operation failed.
    Runtime = 1,
    /// The kernel lacks a feature (`EX_UNAVAILABLE`).
    KernelFeature = 69,
    /// `CAP_NET_ADMIN` is missing (`EX_NOPERM`).
    Permission = 77,
    /// The configuration is invalid (`EX_CONFIG`).
    Config = 78,
}

/// A fatal error. `Display` has one line per problem, each with what to do.
#[derive(Debug)]
pub enum Fatal {
    /// The configuration is invalid; all errors in file order.
    Config(Vec<Problem>),
    /// An operation failed.
    Failed {
        /// Exit code.
        exit: Exit,
        /// Operation, object and address, with its causes.
        error: Box<dyn Error + Send + Sync>,
        /// What to do.
        hint: Cow<'static, str>,
    },
}

impl Fatal {
    /// A failed operation, with what to do.
    pub fn new(
        exit: Exit,
        error: impl Into<Box<dyn Error + Send + Sync>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Fatal::Failed { exit, error: error.into(), hint: hint.into() }
    }

    /// nftables cannot be used.
    pub fn open(error: OpenError) -> Self {
        let (exit, hint) = match error {
            OpenError::Permission(_) => (Exit::Permission, "be root or have CAP_NET_ADMIN"),
            OpenError::Missing(_) => {
                (Exit::KernelFeature, "load nf_tables, or use a kernel with CONFIG_NF_TABLES")
            }
            OpenError::Socket(_) | OpenError::Other(_) => {
                (Exit::Runtime, "does this kernel have CONFIG_NETFILTER_NETLINK and CONFIG_NF_TABLES?")
            }
        };
        Fatal::new(exit, error, hint)
    }

    /// The kernel refused to read or change the ruleset.
    pub fn kernel(errno: Option<Errno>, error: impl Error + Send + Sync + 'static) -> Self {
        match errno {
            Some(Errno::EPERM | Errno::EACCES) => Fatal::new(
                Exit::Permission,
                error,
                "run as root or with CAP_NET_ADMIN; otherwise another process owns table inet sluice",
            ),
            _ => Fatal::new(
                Exit::Runtime,
                error,
                "`sluice plan` shows the pending steps, `nft list table inet sluice` the current table",
            ),
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Fatal::Config(_) => Exit::Config,
            Fatal::Failed { exit, .. } => *exit,
        }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::Config(problems) => {
                f.write_str(&problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))
            }
            Fatal::Failed { error, hint, .. } => write!(f, "{} ({hint})", chain(&**error)),
        }
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
