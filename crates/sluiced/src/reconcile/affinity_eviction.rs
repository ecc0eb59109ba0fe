//! Clients that affinity holds where they must not stay.

use std::sync::Arc;

use sluice_core::model::InForce;
use sluice_core::render::clients as affinity;
use sluice_core::transition::Transition;
use sluice_nft::{Dataplane, ElementsOf, Errno, Step};
use tracing::info;

use super::{Failure, Reconciler};

/// How often clients are looked up again because one of them was forgotten meanwhile.
const ATTEMPTS: u32 = 5;

/// Elements deleted at once: if one of them is gone, none is.
const AT_ONCE: usize = 1000;

/// Whether some client may have to leave its backend.
pub(super) fn may_leave(transition: &Transition<'_>) -> bool {
    transition
        .differences()
        .any(|(_, before, after)| before.is_some_and(|before| affinity::may_leave(before, after)))
}

impl<D: Dataplane> Reconciler<D> {
    /// Forgets clients that are held on backends which are down, disabled or gone.
    pub(super) fn release_clients(&mut self, services: InForce<'_>) -> Result<(), Failure> {
        let Some(known) = &mut self.known else { return Ok(()) };
        for (clients, declaration) in known.committed.client_maps() {
            let declaration = Arc::new(declaration);
            let of = ElementsOf { name: clients.name.clone(), declaration };
            let mut attempts = ATTEMPTS;
            loop {
                let learned = self.dataplane.learned(&of.name, &of.declaration)?;
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
                        info!("{} clients left backends that are down or gone", stale.len());
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
