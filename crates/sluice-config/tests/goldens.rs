//! Every folder of `bad` and `good` holds a `config.yaml`, what it includes, and in `expected.txt` what
//! is made of it: problems line by line, or the configuration and its warnings. Every folder of `lists` holds a bad list of
//! backends, `backends.yaml`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sluice_config::{Loaded, Problem, load, parse_backends};
use sluice_core::model::{Announce, Backend, Config, Hooks, Midstream, OnDeny, Service};

#[test]
fn load_of_bad_files_reports_every_problem() {
    compare("bad", |case| match load(&case.join("config.yaml")) {
        Err(problems) => lines(&problems),
        Ok(loaded) => panic!("{} is good:\n{}", case.display(), describe(&loaded)),
    });
}

#[test]
fn load_of_good_files_means_what_they_say() {
    compare("good", |case| match load(&case.join("config.yaml")) {
        Ok(loaded) => describe(&loaded),
        Err(problems) => panic!("{} is bad:\n{}", case.display(), lines(&problems)),
    });
}

#[test]
fn bad_lists_of_backends_report_every_problem() {
    compare("lists", |case| {
        let path = case.join("backends.yaml");
        let text = fs::read_to_string(&path).unwrap();
        lines(&parse_backends(&path, &text).expect_err("the list is bad"))
    });
}

/// Compares what `outcome` says of each case in `kind` with the expectation beside it.
fn compare(kind: &str, outcome: impl Fn(&Path) -> String) {
    sluice_golden::assert_all(cases(kind).into_iter().map(|case| {
        // Problems name included files by their path, which differs between machines.
        let text = outcome(&case).replace(&format!("{}/", case.display()), "");
        (case.join("expected.txt"), text)
    }));
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(kind);
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

fn describe(Loaded { config, warnings }: &Loaded) -> String {
    let Config { forwarding, on_stop, state, refresh, announce, control, http, services } = config;
    let mut text = lines(warnings);
    writeln!(text, "forwarding {forwarding:?}, on_stop {on_stop:?}").unwrap();
    writeln!(text, "state {}, refresh {refresh:?}", state.display()).unwrap();
    writeln!(text, "control {}, group {:?}", control.socket.display(), control.group).unwrap();
    if *announce != Announce::default() {
        writeln!(text, "{announce:?}").unwrap();
    }
    http.iter().for_each(|http| writeln!(text, "{http:?}").unwrap());
    for (name, service) in services.iter() {
        let state = if service.enabled { "enabled" } else { "disabled" };
        writeln!(text, "\n{name}: {state}, {:?}, {:?}", service.scheduler, service.source).unwrap();
        service.interface.iter().for_each(|interface| writeln!(text, "  interface {interface}").unwrap());
        if service.announce {
            writeln!(text, "  announce {:?}", service.announced().collect::<Vec<_>>()).unwrap();
        }
        service.listeners.iter().for_each(|listener| writeln!(text, "  listen {listener}").unwrap());
        service.health.iter().for_each(|check| writeln!(text, "  {check:?}").unwrap());
        service.affinity.iter().for_each(|seconds| writeln!(text, "  affinity {seconds} s").unwrap());
        let Service { midstream, scheduler, source, synproxy, .. } = service;
        if *midstream != Midstream::default_for(*scheduler, *source) && !synproxy {
            writeln!(text, "  midstream {midstream:?}").unwrap();
        }
        let Hooks { on_ready, on_unready } = &service.hooks;
        on_ready.iter().for_each(|command| writeln!(text, "  on_ready {command:?}").unwrap());
        on_unready.iter().for_each(|command| writeln!(text, "  on_unready {command:?}").unwrap());
        service.guard.iter().for_each(|guard| writeln!(text, "  {guard:?}").unwrap());
        if service.on_deny != OnDeny::default() {
            writeln!(text, "  on_deny {:?}", service.on_deny).unwrap();
        }
        let pool = |service: &Service| {
            let Service { on_down, on_empty, quorum, slow_start, fixed_grid, .. } = service;
            format!(
                "{on_down:?}, {on_empty:?}, quorum {quorum}, slow start {slow_start:?}, grid {fixed_grid}"
            )
        };
        if pool(service) != pool(&Service::default()) {
            writeln!(text, "  {}", pool(service)).unwrap();
        }
        for Backend { name, address, port, weight, backup, max_connections } in &service.backends {
            write!(text, "  {name}: {address} {port:?}, weight {weight}").unwrap();
            backup.then(|| write!(text, ", backup").unwrap());
            max_connections.iter().for_each(|most| write!(text, ", at most {most} connections").unwrap());
            writeln!(text).unwrap();
        }
    }
    text
}
