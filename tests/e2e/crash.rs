//! Daemons killed during an operation: the kernel has the result of one of the commits, traffic continues, and
//! the next daemon continues from there.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sluice_core::plan::diff;
use sluice_core::render::render;
use sluice_netlink::Netlink;
use sluice_nft::fake::FakeKernel;
use sluice_nft::{Dataplane, Table};
use sluice_testkit::{Daemon, Lab, program};

use crate::{FOUR, web};

const VIP: &str = "203.0.113.10:80";
const FORWARD4: &str = "net/ipv4/ip_forward";

/// Number of kills of each kind, spread over the duration of the interrupted operation.
const KILLS: u32 = 10;

/// `web`, which does not change, and many services that change slot counts, schedulers and backends.
fn many(n: u32) -> String {
    let scheduler = ["round-robin", "random", "source-hash"][n as usize % 3];
    let service = |port: u32| {
        let (weight, other) = (1 + (n + port) % 4, 12 + (n + port) % 3);
        format!(
            "  s{port}: {{listen: '203.0.113.20:{port}', scheduler: {scheduler}, \
             backends: [{{address: '10.0.2.11:8080', weight: {weight}}}, '10.0.2.{other}:8080']}}\n"
        )
    };
    let services: String = (1000..1200).map(service).collect();
    format!("services:\n  web: {{listen: {VIP}, backends: {FOUR}}}\n{services}")
}

/// The table as text; empty if there is none.
type State = Option<String>;

/// The table in the kernel.
fn read(lab: &Lab) -> Option<Table> {
    let kernel = lab.balancer.run(|| Netlink::open().expect("open nf_tables").read());
    kernel.expect("read the table").table
}

fn state(table: Option<&Table>) -> State {
    table.map(ToString::to_string)
}

/// The current table, and the table after each commit of the plan for the file.
fn states(lab: &Lab) -> Vec<State> {
    let config = sluice_config::load(&lab.config()).expect("the file is good").config;
    let current = read(lab);
    let desired = render(&config.services, current.as_ref());
    let plan = diff(current.as_ref(), Some(&desired.table), &desired.owners);
    let mut kernel = FakeKernel::default();
    kernel.edit(|table| *table = current);
    let mut states = vec![state(kernel.table())];
    for batch in &plan.batches {
        kernel.commit(&batch.steps(), None).expect("a plan can be carried out");
        states.push(state(kernel.table()));
    }
    states
}

/// All tables with their handles, which are never reused.
fn tables(lab: &Lab) -> String {
    lab.balancer.sh("nft -a list tables")
}

/// Kills the daemon after a delay and expects one of these rulesets. The next daemon must complete the change
/// without creating the table again.
fn crash<'a>(lab: &'a Lab, daemon: Daemon<'_>, delay: Duration, states: &[State]) -> Daemon<'a> {
    sleep(delay);
    daemon.crash();
    let found = state(read(lab).as_ref());
    let commits = states.iter().position(|state| *state == found);
    let commits = commits.unwrap_or_else(|| panic!("killed after {delay:?} between two states:\n{found:?}"));
    eprintln!("killed after {delay:?} and {commits} of {} commits", states.len() - 1);
    let before = tables(lab);
    if found.is_some() {
        lab.client.tcp(VIP).unwrap_or_else(|e| panic!("killed after {delay:?}: {e}"));
    }
    let next = Daemon::start(lab);
    lab.sluice(&["plan"]).expect(0);
    assert!(found.is_none() || tables(lab) == before, "{before} became {}", tables(lab));
    next
}

/// Delays from 0 to a bit more than `whole`.
fn spread(whole: Duration) -> impl Iterator<Item = Duration> {
    (0..KILLS).map(move |n| whole * n * 11 / 10 / (KILLS - 1))
}

#[test]
fn daemon_killed_while_it_starts_leaves_all_or_nothing() {
    let lab = Lab::new();
    lab.configure(&many(0));
    let states = states(&lab);
    let began = Instant::now();
    assert!(Daemon::start(&lab).stop().success());
    for delay in spread(began.elapsed()) {
        let started = Daemon::begin(&lab, &program("sluiced"), &[]);
        let next = crash(&lab, started, delay, &states);
        assert!(next.stop().success());
        assert_eq!((lab.ruleset(), lab.balancer.sysctl(FORWARD4)), (String::new(), "0".to_owned()));
    }
}

#[test]
fn daemon_killed_while_it_adopts_or_reloads_leaves_one_of_the_states_of_the_plan() {
    let lab = Lab::new();
    let mut daemon = lab.start(&many(0));
    let mut open = lab.client.open(VIP).unwrap();
    let began = Instant::now();
    daemon.reload(&many(1));
    for (n, delay) in (2..).step_by(2).zip(spread(began.elapsed())) {
        lab.configure(&many(n));
        let planned = states(&lab);
        daemon.begin_reload();
        daemon = crash(&lab, daemon, delay, &planned);

        daemon.crash();
        lab.configure(&many(n + 1));
        let planned = states(&lab);
        daemon = Daemon::begin(&lab, &program("sluiced"), &[]);
        daemon = crash(&lab, daemon, delay, &planned);
        assert_eq!(open.echo("still there?").unwrap(), "still there?");
    }
    assert!(daemon.stop().success());
    assert_eq!(lab.balancer.sysctl(FORWARD4), "0", "what was there before all that is remembered");
}

#[test]
fn daemon_killed_while_it_stops_leaves_all_or_nothing() {
    let lab = Lab::new();
    let mut daemon = lab.start(&many(0));
    let states = [state(read(&lab).as_ref()), None];
    for delay in spread(Duration::from_millis(2)) {
        daemon.begin_stop();
        daemon = crash(&lab, daemon, delay, &states);
    }
    assert!(daemon.stop().success());
    assert_eq!((lab.ruleset(), lab.balancer.sysctl(FORWARD4)), (String::new(), "0".to_owned()));
}

#[test]
fn files_that_a_crash_left_half_written_never_block_a_start() {
    let lab = Lab::new();
    let mut daemon = lab.start(&web());
    let [state, new, lock] = ["state.json", "state.json.new", "sluiced.lock"].map(|name| lab.path(name));
    let whole = fs::read_to_string(&state).unwrap();
    let half = &whole[..whole.len() / 2];
    // An incomplete new file beside a complete old one is ignored.
    for (n, text) in [whole.as_str(), half, "", "\0\0\0\0"].into_iter().enumerate() {
        daemon.crash();
        assert!(lab.path("sluice.sock").exists(), "and this is left as well");
        fs::write(&state, text).unwrap();
        fs::write(&new, half).unwrap();
        fs::write(&lock, if n.is_multiple_of(2) { "1\n" } else { "\0" }).unwrap();
        daemon = Daemon::start(&lab);
        assert_eq!(daemon.logged("ignored"), n, "{}", daemon.log());
        lab.sluice(&["status"]).expect(0);
        lab.client.tcp(VIP).unwrap();
    }
    assert!(daemon.stop().success());
    assert_eq!(lab.ruleset(), "");
}
