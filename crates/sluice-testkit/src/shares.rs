//! Numbers of connections by backend.

use std::collections::BTreeMap;
use std::fmt;

use crate::Answer;

/// Connections by backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares(pub BTreeMap<String, u32>);

impl Shares {
    /// Counts answers.
    pub fn of<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Self {
        let mut shares = Shares::default();
        for answer in answers {
            *shares.0.entry(answer.backend.clone()).or_default() += 1;
        }
        shares
    }

    /// Total number of connections.
    pub fn total(&self) -> u32 {
        self.0.values().sum()
    }

    /// Whether they are a plausible result (p = 1e-6, Pearson's
    /// chi-square test) of independent picks by these weights. A backend that is not in `weights` must have none.
    pub fn fit(&self, weights: &[(&str, u32)]) -> bool {
        let of = |name: &str| self.0.get(name).copied().unwrap_or_default();
        let named: u32 = weights.iter().map(|(name, _)| of(name)).sum();
        let counts: Vec<_> = weights.iter().map(|&(name, weight)| (of(name), weight)).collect();
        named == self.total() && !chi_square_exceeds(&counts)
    }
}

impl<S: Into<String>, const N: usize> From<[(S, u32); N]> for Shares {
    fn from(shares: [(S, u32); N]) -> Self {
        Shares(shares.into_iter().map(|(name, count)| (name.into(), count)).collect())
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, count) in &self.0 {
            write!(f, "{separator}{name} {count}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Upper points of the chi-square distribution with p = 1e-6, for 1, 2, ... degrees of freedom. With the usual 0.001, a run
/// of all tests would fail by chance in one of a hundred cases.
const CRITICAL: [f64; 8] = [23.928, 27.631, 30.665, 33.377, 35.888, 38.258, 40.522, 42.701];

/// Whether the deviation of counts from weights is significant at p = 1e-6; `(count, weight)` of each backend.
///
/// # Panics
/// With fewer than two or more than nine of them.
pub fn chi_square_exceeds(counts: &[(u32, u32)]) -> bool {
    let total: f64 = counts.iter().map(|&(count, _)| f64::from(count)).sum();
    let weights: f64 = counts.iter().map(|&(_, weight)| f64::from(weight)).sum();
    let statistic: f64 = counts
        .iter()
        .map(|&(count, weight)| {
            let expected = total * f64::from(weight) / weights;
            (f64::from(count) - expected).powi(2) / expected
        })
        .sum();
    statistic > CRITICAL[counts.len() - 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chi_square_of_likely_counts_passes() {
        assert!(!chi_square_exceeds(&[(110, 1), (92, 1), (105, 1), (93, 1)]));
        assert!(!chi_square_exceeds(&[(260, 5), (95, 2), (45, 1)]));
    }

    #[test]
    fn chi_square_of_unlikely_counts_exceeds() {
        assert!(chi_square_exceeds(&[(150, 1), (65, 1), (105, 1), (80, 1)]));
        // The result of four rules with a probability of 0.25 each.
        assert!(chi_square_exceeds(&[(150, 1), (112, 1), (84, 1), (63, 1)]));
    }

    #[test]
    fn shares_with_a_stranger_do_not_fit() {
        let shares = Shares::from([("b1", 50), ("b2", 50), ("b3", 1)]);
        assert!(!shares.fit(&[("b1", 1), ("b2", 1)]));
    }
}
