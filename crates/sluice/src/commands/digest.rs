//! `sluice digest`: a hash of the services of a file, to compare nodes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use sluiced::digest::{Digest, SHORT};
use sluiced::fatal::Fatal;

use crate::options::Common;
use crate::{config, output};

/// Print a short hash of the services of a file, to compare nodes
///
/// Nodes with the same digest have the same services, and choose alike. Comments, format, the order of keys, includes, and
/// keys that are written with their default do not change it; neither do keys outside of the services. Needs no privileges
/// and no daemon. `sluice status` shows the digest of the services in force.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DigestCommand {
    /// Configuration file
    file: Option<PathBuf>,

    /// Compare with the digest of another node
    #[arg(long, value_name = "DIGEST", value_parser = digits)]
    compare: Option<String>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice digest
  sluice digest --compare \"$(ssh lb2 sluice digest)\" || echo 'lb2 has other services'
  sluice digest new.yaml --json | jq -r .full

JSON: { \"digest\": 12 hexadecimal digits, \"full\": 64 digits, \"same\": bool or null }

Exit codes: 0 ok, 3 another digest (--compare), 78 the file is invalid.";

#[derive(Serialize)]
struct DigestReport {
    digest: String,
    full: String,
    same: Option<bool>,
}

impl DigestCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let loaded = config::load(common.config(self.file.as_ref()))?;
        let digest = Digest::of(loaded.config.shared());
        let same = self.compare.as_ref().map(|other| digest.full().starts_with(other));
        match self.json {
            true => output::print_json(&report(&digest, same))?,
            false => output::print(&format!("{}\n", digest.short()))?,
        }
        Ok(ExitCode::from(if same == Some(false) { 3 } else { 0 }))
    }
}

fn report(digest: &Digest, same: Option<bool>) -> DigestReport {
    DigestReport { digest: digest.short().to_owned(), full: digest.full().to_owned(), same }
}

/// Parses a digest: the short form, or more digits.
fn digits(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    match (SHORT..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(text),
        false => Err("write the 12 to 64 hexadecimal digits that `sluice digest` prints".to_owned()),
    }
}

/// Reports with everything in them.
#[cfg(test)]
pub(crate) fn examples() -> Vec<serde_json::Value> {
    let digest = Digest::of(&Default::default());
    [None, Some(true)].map(|same| serde_json::to_value(report(&digest, same)).unwrap()).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::golden::assert_golden;

    fn digest_of(text: &str) -> Digest {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let loaded =
            sluice_config::load(file.path()).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        Digest::of(loaded.config.shared())
    }

    /// Nodes with other versions of sluice have these digests: a line changes only if the services change, or because
    /// they mean something else, and then with a new version of the canonical text.
    #[test]
    fn digests_of_shipped_files_are_as_reviewed() {
        let config = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config"));
        let mut lines = vec![];
        for folder in ["", "high-availability"] {
            for entry in config.join(folder).read_dir().unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "yaml") {
                    let digest = Digest::of(sluice_config::load(&path).unwrap().config.shared());
                    lines.push(format!(
                        "{} {}\n",
                        path.strip_prefix(config).unwrap().display(),
                        digest.full()
                    ));
                }
            }
        }
        lines.sort();
        assert_golden("digests.txt", &lines.concat());
    }

    const PLAIN: &str = "services:\n  a: {listen: 203.0.113.10:80, backends: [10.0.2.11:8080, 10.0.2.12:8080], allow: [10.0.0.0/8, 192.0.2.0/24]}\n  b: {listen: 203.0.113.11:80, scheduler: maglev, source: preserve, backends: [10.0.2.11:80]}\n";

    #[test]
    fn digest_of_the_same_services_written_otherwise_is_the_same() {
        let other = "# Comment\nrefresh: 5s\non_stop: keep\nforwarding: ignore\nstate: /tmp/s\ncontrol: {socket: /tmp/s/s}\nhttp: {listen: 127.0.0.1:1}\nannounce: {interface: eth7, hold: 9s}\ndefaults: {on_empty: reject}\nservices:\n  b:\n    backends:\n    - {address: '10.0.2.11:80', weight: 1, backup: false}\n    midstream: adopt\n    scheduler: maglev\n    hash: {on: [source-address], table_size: 1021}\n    source: preserve\n    listen: ['203.0.113.11:80/tcp']\n  a: {allow: [192.0.2.0/24, 10.0.0.0/8], scheduler: round-robin, quorum: 1, enabled: true, listen: 203.0.113.10:80, backends: [10.0.2.11:8080, 10.0.2.12:8080]}\n";
        assert_eq!(digest_of(PLAIN), digest_of(other));
    }

    #[test]
    fn digest_of_services_with_another_value_is_another() {
        let changes = [
            ("203.0.113.10:80", "203.0.113.12:80"),
            ("203.0.113.10:80", "203.0.113.10:80/udp"),
            ("10.0.2.11:8080, 10.0.2.12:8080", "10.0.2.12:8080, 10.0.2.11:8080"),
            ("10.0.2.12:8080", "{address: '10.0.2.12:8080', weight: 2}"),
            ("10.0.2.12:8080", "{address: '10.0.2.12:8080', name: w}"),
            ("10.0.2.12:8080", "{address: '10.0.2.12:8080', backup: true}"),
            ("10.0.2.12:8080", "{address: '10.0.2.12:8080', max_connections: 7}"),
            ("allow: [10.0.0.0/8, ", "allow: ["),
            ("allow:", "deny:"),
            ("  b:", "  c:"),
            ("maglev", "source-hash"),
            ("maglev", "maglev, hash: {on: [source-address, source-port]}"),
            ("maglev", "maglev, hash: {table_size: 1031}"),
            ("preserve", "preserve, midstream: ignore"),
            ("source: preserve", "source: auto"),
            ("source: preserve", "source: 10.0.2.1"),
            ("source: preserve", "source: 10.0.2.1, source_ports: keep"),
            ("  b: {", "  b: {enabled: false, "),
            ("  b: {", "  b: {announce: true, "),
            ("  b: {", "  b: {interface: eth0, "),
            ("  b: {", "  b: {on_deny: reset, "),
            ("  b: {", "  b: {synproxy: true, "),
            ("  b: {", "  b: {on_down: reset, "),
            ("  b: {", "  b: {on_empty: drop, "),
            ("  a: {", "  a: {quorum: 2, "),
            ("  b: {", "  b: {on_ready: [/bin/true], "),
            ("  b: {", "  b: {on_unready: [/bin/true], "),
            ("  b: {", "  b: {affinity: 10m, "),
            ("  a: {", "  a: {slow_start: 30s, "),
            ("  b: {", "  b: {limits: {new_connections: 7/second}, "),
            ("  b: {", "  b: {limits: {new_connections_per_client: 7/second}, "),
            ("  b: {", "  b: {limits: {connections_per_client: 7}, "),
            ("  b: {", "  b: {health: {tcp: {}}, "),
            ("  b: {", "  b: {health: {icmp: {}}, "),
            ("  b: {", "  b: {health: {tcp: {}, fall: 7}, "),
            ("  b: {", "  b: {health: {tcp: {}, initial: down}, "),
            ("  b: {", "  b: {health: {http: {path: /a}}, "),
            ("  b: {", "  b: {health: {http: {path: /a, host: b}}, "),
            ("  b: {", "  b: {health: {exec: {command: [/bin/true]}}, "),
            ("  b: {", "  b: {health: {exec: {command: [/bin/true, a]}}, "),
        ];
        let mut seen = vec![digest_of(PLAIN)];
        for (from, to) in changes {
            let digest = digest_of(&PLAIN.replacen(from, to, 1));
            assert!(!seen.contains(&digest), "{from} -> {to}");
            seen.push(digest);
        }
    }

    #[test]
    fn digest_to_compare_has_12_to_64_hexadecimal_digits() {
        assert_eq!(digits("0123456789AB\n"), Ok("0123456789ab".to_owned()));
        for bad in ["", "0123456789a", "0123456789ag", &"0".repeat(65)] {
            assert!(digits(bad).is_err(), "{bad}");
        }
    }
}
