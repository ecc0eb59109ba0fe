//! Shows sluice at work on machines made of network namespaces: `make demo`.

#![forbid(unsafe_code)]

mod chart;

use sluice_testkit::{Lab, Shares};

const VIP: &str = "203.0.113.10:80";

fn main() {
    step("Six machines, each a network namespace: nothing on this one is touched");
    println!(
        "    client ------------ balancer ----------+---- b1  10.0.2.11:8080
    10.0.1.2            10.0.1.1, 10.0.2.1 +---- b2  10.0.2.12:8080
                                           +---- b3  10.0.2.13:8080
                                           +---- b4  10.0.2.14:8080

The client knows one address, {VIP}. No machine has it."
    );
    let lab = Lab::new();

    step("Four backends, round-robin, started with `sluiced -c sluice.yaml`");
    let mut daemon = lab.start(show(&service("", ["", "", "", ""])));
    requests(&lab, 400);

    step("Weights 5, 2, 1 and 0, applied by SIGHUP");
    daemon.reload(show(&service("", [", weight: 5", ", weight: 2", ", weight: 1", ", weight: 0"])));
    requests(&lab, 400);

    step("Random, for comparison: shares are near, not exact");
    daemon.reload(show(&service("\n    scheduler: random", ["", "", "", ""])));
    requests(&lab, 400);

    step("A backend leaves while somebody is connected to it");
    let mut open = lab.client.open(VIP).expect("a service");
    let gone = open.answer.backend.clone();
    println!("An open connection to {gone}: {:?}\n", open.echo("hello").expect("an open connection"));
    let all = service("", ["", "", "", ""]);
    let leaver = format!("10.0.2.1{}:", &gone[1..]);
    let rest: Vec<_> = all.lines().filter(|line| !line.contains(&leaver)).collect();
    daemon.reload(show(&rest.join("\n")));
    requests(&lab, 300);
    println!("The open connection to {gone}: {:?}", open.echo("still there?").expect("it stays open"));

    step("What the daemon knows: `sluice status`");
    print!("{}", lab.sluice(&["status"]).expect(0).stdout);

    step("What the kernel does, without the daemon in the way: `nft list ruleset`");
    print!("{}", lab.balancer.sh("nft list ruleset"));

    step("The daemon crashes: traffic goes on");
    daemon.crash();
    requests(&lab, 300);
    println!("The open connection to {gone}: {:?}", open.echo("still there?").expect("it stays open"));

    step("It starts again, takes over what is there, and is told to stop: nothing is left");
    let status = sluice_testkit::Daemon::start(&lab).stop();
    println!(
        "sluiced: {status}\nrules left: {}\nnet.ipv4.ip_forward: {}",
        lab.ruleset().lines().count(),
        lab.balancer.sysctl("net/ipv4/ip_forward")
    );
}

/// The file: one service, what to add to it, and what to add to each backend.
fn service(more: &str, backends: [&str; 4]) -> String {
    let backends = [11, 12, 13, 14].iter().zip(backends);
    let backends: Vec<_> = backends
        .map(|(n, more)| format!("\n      - {{address: 10.0.2.{n}:8080, name: b{}{more}}}", n - 10))
        .collect();
    format!("services:\n  web:\n    listen: {VIP}{more}\n    backends:{}", backends.concat())
}

/// Makes requests one after the other and draws who answers.
fn requests(lab: &Lab, count: u32) {
    println!("{count} connections from the client, one after the other:");
    let names: Vec<_> = lab.backends.iter().map(|backend| backend.name()).collect();
    let mut chart = chart::Chart::new(&names, count);
    let mut answers = vec![];
    for _ in 0..count {
        answers.extend(lab.client.tcp_times(1, VIP));
        chart.draw(&Shares::of(&answers));
    }
    chart.finish(&Shares::of(&answers));
}

fn step(title: &str) {
    let title = chart::bold(title);
    println!("\n=== {title}\n");
}

fn show(yaml: &str) -> &str {
    yaml.lines().for_each(|line| println!("    {line}"));
    println!();
    yaml
}
