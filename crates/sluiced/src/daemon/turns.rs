//! Selects the next ready event of the reconcile task: every second time the urgent one, otherwise in turn.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Selects among futures in turn. `tokio::select!` selects at random: then the same events may lead to other commits,
/// and a branch may be skipped any number of times. Here a ready branch waits for each other one at most once, and the urgent
/// branch for at most one of them; it goes before every other one at most once.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// The branch that is polled first.
    first: usize,
    /// Whether the urgent branch was selected last.
    was_urgent: bool,
}

impl Turns {
    /// The result of the urgent branch unless it was selected last, or else of the first ready branch, polled in order from the
    /// one after the last selected one. The others are dropped.
    pub(crate) async fn next<T>(
        &mut self,
        mut urgent: Pin<&mut dyn Future<Output = T>>,
        branches: &mut [Pin<&mut dyn Future<Output = T>>],
    ) -> T {
        poll_fn(|context| {
            if !self.was_urgent
                && let Poll::Ready(value) = urgent.as_mut().poll(context)
            {
                self.was_urgent = true;
                return Poll::Ready(value);
            }
            let (before, from) = (0..self.first, self.first..branches.len());
            for index in from.chain(before) {
                if let Poll::Ready(value) = branches[index].as_mut().poll(context) {
                    (self.first, self.was_urgent) = ((index + 1) % branches.len(), false);
                    return Poll::Ready(value);
                }
            }
            // After itself it is selected if no other branch is ready.
            if self.was_urgent { urgent.as_mut().poll(context) } else { Poll::Pending }
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
    fn branches_that_are_always_ready_take_turns_and_the_urgent_one_goes_before_each() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut turns = Turns::default();
        let mut next = |urgent: bool| {
            let mut urgent = pin!(async move { if urgent { '!' } else { pending().await } });
            let mut branches: [Pin<&mut dyn Future<Output = char>>; 4] =
                [pin!(async { 'a' }), pin!(ready('b')), pin!(pending()), pin!(ready('c'))];
            runtime.block_on(turns.next(urgent.as_mut(), &mut branches))
        };
        assert_eq!((0..7).map(|_| next(false)).collect::<String>(), "abcabca");
        assert_eq!((0..7).map(|_| next(true)).collect::<String>(), "!b!c!a!");
        assert_eq!(next(false), 'b');
    }

    #[test]
    fn urgent_branch_is_selected_again_and_again_if_nothing_else_is_ready() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut turns = Turns::default();
        for _ in 0..3 {
            assert_eq!(runtime.block_on(turns.next(pin!(ready('!')), &mut [pin!(pending())])), '!');
        }
    }
}
