//! Durations, each with its own bounds.

use std::time::Duration;

use serde_json::Value;

use crate::problem::Fault;
use crate::read::{Leaf, Scalar};
use crate::schema::{constant, either, pattern};

/// The time between verifications of the ruleset; `None` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refresh(pub(crate) Option<Duration>);

impl Refresh {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_secs(1),
        most: Duration::from_secs(24 * 60 * 60),
        range: "1s to 24h",
        form: "a number and one of s, m, h, such as 60s or 1h30m",
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

/// How long a client stays on its backend; `None` disables affinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Affinity(pub(crate) Option<Duration>);

impl Affinity {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_secs(1),
        most: Duration::from_secs(30 * 24 * 60 * 60),
        range: "1s to 30d",
        form: "a number and one of s, m, h, d, such as 10m or 1h30m",
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

/// How long a returning backend takes to reach its full share; `None` is at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlowStart(pub(crate) Option<Duration>);

impl SlowStart {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_secs(1),
        most: Duration::from_secs(60 * 60),
        range: "1s to 1h",
        form: "a number and one of s, m, h, such as 30s or 1m30s",
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

/// The time from the start of one probe to the start of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Duration);

impl Interval {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_millis(100),
        most: Duration::from_secs(60 * 60),
        range: "100ms to 1h",
        form: "a number and one of ms, s, m, h, such as 500ms or 2s",
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

/// The time limit of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Duration);

impl Timeout {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_millis(10),
        most: Duration::from_secs(60 * 60),
        range: "10ms to 1h",
        form: "a number and one of ms, s, m, h, such as 500ms or 1s",
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

/// How long a service must be ready before its addresses are announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold(pub(crate) Duration);

impl Hold {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_millis(100),
        most: Duration::from_secs(60 * 60),
        range: "100ms to 1h",
        form: "a number and one of ms, s, m, h, such as 500ms or 2s",
        zero: ", or 0 for at once",
    };
}

impl Leaf for Hold {
    const EXPECTED: &'static str = "a duration such as 2s, or 0";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        Self::BOUNDS.parse(scalar).map(|hold| Hold(hold.unwrap_or_default()))
    }

    fn schema() -> Value {
        Self::BOUNDS.schema(Self::EXPECTED)
    }
}

/// The wait after addresses are withdrawn. The upper bound leaves systemd's time limit of a stop, 90 s, for the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WithdrawWait(pub(crate) Duration);

impl WithdrawWait {
    const BOUNDS: Bounds = Bounds {
        least: Duration::from_millis(100),
        most: Duration::from_secs(60),
        range: "100ms to 1m",
        form: "a number and one of ms, s, m, such as 500ms or 2s",
        zero: ", or 0 for no wait",
    };
}

impl Leaf for WithdrawWait {
    const EXPECTED: &'static str = "a duration such as 1s, or 0";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        Self::BOUNDS.parse(scalar).map(|wait| WithdrawWait(wait.unwrap_or_default()))
    }

    fn schema() -> Value {
        Self::BOUNDS.schema(Self::EXPECTED)
    }
}

/// The range of durations of a key, and its description.
struct Bounds {
    least: Duration,
    most: Duration,
    /// Both bounds as text.
    range: &'static str,
    form: &'static str,
    /// The meaning of 0, appended to the fix; empty if 0 is not allowed.
    zero: &'static str,
}

impl Bounds {
    /// `None` stands for 0.
    fn parse(&self, scalar: Scalar<'_>) -> Result<Option<Duration>, Fault> {
        let Bounds { least, most, range, form, zero } = self;
        let duration = match scalar {
            Scalar::Integer(0) => Some(Duration::ZERO),
            Scalar::Integer(number) if number > 0 => {
                return Err(Fault::new(
                    format!("duration `{number}` has no unit"),
                    format!("write `{number}s` for seconds"),
                ));
            }
            Scalar::Text(text) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        match duration {
            Some(Duration::ZERO) if !zero.is_empty() => Ok(None),
            Some(duration) if (least..=most).contains(&&duration) => Ok(Some(duration)),
            Some(_) => {
                Err(Fault::new(format!("duration {scalar} is out of range"), format!("write {range}{zero}")))
            }
            None => Err(Fault::new(format!("invalid duration {scalar}"), format!("write {form}{zero}"))),
        }
    }

    /// Only 0 may lack a unit.
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
