//! Configurations of any size.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::Scheduler;

/// The text of a configuration: every service with a listener, and every backend with an address, of its
/// own.
pub(crate) fn config(scheduler: Scheduler, services: u32, backends: u32) -> String {
    let mut text = format!("defaults: {{ scheduler: {} }}\nservices:\n", scheduler.as_str());
    for service in 0..services {
        let listener = address([100, 64, 0, 1], service);
        write!(text, "  s{service}: {{ listen: {listener}:80, backends: [").expect("a string takes all");
        for backend in 0..backends {
            let separator = if backend == 0 { "" } else { ", " };
            let address = address([10, 0, 0, 1], service * backends + backend);
            write!(text, "{separator}{address}:8080").expect("a string takes all");
        }
        text.push_str("] }\n");
    }
    text
}

fn address(first: [u8; 4], offset: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::from(first)) + offset)
}
