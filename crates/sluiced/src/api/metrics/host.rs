//! Metrics of the process, with the names of Prometheus' client libraries.

use std::fmt;
use std::fs;

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Resource usage of the process; values that the system does not provide are omitted.
#[derive(Debug)]
pub(super) struct Process {
    memory: Option<u64>,
    seconds: Option<f64>,
    descriptors: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Self {
        let pages = || -> Option<u64> {
            fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
        };
        let page = || u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok();
        let seconds = getrusage(UsageWho::RUSAGE_SELF).ok().map(|usage| {
            let of = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
            of(usage.user_time()) + of(usage.system_time())
        });
        let descriptors = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        Process { memory: pages().zip(page()).map(|(pages, size)| pages * size), seconds, descriptors }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Process { memory, seconds, descriptors } = self;
        let mut gauge = |name: &str, help: &str, value: &Option<u64>| match value {
            None => Ok(()),
            Some(value) => {
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)
            }
        };
        gauge("process_resident_memory_bytes", "Resident memory of sluiced", memory)?;
        gauge("process_open_fds", "Open file descriptors of sluiced", descriptors)?;
        if let Some(seconds) = seconds {
            let help = "CPU time of sluiced";
            let mut counter =
                encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            counter.encode_counter::<NoLabelSet, _, u64>(seconds, None)?;
        }
        Ok(())
    }
}
