//! Names of chains and sets, cheap to clone because thousands of elements refer to chains.

use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as nft prints it.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the kernel made the name up, for a set or chain that is part of a rule: `__set0`, `__chain1`.
            pub fn is_anonymous(&self) -> bool {
                self.0.starts_with("__")
            }
        }

        impl<T: AsRef<str>> From<T> for $type {
            fn from(text: T) -> Self {
                Self(text.as_ref().into())
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
    /// A chain of the table.
    ChainName
);
name!(
    /// A set or map of the table; sets and chains have separate name spaces.
    SetName
);
