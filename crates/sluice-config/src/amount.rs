//! Values that are a number or a duration, each within bounds.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_core::maglev::is_prime;
use sluice_nft::Rate;

use crate::problem::{Fault, quoted};
use crate::read::{Leaf, Scalar};
use crate::schema::{constant, either, pattern};

/// How often to read back; `None` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refresh(pub(crate) Option<Duration>);

impl Refresh {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_secs(1),
        most: Duration::from_secs(24 * 60 * 60),
        range: "1s to 24h",
        form: "a number and s, m or h, such as 60s or 1h30m",
        zero: ", or 0 for never",
    };
}

impl Leaf for Refresh {
    const EXPECTED: &'static str = "a duration such as 60s, or 0";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        Self::BOUNDS.parse(scalar).map(Refresh)
    }

    fn schema() -> Value {
        Self::BOUNDS.schema(Self::EXPECTED)
    }
}

/// How long a client stays on its backend; `None` is not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Affinity(pub(crate) Option<Duration>);

impl Affinity {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_secs(1),
        most: Duration::from_secs(30 * 24 * 60 * 60),
        range: "1s to 30d",
        form: "a number and s, m, h or d, such as 10m or 1h30m",
        zero: ", or 0 for no affinity",
    };
}

impl Leaf for Affinity {
    const EXPECTED: &'static str = "a duration such as 10m, or 0";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        Self::BOUNDS.parse(scalar).map(Affinity)
    }

    fn schema() -> Value {
        Self::BOUNDS.schema(Self::EXPECTED)
    }
}

/// How long a backend that comes back takes; `None` is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlowStart(pub(crate) Option<Duration>);

impl SlowStart {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_secs(1),
        most: Duration::from_secs(60 * 60),
        range: "1s to 1h",
        form: "a number and s, m or h, such as 30s or 1m30s",
        zero: ", or 0 for the whole share at once",
    };
}

impl Leaf for SlowStart {
    const EXPECTED: &'static str = "a duration such as 30s, or 0";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        Self::BOUNDS.parse(scalar).map(SlowStart)
    }

    fn schema() -> Value {
        Self::BOUNDS.schema(Self::EXPECTED)
    }
}

/// From one attempt to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Duration);

impl Interval {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_millis(100),
        most: Duration::from_secs(60 * 60),
        range: "100ms to 1h",
        form: "a number and ms, s, m or h, such as 500ms or 2s",
        zero: "",
    };
}

impl Leaf for Interval {
    const EXPECTED: &'static str = "a duration such as 2s";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        Self::BOUNDS.parse_nonzero(scalar).map(Interval)
    }

    fn schema() -> Value {
        Self::BOUNDS.schema(Self::EXPECTED)
    }
}

/// How long one attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Duration);

impl Timeout {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_millis(10),
        most: Duration::from_secs(60 * 60),
        range: "10ms to 1h",
        form: "a number and ms, s, m or h, such as 500ms or 1s",
        zero: "",
    };
}

impl Leaf for Timeout {
    const EXPECTED: &'static str = "a duration such as 1s";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        Self::BOUNDS.parse_nonzero(scalar).map(Timeout)
    }

    fn schema() -> Value {
        Self::BOUNDS.schema(Self::EXPECTED)
    }
}

/// So many packets in a time: `1000/second burst 2000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerTime(pub(crate) Rate);

impl Leaf for PerTime {
    const EXPECTED: &'static str = "a rate such as 20/second burst 40";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        /// Most in a unit, and at once; the kernel counts a bucket in nanoseconds of 64 bits.
        const MOST: u32 = 10_000_000;
        const FIX: &str = "write a number by second, minute, hour or day, and how many may come at once: 20/second burst 40";
        let bad = |what: String| Fault::new(what, FIX);
        let Scalar::Text(text) = scalar else { return Err(bad(format!("{scalar} is no rate"))) };
        let number = |digits: &str| {
            let number = digits.parse::<u32>().ok();
            number.ok_or_else(|| bad(format!("{} is no rate", quoted(text))))
        };
        let (rate, burst) = match *text.split_whitespace().collect::<Vec<_>>() {
            [rate] => (rate, None),
            [rate, "burst", burst] => (rate, Some(number(burst)?)),
            _ => return Err(bad(format!("{} is no rate", quoted(text)))),
        };
        let (packets, unit) = rate.split_once('/').unwrap_or((rate, ""));
        let unit = match unit {
            "second" => 1,
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            _ => return Err(bad(format!("{} is no rate", quoted(text)))),
        };
        let packets = number(packets)?;
        // Without a burst, what comes in a second may come at once, as it would on the average.
        let burst = burst.unwrap_or_else(|| packets.div_ceil(unit).max(5));
        if ![packets, burst].iter().all(|number| (1..=MOST).contains(number)) {
            return Err(Fault::new(
                format!("{} is out of bounds", quoted(text)),
                format!("write numbers from 1 to {MOST}"),
            ));
        }
        let each = u64::from(unit) * 1_000_000_000 / u64::from(packets);
        if each.checked_mul(burst.into()).is_none() {
            let what = format!("{} would take centuries until so many may come at once again", quoted(text));
            return Err(Fault::new(what, "write a smaller burst or a higher rate"));
        }
        Ok(PerTime(Rate { packets, unit, burst }))
    }

    fn schema() -> Value {
        pattern(r"^\s*\+?[0-9]+/(second|minute|hour|day)(\s+burst\s+\+?[0-9]+)?\s*$", Self::EXPECTED)
    }
}

/// The durations that a key takes, and how to say so.
struct Bounds {
    least: Duration,
    most: Duration,
    /// Both of them in words.
    range: &'static str,
    form: &'static str,
    /// What 0 is for, behind the rest; empty when it is out of bounds like others.
    zero: &'static str,
}

impl Bounds {
    /// `None` is 0.
    fn parse(&self, scalar: Scalar<'_>) -> Result<Option<Duration>, Fault> {
        let Bounds { least, most, range, form, zero } = self;
        let duration = match scalar {
            Scalar::Integer(0) => Some(Duration::ZERO),
            Scalar::Integer(number) if number > 0 => {
                return Err(Fault::new(
                    format!("`{number}` has no unit"),
                    format!("write `{number}s` for seconds"),
                ));
            }
            Scalar::Text(text) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        match duration {
            Some(Duration::ZERO) if !zero.is_empty() => Ok(None),
            Some(duration) if (least..=most).contains(&&duration) => Ok(Some(duration)),
            Some(_) => Err(Fault::new(format!("{scalar} is out of bounds"), format!("write {range}{zero}"))),
            None => Err(Fault::new(format!("{scalar} is no duration"), format!("write {form}{zero}"))),
        }
    }

    /// A number without a unit is for 0 alone.
    fn schema(&self, expected: &str) -> Value {
        let number = r"[0-9][0-9\s]*(\.[0-9\s]+)?";
        let form = format!(r"^\s*({number}[A-Za-zµ]+\s*)+$");
        match self.zero {
            "" => pattern(&form, expected),
            _ => either(constant(0, expected), pattern(&format!("{form}|^0$"), expected)),
        }
    }

    fn parse_nonzero(&self, scalar: Scalar<'_>) -> Result<Duration, Fault> {
        self.parse(scalar).map(|duration| duration.expect("0 is out of these bounds"))
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
    /// Results in a row.
    InARow(u16), 1 to 100, "a whole number from 1 to 100";
    /// Backends that are enough.
    Quorum(u16), 1 to 65_535, "a whole number from 1 to 65535";
    /// Clients to remember.
    Clients(u32), 1 to 4_194_304, "a whole number from 1 to 4194304";
    /// Live connections.
    Connections(u32), 1 to 4_294_967_295, "a whole number from 1 to 4294967295";
    /// A port that is no part of an endpoint.
    PortNumber(u16), 1 to 65_535, "a port from 1 to 65535";
}

/// Slots of a table that is walked through with steps of any length.
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
                // Both bounds are primes.
                let below = (251..size).rev().find(|n| is_prime(*n)).unwrap_or(251);
                let above = (size..).find(|n| is_prime(*n)).unwrap_or(65_537);
                Err(Fault::new(format!("{size} is no prime"), format!("write {below} or {above}")))
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
        Scalar::Text(text) if text.parse::<u32>().is_ok() => "write it without quotes",
        _ => "write such a number",
    };
    Fault::new(format!("{scalar} is not {expected}"), fix)
}
