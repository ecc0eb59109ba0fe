//! A configuration file, all the way to the kernel's first batches, and the problems that it has. The same text as a list of
//! backends.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sluice_config::{Problem, SourceFile, parse, parse_backends};
use sluice_core::model::{Config, Service};
use sluice_core::plan::diff;
use sluice_core::render::render;
use sluice_nft::Dataplane;
use sluice_nft::fake::FakeKernel;

fuzz_target!(|text: &str| {
    let source = SourceFile { path: "fuzz.yaml".into(), text: text.to_owned() };
    match parse(source, |_| Ok(vec![])) {
        // Of ports and slots by the thousand nothing new comes.
        Ok(loaded) if elements(&loaded.config) > 10_000 => {}
        Ok(loaded) => {
            let desired = render(&loaded.config.services, None);
            let mut kernel = FakeKernel::default();
            for batch in diff(None, Some(&desired.table), &desired.owners).batches {
                kernel.commit(&batch.steps(), None).expect("the kernel takes what is valid");
            }
        }
        Err(problems) => assert_plain(&problems),
    }
    if let Err(problems) = parse_backends(Path::new("fuzz.yaml"), text) {
        assert_plain(&problems);
    }
});

/// Checks that there are problems, each a line of plain text.
fn assert_plain(problems: &[Problem]) {
    assert!(!problems.is_empty());
    for problem in problems {
        let line = problem.to_string();
        assert!(!line.contains(char::is_control), "a problem is one line of plain text: {line:?}");
    }
}

/// About as many map elements as the services need, if each of their ports needs one for each slot.
fn elements(config: &Config) -> u64 {
    let of = |service: &Service| {
        let ports: u64 = service.listeners.iter().map(|listener| u64::from(listener.ports.count())).sum();
        ports * service.backends.iter().map(|backend| u64::from(backend.weight)).sum::<u64>()
    };
    config.services.values().map(of).sum()
}
