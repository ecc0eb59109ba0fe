//! Starts and stops byte accounting as configured.

use sluice_nft::Dataplane;
use tracing::warn;

use crate::conntrack::bytes::ByteCounter;
use crate::daemon::Daemon;
use crate::fatal::chain;

/// The sysctl that makes conntrack count bytes of flows that begin from then on.
const ACCOUNTING: &str = "net/netfilter/nf_conntrack_acct";

impl<D: Dataplane> Daemon<D> {
    /// Starts or stops accounting as configured. A failure is logged.
    pub(crate) fn ensure_accounting(&mut self) {
        if !self.config.http.is_some_and(|http| http.accounting) {
            if let Some(byte_counter) = self.byte_counter.take() {
                byte_counter.stop();
                self.sysctls.restore_matching(|key| key == ACCOUNTING);
            }
            return;
        }
        if let Err(error) = self.start_accounting() {
            warn!(
                "count bytes: {error} (give sluiced CAP_NET_ADMIN and a writable /proc/sys/net, or set http.accounting: false)"
            );
        }
    }

    /// Gives the byte counter the services in force.
    pub(crate) fn update_byte_counter(&mut self) {
        if let Some(byte_counter) = &self.byte_counter {
            byte_counter.follow(self.config.services.clone());
        }
    }

    fn start_accounting(&mut self) -> Result<(), String> {
        let was_on = self.sysctls.proc.sysctl(ACCOUNTING).map_err(|error| chain(&error))? != "0";
        if !was_on {
            let on = self.sysctls.change(ACCOUNTING, "1", "bytes of backends are counted");
            on.map_err(|error| chain(&error))?;
        }
        if self.byte_counter.as_ref().is_some_and(ByteCounter::has_ended) {
            self.byte_counter.take().into_iter().for_each(ByteCounter::stop);
        }
        if self.byte_counter.is_none() {
            let (services, boot) = (self.config.services.clone(), self.sysctls.boot());
            let started = self.byte_totals.start(services, self.sysctls.files(), boot, was_on);
            self.byte_counter = Some(started.map_err(|error| error.to_string())?);
        }
        Ok(())
    }
}
