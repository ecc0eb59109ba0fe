//! [`Slots`]: limits how many programs of `exec` probes run at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Maximum number of programs of one service.
pub(crate) const EACH: usize = 32;

/// Maximum number of programs of all services, without the first one of each.
static SHARED: Semaphore = Semaphore::const_new(256);

/// The slots of one service; clones share them. A service always has a slot of its own, so that the programs of other
/// services cannot delay it, however long they run.
#[derive(Clone, Debug)]
pub struct Slots {
    first: Arc<Semaphore>,
    more: Arc<Semaphore>,
}

/// The right to run a program.
#[derive(Debug)]
pub(crate) struct Slot {
    _own: OwnedSemaphorePermit,
    _shared: Option<SemaphorePermit<'static>>,
}

impl Default for Slots {
    fn default() -> Self {
        Slots { first: Arc::new(Semaphore::new(1)), more: Arc::new(Semaphore::new(EACH - 1)) }
    }
}

impl Slots {
    /// Waits for a free slot.
    pub(crate) async fn take(&self) -> Slot {
        let more = async {
            let own = acquire(&self.more).await;
            let shared = SHARED.acquire().await.expect("it is never closed");
            Slot { _own: own, _shared: Some(shared) }
        };
        tokio::select! {
            biased;
            own = acquire(&self.first) => Slot { _own: own, _shared: None },
            slot = more => slot,
        }
    }
}

async fn acquire(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    slots.clone().acquire_owned().await.expect("it is never closed")
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    /// Takes slots of these services until no more are free.
    async fn fill(services: &[Slots]) -> Vec<Slot> {
        let mut taken = vec![];
        for service in services {
            loop {
                tokio::select! {
                    biased;
                    slot = service.take() => taken.push(slot),
                    () = yield_now() => break,
                }
            }
        }
        taken
    }

    #[tokio::test]
    async fn service_has_a_slot_however_many_programs_of_others_run() {
        let others: Vec<Slots> = (0..20).map(|_| Slots::default()).collect();
        let taken = fill(&others).await;
        assert_eq!(fill(&others[..1]).await.len(), 0, "it has {EACH} at most");
        assert_eq!(taken.len(), 20 + 256);
        let service = Slots::default();
        let own = fill(std::slice::from_ref(&service)).await;
        assert_eq!(own.len(), 1);
        drop(taken);
        assert_eq!(fill(std::slice::from_ref(&service)).await.len(), EACH - 1);
    }
}
