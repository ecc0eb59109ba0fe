//! Numbers, each with its own bounds, and booleans.

use serde_json::{Value, json};
use sluice_core::model::MAX_WEIGHT;
use sluice_core::render::maglev::is_prime;

use crate::problem::Fault;
use crate::read::{Leaf, Scalar};

impl Leaf for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match scalar {
            Scalar::Bool(value) => Ok(value),
            other => Err(Fault::new(format!("invalid value {other}"), "write true or false, without quotes")),
        }
    }

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

/// The share of a backend, relative to other backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight(pub(crate) u16);

impl Leaf for Weight {
    const EXPECTED: &'static str = "a whole number from 0 to 256";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let fix = match scalar {
            Scalar::Integer(weight @ 0..=256) => return Ok(Weight(weight as u16)),
            Scalar::Text(text) if text.parse::<u16>().is_ok() => {
                format!("write a whole number from 0 to {MAX_WEIGHT}, without quotes")
            }
            _ => format!(
                "write a whole number from 0 to {MAX_WEIGHT}; 1 and 3 mean a quarter and three quarters of the connections"
            ),
        };
        Err(Fault::new(format!("invalid weight {scalar}"), fix))
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": MAX_WEIGHT })
    }
}

/// Defines types for whole numbers within bounds.
macro_rules! whole {
    ($($(#[$doc:meta])* $name:ident($type:ty), $least:literal to $most:literal, $expected:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) $type);

        impl Leaf for $name {
            const EXPECTED: &'static str = $expected;

            fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
                match scalar {
                    Scalar::Integer(number @ $least..=$most) => Ok($name(number as $type)),
                    _ => Err(not_whole(scalar, $expected)),
                }
            }

            fn schema() -> Value {
                json!({ "type": "integer", "minimum": $least, "maximum": $most as u32 })
            }
        }
    )*};
}

whole! {
    /// Consecutive probe results.
    Threshold(u16), 1 to 100, "a whole number from 1 to 100";
    /// Eligible backends that a service needs.
    BackendCount(u16), 1 to 65_535, "a whole number from 1 to 65535";
    /// Clients that are tracked for a limit.
    ClientCount(u32), 1 to 4_194_304, "a whole number from 1 to 4194304";
    /// Live connections.
    ConnectionCount(u32), 1 to 4_294_967_295, "a whole number from 1 to 4294967295";
    /// A port on its own.
    PortNumber(u16), 1 to 65_535, "a port from 1 to 65535";
}

/// The slots of a `maglev` table; a prime, so that every step visits all slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableSize(pub(crate) u32);

impl Leaf for TableSize {
    const EXPECTED: &'static str = "a prime from 251 to 65537";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match scalar {
            Scalar::Integer(number @ 251..=65_537) => {
                let size = number as u32;
                if is_prime(size) {
                    return Ok(TableSize(size));
                }
                // Both bounds are prime.
                let below = (251..size).rev().find(|n| is_prime(*n)).unwrap_or(251);
                let above = (size..).find(|n| is_prime(*n)).unwrap_or(65_537);
                Err(Fault::new(
                    format!("table size {size} is not a prime"),
                    format!("write {below} or {above}"),
                ))
            }
            _ => Err(not_whole(scalar, Self::EXPECTED)),
        }
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 251, "maximum": 65_537 })
    }
}

fn not_whole(scalar: Scalar<'_>, expected: &str) -> Fault {
    let fix = match scalar {
        Scalar::Text(text) if text.parse::<u32>().is_ok() => format!("write {expected}, without quotes"),
        _ => format!("write {expected}"),
    };
    Fault::new(format!("invalid value {scalar}"), fix)
}
