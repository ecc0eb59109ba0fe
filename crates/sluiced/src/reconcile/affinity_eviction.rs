//! Evicts clients from backends that must not serve them: deletes their elements from the affinity maps.

use std::sync::Arc;

use sluice_api::pluralize;
use sluice_core::model::EffectiveServices;
use sluice_core::model::Transition;
use sluice_core::render::clients as affinity;
use sluice_nft::{Dataplane, Errno, SetRef, Step};
use tracing::info;

use super::{Failure, Reconciler};

/// Attempts per map: an element that times out between the read and the commit makes the commit fail.
const ATTEMPTS: u32 = 5;

/// Elements per commit. A commit deletes all of its elements or none.
const AT_ONCE: usize = 1000;

/// Whether a transition may require the eviction of clients.
pub(super) fn may_evict(transition: &Transition<'_>) -> bool {
    transition
        .differences()
        .any(|(_, before, after)| before.is_some_and(|before| affinity::may_evict(before, after)))
}

impl<D: Dataplane> Reconciler<D> {
    /// Deletes the affinity of clients to backends that are down, disabled or removed.
    pub(super) fn evict_clients(&mut self, services: EffectiveServices<'_>) -> Result<(), Failure> {
        let Some(known) = &mut self.known else { return Ok(()) };
        for (clients, declaration) in known.committed.client_maps() {
            let declaration = Arc::new(declaration);
            let of = SetRef { name: clients.name.clone(), declaration };
            let mut attempts = ATTEMPTS;
            loop {
                let learned = self.dataplane.dynamic_elements(&of.name, &of.declaration)?;
                let stale = affinity::stale(services, &known.committed.groups, &clients, learned);
                let mut chunks = stale.chunks(AT_ONCE);
                let deleted = chunks.try_for_each(|chunk| {
                    let steps = [Step::DeleteElements(of.clone(), chunk.to_vec())];
                    let receipt = self.dataplane.commit(&steps, Some(known.generation))?;
                    known.generation = receipt.generation.unwrap_or(known.generation);
                    Ok(())
                });
                attempts -= 1;
                match deleted {
                    Ok(()) if stale.is_empty() => break,
                    Ok(()) => {
                        info!("deleted the affinity of {}", pluralize(stale.len(), "client"));
                        break;
                    }
                    Err(Failure::Commit(error)) if error.errno == Errno::ENOENT && attempts > 0 => {}
                    Err(failure) => return Err(failure),
                }
            }
        }
        Ok(())
    }
}
