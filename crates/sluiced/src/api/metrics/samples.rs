//! Converts a status snapshot to metrics.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use sluice_api::{AddressState, BackendStatus, Health, ServiceState, ServiceStatus, Status, Timestamp};

use crate::api::collector::StatusSnapshot;
use crate::logging;

/// The metrics of a snapshot.
#[derive(Debug)]
pub(super) struct Samples(pub(super) Arc<StatusSnapshot>);

type Label<'a> = (&'static str, &'a str);

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = Out(&mut encoder);
        self.daemon(&mut out)?;
        self.kernel(&mut out)?;
        self.services(&mut out)?;
        self.backends(&mut out)
    }
}

impl Samples {
    fn daemon(&self, out: &mut Out<'_, '_>) -> Result<(), fmt::Error> {
        let (Status { daemon, config, reload, state, followers, node, announce, .. }, reloads) =
            (&self.0.status, self.0.view.reloads);
        out.gauges("build_info", "Version of sluiced", [([("version", &*daemon.version)], 1u64)])?;
        out.gauge("start_time_seconds", "Start time of sluiced", seconds(daemon.started))?;
        let help = "Digest of the services in force, to compare nodes";
        out.gauges("config_digest_info", help, [([("digest", &*config.digest)], 1u64)])?;
        out.counters(
            "config_reloads",
            "Number of reloads, by result",
            [([("result", "ok")], reloads.ok), ([("result", "failed")], reloads.failed)],
        )?;
        let help = "Whether the last reload succeeded";
        out.gauge("config_last_reload_successful", help, u64::from(reload.ok))?;
        let help = "Time when the configuration in force was loaded";
        out.gauge("config_last_reload_success_timestamp_seconds", help, seconds(reloads.applied))?;
        let help = "Whether all state that a restart needs is written";
        out.gauge("state_directory_writable", help, u64::from(state.problems.is_empty()))?;
        let help = "Log lines that were lost because nobody read the log";
        out.counters("log_lines_lost", help, [([] as [Label; 0], logging::lost())])?;
        let up = followers.iter().map(|it| ([("follower", &*it.name)], u64::from(it.error.is_none())));
        out.gauges("follower_up", "Whether changes by other programs are noticed at once", up)?;
        let help = "Whether an operator made the node leave";
        out.gauge("node_left", help, u64::from(node.left.is_some()))?;
        let count = |state| announce.addresses.iter().filter(|it| it.state == state).count() as u64;
        let states = AddressState::ALL.map(|state| ([("state", state.as_str())], count(state)));
        out.gauges("announced_addresses", "Addresses of announced services, by state", states)
    }

    fn kernel(&self, out: &mut Out<'_, '_>) -> Result<(), fmt::Error> {
        let Status { table, host, .. } = &self.0.status;
        out.gauge("table_synced", "Whether the kernel equals the configuration", u64::from(table.synced))?;
        let objects = [("sets", table.sets), ("chains", table.chains), ("elements", table.elements)];
        let objects = objects.map(|(kind, count)| ([("kind", kind)], count as u64));
        out.gauges("table_objects", "Number of objects in table inet sluice", objects)?;
        let help = "Commits by other programs that changed the table";
        out.counters("foreign_changes", help, [([] as [Label; 0], table.foreign_changes.total)])?;
        if let Some(entries) = host.conntrack_entries {
            out.gauge("conntrack_entries", "Number of conntrack entries of this host", entries)?;
        }
        if let Some(max) = host.conntrack_max {
            out.gauge("conntrack_entries_limit", "Maximum number of conntrack entries", max)?;
        }
        if let Some(failed) = self.0.insert_failed {
            let help =
                "Flows of this host that conntrack could not insert, usually because no source port is free";
            out.counters("conntrack_insert_failed", help, [([] as [Label; 0], failed)])?;
        }
        Ok(())
    }

    fn services(&self, out: &mut Out<'_, '_>) -> Result<(), fmt::Error> {
        let services = &self.0.status.services;
        let states = services.iter().flat_map(|service| {
            let states = [
                ("up", ServiceState::Up),
                ("empty", ServiceState::Empty),
                ("disabled", ServiceState::Disabled),
            ];
            states.map(|(name, state)| {
                ([("service", &*service.name), ("state", name)], u64::from(service.state == state))
            })
        });
        let enabled = services.iter().filter(|service| service.state != ServiceState::Disabled);
        let ready = enabled.map(|service| ([("service", &*service.name)], u64::from(service.ready)));
        let help = "Whether the enabled service is in sync and has its quorum";
        out.gauges("service_ready", help, ready)?;
        out.gauges("service_state", "1 for the current state of the service, 0 for others", states)?;
        let dropped = services.iter().flat_map(|service| {
            let reasons = service.dropped.iter();
            reasons.map(|(reason, count)| ([("service", &*service.name), ("reason", &**reason)], *count))
        });
        out.counters("service_dropped_packets", "Packets dropped by the guard of the service", dropped)
    }

    fn backends(&self, out: &mut Out<'_, '_>) -> Result<(), fmt::Error> {
        let StatusSnapshot { status, counted, .. } = &*self.0;
        let all =
            || status.services.iter().flat_map(|service| service.backends.iter().map(move |b| (service, b)));
        // Totals also have removed backends, because they may come back.
        let there: HashSet<(&str, &str)> = all().map(|(s, b)| (&*s.name, &*b.name)).collect();
        let counted = counted.flows();
        let flows: Vec<_> = counted
            .iter()
            .filter_map(|(flow, count)| {
                let pair = (flow.service.as_str(), flow.backend.as_ref()?.as_str());
                there.contains(&pair).then(|| (pair, flow.listener.to_string(), *count))
            })
            .collect();
        let flows = flows.iter().map(|((service, backend), listener, count)| {
            ([("service", *service), ("listener", listener), ("backend", *backend)], *count)
        });
        out.counters("backend_connections", "New connections", flows)?;

        let of = |(service, backend)| names(service, backend);
        let some = |value: fn(&BackendStatus) -> Option<u64>| {
            all().filter_map(move |pair| Some((of(pair), value(pair.1)?)))
        };
        out.gauges("backend_active_connections", "Live connections", some(|backend| backend.active))?;
        let healthy = some(|backend| match backend.health {
            Health::Unknown => None,
            Health::Healthy => Some(1),
            Health::Unhealthy => Some(0),
        });
        out.gauges("backend_healthy", "Whether the backend is healthy", healthy)?;
        let eligible = some(|backend| Some(backend.eligible.into()));
        out.gauges("backend_eligible", "Whether health and admin state permit new connections", eligible)?;
        out.gauges("backend_weight", "Weight in force", some(|backend| Some(backend.weight.into())))?;
        let shares = all().map(|pair| (of(pair), pair.1.share));
        let help = "Fraction of the new connections of its IP version, 0 to 1";
        out.gauges("backend_share_ratio", help, shares)?;
        let ports = all().filter_map(|pair| Some((of(pair), pair.1.source_ports?)));
        let help = "Fraction of the source ports towards it in use, 0 to 1";
        out.gauges("backend_source_ports_used_ratio", help, ports)?;
        let bytes = all().flat_map(|(service, backend)| {
            let [s, b] = names(service, backend);
            let ways = [("in", backend.bytes_in), ("out", backend.bytes_out)];
            ways.into_iter().filter_map(move |(way, bytes)| Some(([s, b, ("direction", way)], bytes?)))
        });
        out.counters("backend_bytes", "Bytes from clients (in) and to clients (out)", bytes)
    }
}

fn names<'a>(service: &'a ServiceStatus, backend: &'a BackendStatus) -> [Label<'a>; 2] {
    [("service", &service.name), ("backend", &backend.name)]
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1e3
}

/// The target of samples. A metric without samples is omitted.
struct Out<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Out<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> Result<(), fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> Result<(), fmt::Error> {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), fmt::Error> {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}
