//! A lab whose balancer has an init system.

use std::ops::Deref;

use sluice_testkit::Lab;

use crate::container::Container;

/// A lab whose balancer is a [`Container`].
pub(crate) struct Machine {
    container: Container,
    /// Client and backends beside it, and its own network.
    pub(crate) lab: Lab,
}

impl Deref for Machine {
    type Target = Container;

    fn deref(&self) -> &Container {
        &self.container
    }
}

impl Machine {
    /// Boots it, without our package.
    pub(crate) fn boot() -> Self {
        let lab = Lab::new();
        Machine { container: Container::boot(&lab.balancer), lab }
    }

    /// Boots it and installs our package, which starts nothing.
    pub(crate) fn installed() -> Self {
        let machine = Machine::boot();
        machine.apt("install /packages/sluice.deb");
        machine
    }

    /// The same, with a service that is started: [`crate::VIP`] in turn to the four backends.
    pub(crate) fn serving() -> Self {
        let machine = Machine::installed();
        machine.configure(&web(&[1, 2, 3, 4]));
        machine.sh("systemctl start sluiced");
        machine
    }
}

/// One service on [`crate::VIP`] with these backends.
pub(crate) fn web(backends: &[u32]) -> String {
    let backends: Vec<_> = backends.iter().map(|n| format!("10.0.2.1{n}:8080")).collect();
    format!(
        "control: {{group: sluice}}\nservices:\n  web: {{listen: 203.0.113.10:80, backends: [{}]}}",
        backends.join(", ")
    )
}
