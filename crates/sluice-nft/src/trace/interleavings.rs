//! All interleavings of commits with the reads of one packet.

/// Calls `run` once for each distribution of up to `commits` commits over its calls of `advance`, and collects
/// the results.
///
/// The distributions are the leaves of a tree of choices, visited depth first: the previous choices are repeated, the
/// last one that can be raised is raised, and later ones start again at 0 commits.
pub(super) fn every_interleaving<T>(commits: usize, run: impl Fn(&mut dyn FnMut() -> usize) -> T) -> Vec<T> {
    let mut results = Vec::new();
    let mut choices: Vec<Choice> = Vec::new();
    loop {
        let (mut asked, mut left) = (0, commits);
        results.push(run(&mut || {
            if left == 0 {
                return 0;
            }
            if asked == choices.len() {
                choices.push(Choice { taken: 0, most: left });
            }
            let taken = choices[asked].taken;
            asked += 1;
            left -= taken;
            taken
        }));
        choices.truncate(asked);
        while choices.pop_if(|choice| choice.taken == choice.most).is_some() {}
        match choices.last_mut() {
            Some(choice) => choice.taken += 1,
            None => return results,
        }
    }
}

/// Number of commits before one read, and its maximum.
struct Choice {
    taken: usize,
    most: usize,
}

#[cfg(test)]
mod tests {
    use super::every_interleaving;

    #[test]
    fn interleavings_of_two_commits_over_two_reads_is_visited_once() {
        let ways = every_interleaving(2, |advance| (advance(), advance()));
        assert_eq!(ways, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]);
    }

    #[test]
    fn interleaving_without_commits_is_one() {
        assert_eq!(every_interleaving(0, |advance| advance()), [0]);
    }
}
