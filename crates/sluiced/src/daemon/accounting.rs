//! Starts and stops byte accounting as configured.

use std::sync::Arc;
use std::time::Duration;

use sluice_nft::Dataplane;
use tokio::time::timeout;
use tracing::warn;

use crate::conntrack::bytes::BackendBytes;
use crate::daemon::Daemon;
use crate::daemon::lifecycle::LAST_SAVE;
use crate::fatal::chain;
use crate::state::sysctls::SysctlChange;

/// The sysctl that makes conntrack count bytes of flows that begin from then on.
const ACCOUNTING: &str = "net/netfilter/nf_conntrack_acct";

/// How long a start or reload waits for the totals of an earlier daemon.
const PATIENCE: Duration = Duration::from_secs(1);

impl<D: Dataplane> Daemon<D> {
    /// Starts or stops accounting as configured. A failure is logged.
    pub(crate) async fn ensure_accounting(&mut self) {
        if !self.config.http.is_some_and(|http| http.accounting) {
            self.ending_byte_counter.take_if(|ending| ending.has_ended());
            if let Some(mut byte_counter) = self.byte_counter.take() {
                byte_counter.end();
                self.ending_byte_counter = Some(byte_counter);
                // Failures are logged.
                drop(self.sysctls.restore_matching(|key| key == ACCOUNTING));
            }
            return;
        }
        if let Err(error) = self.start_accounting().await {
            warn!(
                "count bytes: {error} (give sluiced CAP_NET_ADMIN and a writable /proc/sys/net, or set http.accounting: false)"
            );
        }
    }

    /// The bytes of backends, if they are counted.
    pub(crate) fn bytes(&self) -> Option<Arc<BackendBytes>> {
        self.byte_counter.as_ref().and_then(|_| self.byte_totals.by_backend())
    }

    /// Ends the counting of bytes, and waits for the last read and save.
    pub(crate) async fn stop_accounting(&mut self) {
        for byte_counter in [self.ending_byte_counter.take(), self.byte_counter.take()].into_iter().flatten()
        {
            let _ = timeout(LAST_SAVE, byte_counter.stop()).await;
        }
    }

    /// Gives the byte counter the services in force.
    pub(crate) fn update_byte_counter(&mut self) {
        if let Some(byte_counter) = &self.byte_counter {
            byte_counter.follow(self.config.services.clone());
        }
    }

    async fn start_accounting(&mut self) -> Result<(), String> {
        let was_on = self.sysctls.proc.sysctl(ACCOUNTING).map_err(|error| chain(&error))? != "0";
        if !was_on {
            let why = "bytes of backends are counted";
            let on = SysctlChange { key: ACCOUNTING.to_owned(), now: "1", why };
            self.change_sysctls(&[on]).await.map_err(|error| chain(&error))?;
        }
        self.byte_counter.take_if(|byte_counter| byte_counter.has_ended());
        if self.byte_counter.is_none() {
            let (services, files, boot) =
                (self.config.services.clone(), self.sysctls.files(), self.sysctls.boot());
            let previous = &mut self.ending_byte_counter;
            let started = self.byte_totals.start(previous, services, files, boot, was_on);
            let byte_counter = self.byte_counter.insert(started.map_err(|error| error.to_string())?);
            // Until then no bytes are shown.
            let loaded = timeout(PATIENCE, byte_counter.loaded());
            self.follow_health_until(async { drop(loaded.await) }).await;
        }
        Ok(())
    }
}
