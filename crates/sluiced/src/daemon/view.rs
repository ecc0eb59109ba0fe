//! Builds views of the daemon.

use sluice_api::{DaemonStatus, ServiceStatus, StateStatus, TableStatus};
use sluice_core::model::ServiceName;
use sluice_nft::{Dataplane, Table};

use crate::daemon::Daemon;
use crate::reconcile::Inventory;
use crate::status::builder::StatusBuilder;
use crate::status::view::View;

impl<D: Dataplane> Daemon<D> {
    /// The current view, for readers.
    pub(crate) fn view(&mut self) -> View {
        let Inventory { present, flags, sets, chains, elements } = self.reconciler.inventory();
        let (failure, services) = (self.sync_failure.as_ref(), &self.config.services);
        let error = self.out_of_sync();
        let retries = [failure, self.forwarding_failure.as_ref()].into_iter().flatten().map(|it| it.retry.at);
        let totals = self.reconciler.totals().clone();
        View {
            services: services.clone(),
            digest: self.digest.clone(),
            backend_states: self.backend_states.clone(),
            readiness: self.current_readiness(),
            hooks: self.hooks.clone(),
            since: self.since.clone(),
            board: self.prober.board().clone(),
            epoch: totals.epoch(),
            totals,
            totals_store: self.reconciler.totals_store(),
            bytes: self.bytes(),
            countable: self.reconciler.countable(),
            timings: self.reconciler.timings().clone(),
            reload: self.reload.clone(),
            reloads: self.reloads,
            table: TableStatus {
                name: Table::NAME.to_owned(),
                present,
                flags: flags.names().map(str::to_owned).collect(),
                synced: error.is_none(),
                error,
                differences: failure.map(|failure| failure.differences.clone()).unwrap_or_default(),
                retry_at: retries.min(),
                services: services.values().filter(|service| service.enabled).count(),
                sets,
                chains,
                elements,
                last_commit: self.reconciler.last_commit(),
                rounds: self.reconciler.rounds(),
                foreign_changes: self.foreign.clone(),
            },
            events: self.events.clone(),
            daemon: DaemonStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                started: self.started,
                config: self.file.to_string_lossy().into_owned(),
                socket: self.config.control.socket.to_string_lossy().into_owned(),
                http_error: self.http.failure(),
            },
            state: StateStatus {
                directory: self.config.state.to_string_lossy().into_owned(),
                problems: self.sysctls.unsaved().into_iter().chain(self.save_queue.overdue()).collect(),
            },
            followers: self.followers.values().cloned().collect(),
            left: self.left.clone(),
            announcements: self.announcements.view(
                &self.config.announce,
                self.announce_failure.as_ref().map(|failure| failure.error.clone()),
            ),
        }
    }

    /// The status of one service, with the counts of the last snapshot.
    pub(crate) fn service_status(&self, name: &ServiceName) -> ServiceStatus {
        let service = &self.config.services[name];
        let serving = self.backend_states.effective_services(&self.config.services).get(name);
        let (counted, bytes) = (self.reconciler.totals().counted(), self.bytes());
        let readiness = self.current_readiness();
        let builder = StatusBuilder::new(
            self.prober.board(),
            &self.backend_states,
            &readiness,
            &counted,
            &self.since,
            None,
            bytes,
        );
        builder.service(name, service, serving.unwrap_or(service))
    }
}
