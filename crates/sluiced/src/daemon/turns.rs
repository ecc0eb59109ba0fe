//! Which of the things that are ready the reconcile task does next.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Picks among futures in turn. `tokio::select!` picks at random: then the same events need not lead to the same commits,
/// and a branch may be passed over any number of times. Here one that is ready waits for each other one once at most.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// The branch that is asked first.
    first: usize,
}

impl Turns {
    /// What the first branch that is ready comes to, asked in order from the one after the last that was picked. The others
    /// are given up.
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
