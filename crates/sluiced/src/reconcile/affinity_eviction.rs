//! Evicts clients from backends that must not serve them: deletes their elements from the affinity maps.
//!
//! The maps may have many elements, so another thread reads them, and the reconcile task only deletes.

use std::sync::Arc;

use sluice_api::pluralize;
use sluice_core::model::EffectiveServices;
use sluice_core::model::Transition;
use sluice_core::render::clients::{self, Clients, Keeping};
use sluice_nft::{AsideRead, Data, Dataplane, Errno, Key, ReadError, SetRef, Step};
use tracing::info;

use super::commit::after_switch;
use super::{Failure, Known, Reconciler, RoundError};

/// Attempts: an element that times out between the read and the commit makes the commit fail.
const ATTEMPTS: u32 = 5;

/// Elements per commit. A commit deletes all of its elements or none.
const AT_ONCE: usize = 1000;

/// Whether a transition may require the eviction of clients.
pub(super) fn may_evict(transition: &Transition<'_>) -> bool {
    transition
        .differences()
        .any(|(_, before, after)| before.is_some_and(|before| clients::may_evict(before, after)))
}

type Elements = Vec<(Key, Data)>;

/// The affinity maps, to be read.
pub struct Eviction {
    attempts: u32,
    maps: Vec<(ClientMap, AsideRead<Elements>, Keeping)>,
}

/// Elements of the affinity maps that were to be deleted when the maps were read.
#[derive(Debug)]
pub struct Stale {
    attempts: u32,
    stale: Result<Vec<(ClientMap, Elements)>, ReadError>,
}

#[derive(Debug)]
struct ClientMap {
    clients: Clients,
    set: SetRef,
}

impl Eviction {
    /// Reads the maps. Any thread may do this.
    pub fn read(self) -> Stale {
        let read = self.maps.into_iter().map(|(map, read, keeping)| Ok((map, keeping.stale(read()?))));
        Stale { attempts: self.attempts, stale: read.collect() }
    }
}

impl<D: Dataplane> Reconciler<D> {
    /// Remembers that clients may have to leave backends.
    pub(super) fn want_eviction(&mut self) {
        self.evictions_left = ATTEMPTS;
    }

    /// Begins to evict clients from backends that are down, disabled or removed; `None` if there are no affinity maps, or if an
    /// eviction is not wanted.
    pub fn begin_eviction(&mut self, services: EffectiveServices<'_>) -> Option<Eviction> {
        let attempts = std::mem::take(&mut self.evictions_left);
        // After a failed round, the next one wants an eviction again.
        let known = self.known.as_ref().filter(|_| attempts > 0)?;
        let maps = known.committed.client_maps().into_iter().map(|(clients, declaration)| {
            let keeping = Keeping::of(services, &known.committed.groups, &clients);
            let read = self.dataplane.dynamic_elements_aside(&clients.name, &declaration);
            let set = SetRef { name: clients.name.clone(), declaration: Arc::new(declaration) };
            (ClientMap { clients, set }, read, keeping)
        });
        let maps: Vec<_> = maps.collect();
        (!maps.is_empty()).then_some(Eviction { attempts, maps })
    }

    /// Deletes the affinity of the clients that must still leave their backends. If the maps must be read again, it wants another
    /// eviction.
    ///
    /// # Errors
    /// As a round. The next round reads the kernel.
    pub async fn end_eviction(
        &mut self,
        services: EffectiveServices<'_>,
        Stale { attempts, stale }: Stale,
    ) -> Result<(), RoundError> {
        let evicted = match stale {
            Ok(stale) => self.evict(services, stale).await,
            Err(error) => Err(error.into()),
        };
        match evicted {
            Err(Failure::Commit(error)) if error.errno == Errno::ENOENT && attempts > 1 => {
                self.evictions_left = self.evictions_left.max(attempts - 1);
                Ok(())
            }
            other => other.map_err(|failure| {
                self.known = None;
                after_switch(failure)
            }),
        }
    }

    async fn evict(
        &mut self,
        services: EffectiveServices<'_>,
        stale: Vec<(ClientMap, Elements)>,
    ) -> Result<(), Failure> {
        for (ClientMap { clients, set }, elements) in stale {
            let Some(known) = &self.known else { return Ok(()) };
            let stale = Keeping::of(services, &known.committed.groups, &clients).stale(elements);
            for chunk in stale.chunks(AT_ONCE) {
                let Some(Known { generation, .. }) = self.known else { return Ok(()) };
                let steps = [Step::DeleteElements(set.clone(), chunk.to_vec())];
                let receipt = self.commit(&steps, generation).await?;
                if let (Some(known), Some(generation)) = (&mut self.known, receipt.generation) {
                    known.generation = generation;
                }
            }
            if !stale.is_empty() {
                info!("deleted the affinity of {}", pluralize(stale.len(), "client"));
            }
        }
        Ok(())
    }
}
