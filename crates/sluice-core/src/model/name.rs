//! Names as types, so that names of services, backends and interfaces cannot be confused.

use std::fmt;
use std::sync::Arc;

/// An invalid name; the message states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(&'static str);

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Validates a name.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> Result<(), &'static str> = $check;
                check(text).map_err(InvalidName)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A service: `[a-z0-9][a-z0-9_.-]{0,62}`.
    ServiceName,
    |text| {
        let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        match text.as_bytes() {
            [] => Err("a service name must not be empty"),
            [first, ..] if !ok(*first) => Err("a service name starts with a-z or 0-9"),
            [_, rest @ ..] if !rest.iter().all(|c| ok(*c) || b"_.-".contains(c)) => {
                Err("a service name holds only a-z, 0-9, '_', '.' and '-'")
            }
            bytes if bytes.len() > 63 => Err("a service name has at most 63 characters"),
            _ => Ok(()),
        }
    }
);

name!(
    /// A backend within its service: 1 to 63 printable ASCII characters without space and `/`.
    BackendName,
    |text| {
        if text.is_empty() || text.len() > 63 {
            Err("a backend name has 1 to 63 characters")
        } else if !text.bytes().all(|c| c.is_ascii_graphic() && c != b'/') {
            Err("a backend name holds printable ASCII without spaces and '/'")
        } else {
            Ok(())
        }
    }
);

name!(
    /// A network interface: 1 to 15 characters that both the kernel and nft accept.
    InterfaceName,
    |text| {
        if text.is_empty() || text.len() > 15 {
            Err("an interface name has 1 to 15 characters")
        } else if text == "." || text == ".." {
            Err("'.' and '..' are no interface names")
        } else if !text.bytes().all(|c| c.is_ascii_graphic() && !b"/:\"*\\".contains(&c)) {
            Err("an interface name holds no space, '/', ':', '\"', '*' or '\\'")
        } else {
            Ok(())
        }
    }
);
