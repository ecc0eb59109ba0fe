//! Figures for Prometheus say the same as status, and as the kernel.

use std::collections::BTreeMap;

use sluice_api::{Health, ServiceState};
use sluice_nft::Table;
use sluiced::api::collector::Format;

use crate::history::{History, Verdict};

pub async fn say_the_same(history: &mut History<'_>) -> Verdict {
    let tried = history.machine.plane.tried();
    let Some(look) = history.machine.look().await else {
        // It may have been killed at a commit just now.
        return if history.machine.runs() { Err("the daemon does not answer".into()) } else { Ok(()) };
    };
    let text = look.figures(Format::Prometheus);
    let figures = Figures::of(&text)?;
    let status = &look.status;
    figures.says("table_synced", "", f64::from(status.table.synced))?;
    figures.says("config_last_reload_successful", "", f64::from(status.reload.ok))?;
    figures.says("state_directory_writable", "", f64::from(status.state.problems.is_empty()))?;
    if history.machine.plane.tried() == tried {
        // A commit that fails may have been carried out.
        if status.table.synced {
            let table = history.machine.plane.table().unwrap_or_default();
            for (kind, count) in objects(&table) {
                figures.says("table_objects", &format!("kind=\"{kind}\""), count as f64)?;
            }
            history.reach.hit("figures: as the kernel");
        }
    }
    for service in &status.services {
        for (word, state) in
            [("up", ServiceState::Up), ("empty", ServiceState::Empty), ("disabled", ServiceState::Disabled)]
        {
            let labels = format!("service=\"{}\",state=\"{word}\"", service.name);
            figures.says("service_state", &labels, f64::from(service.state == state))?;
        }
        let labels = format!("service=\"{}\"", service.name);
        match service.state {
            ServiceState::Disabled => figures.is_silent("service_ready", &labels)?,
            _ => figures.says("service_ready", &labels, f64::from(service.ready))?,
        }
        for backend in &service.backends {
            let labels = format!("service=\"{}\",backend=\"{}\"", service.name, backend.name);
            let says = |name, value| figures.says(name, &labels, value);
            says("backend_eligible", f64::from(backend.eligible))?;
            says("backend_weight", f64::from(backend.weight))?;
            says("backend_share_ratio", backend.share)?;
            says("backend_active_connections", backend.active.unwrap_or_default() as f64)?;
            match backend.health {
                Health::Unknown => figures.is_silent("backend_healthy", &labels)?,
                health => says("backend_healthy", f64::from(health == Health::Healthy))?,
            }
        }
    }
    let backends: usize = status.services.iter().map(|service| service.backends.len()).sum();
    match figures.count("backend_eligible") {
        count if count == backends => {
            history.reach.hit("figures: as status");
            Ok(())
        }
        count => Err(format!("figures of {count} backends, there are {backends}")),
    }
}

fn objects(table: &Table) -> [(&'static str, usize); 3] {
    let elements = table.sets.values().map(|set| set.elements.len()).sum();
    [("sets", table.sets.len()), ("chains", table.chains.len()), ("elements", elements)]
}

/// Samples by name and labels.
struct Figures<'a>(BTreeMap<(&'a str, &'a str), f64>);

impl<'a> Figures<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        let sample = |line: &'a str| {
            let (name, value) = line.rsplit_once(' ')?;
            let (name, labels) =
                name.strip_suffix('}').and_then(|name| name.split_once('{')).unwrap_or((name, ""));
            Some(((name.strip_prefix("sluice_").unwrap_or(name), labels), value.parse().ok()?))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).ok_or_else(|| format!("not a sample: {line}")));
        samples.collect::<Result<_, _>>().map(Figures)
    }

    fn says(&self, name: &str, labels: &str, value: f64) -> Verdict {
        match self.0.get(&(name, labels)) {
            Some(said) if (said - value).abs() < 1e-6 => Ok(()),
            said => Err(format!("figure {name}{{{labels}}} is {said:?}, should be {value}")),
        }
    }

    fn is_silent(&self, name: &str, labels: &str) -> Verdict {
        match self.0.get(&(name, labels)) {
            None => Ok(()),
            Some(said) => Err(format!("figure {name}{{{labels}}} is {said}, nothing is known of it")),
        }
    }

    fn count(&self, name: &str) -> usize {
        self.0.keys().filter(|(known, _)| *known == name).count()
    }
}
