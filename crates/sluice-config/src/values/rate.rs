//! Rates: `20/second burst 40`.

use serde_json::Value;
use sluice_nft::Rate;

use crate::problem::Fault;
use crate::read::{Leaf, Scalar};
use crate::schema::pattern;

/// A token bucket: `1000/second burst 2000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitRate(pub(crate) Rate);

impl Leaf for LimitRate {
    const EXPECTED: &'static str = "a rate such as 20/second burst 40";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        /// Maximum of packets per unit, and of the burst; the kernel keeps a bucket as nanoseconds in 64 bits.
        const MOST: u32 = 10_000_000;
        const FIX: &str =
            "write N/second, /minute, /hour or /day, and `burst N` if needed, such as 20/second burst 40";
        let invalid = || Fault::new(format!("invalid rate {scalar}"), FIX);
        let Scalar::Text(text) = scalar else { return Err(invalid()) };
        let number = |digits: &str| digits.parse::<u32>().map_err(|_| invalid());
        let (rate, burst) = match *text.split_whitespace().collect::<Vec<_>>() {
            [rate] => (rate, None),
            [rate, "burst", burst] => (rate, Some(number(burst)?)),
            _ => return Err(invalid()),
        };
        let (packets, unit) = rate.split_once('/').unwrap_or((rate, ""));
        let unit = match unit {
            "second" => 1,
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            _ => return Err(invalid()),
        };
        let packets = number(packets)?;
        // The default burst is the average of one second.
        let burst = burst.unwrap_or_else(|| packets.div_ceil(unit).max(5));
        if ![packets, burst].iter().all(|number| (1..=MOST).contains(number)) {
            return Err(Fault::new(
                format!("rate {scalar} is out of range"),
                format!("write numbers from 1 to {MOST}"),
            ));
        }
        let each = u64::from(unit) * 1_000_000_000 / u64::from(packets);
        if each.checked_mul(burst.into()).is_none() {
            let what =
                format!("burst is too large in {scalar}: at this rate the bucket takes centuries to refill");
            return Err(Fault::new(what, "write a smaller burst or a higher rate"));
        }
        Ok(LimitRate(Rate { packets, unit, burst }))
    }

    fn schema() -> Value {
        pattern(r"^\s*\+?[0-9]+/(second|minute|hour|day)(\s+burst\s+\+?[0-9]+)?\s*$", Self::EXPECTED)
    }
}
