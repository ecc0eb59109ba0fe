//! Alert rules and dashboard against promtool, and against the table of metrics in docs/monitoring.md.

#![forbid(unsafe_code)]

mod daemon;
mod page;
mod promql;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::page::Page;
use crate::promql::{Selector, labels_grouped_by, selectors};

#[test]
fn rules_are_taken_by_promtool() {
    promtool(&["check", "rules", path("monitoring/sluice.rules.yaml").to_str().unwrap()]);
}

#[test]
fn alerts_fire_when_all_is_wrong_and_never_when_all_is_well() {
    promtool(&["test", "rules", path("monitoring/sluice.rules.test.yaml").to_str().unwrap()]);
}

#[test]
fn alerts_are_all_explained_and_tested_both_ways() {
    let alerts = values(&rules(), "- alert: ");
    assert!(!alerts.is_empty());
    assert_eq!(alerts, Page::read().alerts, "alerts of the rules, and in the page");

    let tests = read("monitoring/sluice.rules.test.yaml");
    let fires = |line: &&str| line.starts_with("      - alertname: ");
    let firing: BTreeSet<_> = tests.lines().filter(fires).map(|line| line[19..].to_owned()).collect();
    assert_eq!(alerts, firing, "alerts of the rules, and that fire in the tests");
    for alert in alerts {
        assert!(tests.contains(&format!("{{ alertname: {alert}, ")), "{alert} is not silent in a test");
    }
}

#[test]
fn expressions_of_the_dashboard_are_taken_by_promtool() {
    let folder = tempfile::tempdir().unwrap();
    let rule = |(n, expr)| json!({"record": format!("dashboard:{n}"), "expr": expr});
    let rules: Vec<_> = dashboard().into_iter().enumerate().map(rule).collect();
    assert!(rules.len() > 20, "{} expressions", rules.len());
    // JSON is YAML, too.
    let file = folder.path().join("dashboard.yaml");
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn panels_of_the_dashboard_have_ids_of_their_own_and_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&read("monitoring/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        let free = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))).all(|cell| cells.insert(cell));
        assert!(free, "{panel}");
    }
}

#[test]
fn metrics_of_rules_and_dashboard_are_those_of_the_page_with_its_labels() {
    let page = Page::read();
    let recorded = values(&rules(), "- record: ");
    let mut shown = BTreeSet::new();
    let expressions = values(&rules(), "expr: ");
    for (expr, on_dashboard) in
        expressions.into_iter().map(|e| (e, false)).chain(dashboard().into_iter().map(|e| (e, true)))
    {
        let used = selectors(&expr);
        assert!(!used.is_empty(), "{expr}");
        for Selector { metric, labels } in used {
            if recorded.contains(&metric) || metric == "up" {
                continue;
            }
            let Some((name, known)) = page.labels(&metric) else {
                panic!("{metric} is not in the page: {expr}")
            };
            for label in labels {
                assert!(known.contains(&label), "{metric} has no label {label}: {expr}");
            }
            if on_dashboard {
                shown.insert(name.to_owned());
            }
        }
        for label in labels_grouped_by(&expr) {
            assert!(page.all_labels().contains(&label), "no metric has a label {label}: {expr}");
        }
    }
    let missing: Vec<_> = page.metrics.keys().filter(|name| !shown.contains(*name)).collect();
    assert_eq!(missing, [""; 0], "metrics that the dashboard does not show");
    let explained = read("monitoring.md");
    assert!(recorded.iter().all(|name| explained.contains(&format!("`{name}`"))), "{recorded:?}");
}

/// Expressions of panels, annotations and variables, with something for the variables.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("monitoring/grafana-dashboard.json")).unwrap();
    let mut found = Vec::new();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array());
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    for expr in targets.flatten().chain(annotations).map(|query| query["expr"].as_str().unwrap()) {
        found.push(expr.to_owned());
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let values = query.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(", "));
        found.push(values.unwrap_or_else(|| panic!("{query}")).0.to_owned());
    }
    found
        .iter()
        .map(|expr| expr.replace("$__rate_interval", "5m").replace("$instance", "a").replace("$service", "b"))
        .collect()
}

/// What follows a prefix in lines of the rules.
fn values(rules: &str, prefix: &str) -> BTreeSet<String> {
    rules.lines().filter_map(|line| line.trim_start().strip_prefix(prefix)).map(str::to_owned).collect()
}

fn rules() -> String {
    read("monitoring/sluice.rules.yaml")
}

fn promtool(arguments: &[&str]) {
    let run = Command::new(promtool_path())
        .args(arguments)
        .output()
        .expect("promtool, from `tests/setup/tool promtool`");
    let said = [&run.stdout[..], &run.stderr[..]].concat();
    assert!(run.status.success(), "promtool {arguments:?}\n{}", String::from_utf8_lossy(&said));
}

fn promtool_path() -> PathBuf {
    // Tests have no network: `make test` has put it there. Or the system has it.
    let tools = env::var_os("SLUICE_TOOLS").map_or_else(|| path("../target/tools"), PathBuf::from);
    let unpacked = tools.join("prometheus/usr/bin/promtool");
    if unpacked.exists() { unpacked } else { "promtool".into() }
}

fn read(file: &str) -> String {
    let path = path(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
}
