//! [`Transition`]: the difference between two sets of services.

use crate::model::{EffectiveServices, Service, ServiceName, Services};

/// A change from the committed to the desired services.
#[derive(Clone, Debug)]
pub struct Transition<'a> {
    /// The services in the kernel.
    pub held: EffectiveServices<'a>,
    /// The desired services.
    pub desired: EffectiveServices<'a>,
    changed: Vec<Difference<'a>>,
}

/// A service before and after, if it differs; `None`: absent.
pub type Difference<'a> = (&'a ServiceName, Option<&'a Service>, Option<&'a Service>);

impl<'a> Transition<'a> {
    /// Compares all services.
    pub fn between(
        held: impl Into<EffectiveServices<'a>>,
        desired: impl Into<EffectiveServices<'a>>,
    ) -> Self {
        let (held, desired) = (held.into(), desired.into());
        let mut changed = Vec::new();
        let (mut before, mut after) = (held.iter().peekable(), desired.iter().peekable());
        while let Some((name, _)) =
            before.peek().into_iter().chain(after.peek()).min_by_key(|of| of.0).copied()
        {
            let [old, new] =
                [&mut before, &mut after].map(|services| services.next_if(|(other, _)| *other == name));
            let (old, new) = (old.map(|(_, service)| service), new.map(|(_, service)| service));
            if old != new {
                changed.push((name, old, new));
            }
        }
        Transition { held, desired, changed }
    }

    /// A change of some services; other services are not compared.
    pub fn of_some(held: EffectiveServices<'a>, changed: &'a Services) -> Self {
        let differences = changed.iter().map(|(name, service)| (name, held.get(name), Some(service)));
        let differences = differences.filter(|(_, before, after)| before != after).collect();
        Transition { held, desired: held.overlay(changed), changed: differences }
    }

    /// No change.
    pub fn none(services: impl Into<EffectiveServices<'a>>) -> Self {
        let services = services.into();
        Transition { held: services, desired: services, changed: vec![] }
    }

    /// The services that differ, by name.
    pub fn differences(&self) -> impl Iterator<Item = Difference<'a>> + '_ {
        self.changed.iter().copied()
    }
}
