//! Least-connections and `max_connections`, with counts of flows from the test.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use sluice_api::HostStatus;
use sluice_core::flows::flow_counts::FlowCounts;
use sluice_core::flows::flow_index::NatTuple;
use sluice_core::pool::balance::Load;
use sluice_nft::{Dataplane, Protocol};
use sluiced::conntrack::counter::{CountRequest, FlowCount};
use sluiced::counters::totals::Totals;
use sluiced::request::Request;
use tokio::time::sleep;

use crate::WEB;
use crate::host::{Daemon, Host};

/// Counts, as the test wants them.
struct Counting(Receiver<CountRequest>);

impl Counting {
    fn of(host: &mut Host) -> Self {
        let (sender, receiver) = channel();
        host.counting = Some(sender);
        Counting(receiver)
    }

    /// Waits for a question and answers it, `loads` being those of the two backends.
    async fn answer(&self, loads: [u32; 2]) {
        for _ in 0..1000 {
            if let Ok(CountRequest { follow, answer }) = self.0.try_recv() {
                assert!(follow);
                let counted = FlowCount {
                    flow_counts: flow_counts(loads).into(),
                    at: Instant::now(),
                    took: Duration::from_millis(1),
                };
                drop(answer.send(Ok(counted)));
                // Until it was followed: the next question comes after that.
                return sleep(Duration::from_millis(1)).await;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody asks");
    }
}

fn flow_counts(loads: [u32; 2]) -> FlowCounts {
    let mut flow_counts = FlowCounts::default();
    for (active, backend) in loads.into_iter().zip(["10.0.2.11:8080", "10.0.2.12:8080"]) {
        let way = NatTuple {
            protocol: Protocol::Tcp,
            to: "203.0.113.10:80".parse().unwrap(),
            backend: backend.parse().unwrap(),
        };
        flow_counts.add(way, Load { active, opened: 0 });
    }
    flow_counts
}

fn web(keys: &str) -> String {
    format!("services: {{web: {{listen: '203.0.113.10:80', {keys}}}}}")
}

async fn shares(daemon: &Daemon<'_>) -> Vec<f64> {
    daemon.status().await.services[0].backends.iter().map(|backend| backend.share).collect()
}

#[tokio::test(start_paused = true)]
async fn full_backend_gets_no_new_flows_until_it_has_room() {
    let mut host =
        Host::new(&web("backends: [{address: '10.0.2.11:8080', max_connections: 3}, '10.0.2.12:8080']"));
    let counting = Counting::of(&mut host);
    host.run(async |daemon| {
        counting.answer([2, 9]).await;
        assert_eq!(shares(daemon).await, [0.5, 0.5]);
        let commits = host.commits();
        counting.answer([3, 9]).await;
        assert_eq!(shares(daemon).await, [0.0, 1.0]);
        assert!(host.commits() > commits);
        let commits = host.commits();
        counting.answer([4, 9]).await;
        let view = daemon.ask(Request::View).await;
        let status =
            view.status(&Totals::default().counted(), Some(&flow_counts([4, 9])), HostStatus::default());
        let [one, two] = &status.services[0].backends[..] else { panic!("{status:?}") };
        assert_eq!((one.full, one.active, one.eligible), (true, Some(4), true));
        assert_eq!((two.full, two.active), (false, Some(9)));
        assert_eq!(host.commits(), commits, "nothing changed");
        counting.answer([2, 9]).await;
        assert_eq!(shares(daemon).await, [0.5, 0.5]);
        counting.answer([3, 9]).await;
        assert_eq!(shares(daemon).await, [0.0, 1.0]);
        assert!(daemon.reload_with(WEB).await.ok);
        assert_eq!(shares(daemon).await, [0.5, 0.5], "there is no limit any more");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reload_keeps_backends_full_as_long_as_they_have_a_limit_and_fills_no_others() {
    let with = |limits: [&str; 2]| {
        let [one, two] = limits;
        web(&format!("backends: [{{address: '10.0.2.11:8080'{one}}}, {{address: '10.0.2.12:8080'{two}}}]"))
    };
    let (limit, higher) = (", max_connections: 3", ", max_connections: 300");
    let mut host = Host::new(&with([limit, higher]));
    let counting = Counting::of(&mut host);
    host.run(async |daemon| {
        counting.answer([3, 9]).await;
        assert_eq!(shares(daemon).await, [0.0, 1.0]);
        assert!(daemon.reload_with(&format!("# the same\n{}", with([limit, higher]))).await.ok);
        assert_eq!(shares(daemon).await, [0.0, 1.0]);
        assert!(daemon.reload_with(&with(["", higher])).await.ok);
        assert_eq!(shares(daemon).await, [0.5, 0.5]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn shares_of_least_connections_follow_flows_and_survive_a_reload() {
    let yaml = web("scheduler: least-connections, backends: ['10.0.2.11:8080', '10.0.2.12:8080']");
    let mut host = Host::new(&yaml);
    let counting = Counting::of(&mut host);
    host.run(async |daemon| {
        counting.answer([5, 5]).await;
        assert_eq!(shares(daemon).await, [0.5, 0.5]);
        let chains = host.kernel().read().unwrap().table.unwrap().chains;
        counting.answer([50, 0]).await;
        let uneven = shares(daemon).await;
        assert!(uneven[0] < 0.25, "{uneven:?}");
        assert_eq!(host.kernel().read().unwrap().table.unwrap().chains, chains, "only slots move");
        assert!(daemon.reload_with(&format!("# the same\n{yaml}")).await.ok);
        assert_eq!(shares(daemon).await, uneven);
        assert!(daemon.reload_with(&yaml.replace("least-connections", "round-robin")).await.ok);
        assert_eq!(shares(daemon).await, [0.5, 0.5]);
    })
    .await;
}
