//! New connections per second, from what two looks at the daemon counted.

use std::collections::BTreeMap;
use std::time::Instant;

use sluice_api::{DaemonStatus, Status};

/// What the last look counted, and how fast that grew since the one before.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: Option<(DaemonStatus, Instant)>,
    services: BTreeMap<String, BTreeMap<String, Count>>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    total: u64,
    per_second: Option<f64>,
}

impl Rates {
    /// Notes what a look at `at` counted. A daemon that has started since counts from elsewhere, and tells nothing
    /// until the next look.
    pub(crate) fn look(&mut self, status: &Status, at: Instant) {
        let since = self.last.as_ref().filter(|(daemon, _)| *daemon == status.daemon);
        let seconds = since.map(|(_, then)| at.saturating_duration_since(*then).as_secs_f64());
        let seconds = seconds.filter(|seconds| *seconds > 0.0);
        let before = std::mem::take(&mut self.services);
        for service in &status.services {
            let before = before.get(&service.name);
            let counted = service.backends.iter().map(|backend| {
                let total = backend.connections_total;
                let grown = before.and_then(|it| total.checked_sub(it.get(&backend.name)?.total));
                let per_second = grown.zip(seconds).map(|(grown, seconds)| grown as f64 / seconds);
                (backend.name.clone(), Count { total, per_second })
            });
            self.services.insert(service.name.clone(), counted.collect());
        }
        self.last = Some((status.daemon.clone(), at));
    }

    /// New connections per second of a backend between the last two looks; `None`: it was not seen twice.
    pub(crate) fn of(&self, service: &str, backend: &str) -> Option<f64> {
        self.services.get(service)?.get(backend)?.per_second
    }

    /// Of all backends together; `None`: none was seen twice.
    pub(crate) fn sum(&self) -> Option<f64> {
        let backends = self.services.values().flat_map(BTreeMap::values);
        backends.filter_map(|count| count.per_second).reduce(|sum, rate| sum + rate)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::status_text::tests::status;

    #[test]
    fn rate_between_two_looks_at_one_daemon_is_what_was_counted() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let mut now = status();
        rates.look(&now, start);
        assert_eq!((rates.of("web", "web2"), rates.sum()), (None, None));
        now.services[2].backends[1].connections_total += 30;
        // Somebody else of that name, as after it left the file and came back.
        now.services[2].backends[0].connections_total = 0;
        rates.look(&now, start + Duration::from_secs(2));
        assert_eq!(rates.of("web", "web2"), Some(15.0));
        assert_eq!(rates.of("web", "web3"), Some(0.0));
        assert_eq!(rates.of("web", "10.0.2.11:8080"), None);
        assert_eq!(rates.of("web", "nobody"), None);
        assert_eq!(rates.sum(), Some(15.0));

        now.daemon.pid += 1;
        now.services[2].backends[1].connections_total += 1000;
        rates.look(&now, start + Duration::from_secs(3));
        assert_eq!(rates.sum(), None, "a daemon that started in between");
        now.services[2].backends[1].connections_total += 7;
        rates.look(&now, start + Duration::from_secs(4));
        assert_eq!(rates.of("web", "web2"), Some(7.0));
        rates.look(&now, start + Duration::from_secs(4));
        assert_eq!(rates.sum(), None, "no time passed");
    }
}
