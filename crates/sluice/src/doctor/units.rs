//! Units of systemd that work together with sluice.

use super::run::run;

/// keepalived moves the addresses of services between hosts, conntrackd copies conntrack entries.
const UNITS: [&str; 2] = ["keepalived.service", "conntrackd.service"];

/// Those that are enabled, and do not run. Without systemd it is not known which are needed.
pub(super) fn stopped() -> Vec<String> {
    let properties = "--property=Id,UnitFileState,ActiveState";
    let shown = run("systemctl", &[&["show", properties], &UNITS[..]].concat()).unwrap_or_default();
    shown.split("\n\n").filter_map(stopped_unit).collect()
}

/// The name of a unit from its properties, if it is enabled and does not run.
fn stopped_unit(properties: &str) -> Option<String> {
    let value = |name: &str| properties.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let is_stopped = value("UnitFileState")? == "enabled"
        && matches!(value("ActiveState")?, "inactive" | "failed" | "activating");
    is_stopped.then(|| value("Id").map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_that_is_enabled_and_failed_is_stopped() {
        let unit = |file: &str, active: &str| {
            stopped_unit(&format!("Id=keepalived.service\nActiveState={active}\nUnitFileState={file}\n"))
        };
        assert_eq!(unit("enabled", "failed").as_deref(), Some("keepalived.service"));
        assert_eq!(unit("enabled", "inactive").as_deref(), Some("keepalived.service"));
        assert_eq!(
            [unit("enabled", "active"), unit("disabled", "inactive"), unit("", "inactive")],
            [None, None, None]
        );
    }
}
