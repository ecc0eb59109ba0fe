//! Selects the next ready event of the reconcile task, in turn.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Selects among futures in turn. `tokio::select!` selects at random: then the same events may lead to other commits,
/// and a branch may be skipped any number of times. Here a ready branch waits for each other one at most once.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// The branch that is polled first.
    first: usize,
}

impl Turns {
    /// The result of the first ready branch, polled in order from the one after the last selected one. The others
    /// are dropped.
    pub(crate) async fn next<T>(&mut self, branches: &mut [Pin<&mut dyn Future<Output = T>>]) -> T {
        poll_fn(|context| {
            let (before, from) = (0..self.first, self.first..branches.len());
            for index in from.chain(before) {
                if let Poll::Ready(value) = branches[index].as_mut().poll(context) {
                    self.first = (index + 1) % branches.len();
                    return Poll::Ready(value);
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn branches_that_are_always_ready_take_turns() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut turns = Turns::default();
        let mut next = || {
            runtime.block_on(turns.next(&mut [
                pin!(async { 'a' }),
                pin!(ready('b')),
                pin!(pending()),
                pin!(ready('c')),
            ]))
        };
        assert_eq!((0..7).map(|_| next()).collect::<String>(), "abcabca");
    }
}
