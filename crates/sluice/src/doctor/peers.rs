//! Programs that move addresses and connections to another node, and findings about their files.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use super::findings::{Findings, names, set};
use super::{Facts, Severity};

/// Files of keepalived and conntrackd, without comments; empty if there are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Peers {
    keepalived: String,
    conntrackd: String,
}

impl Peers {
    /// Reads them.
    pub(super) fn read() -> Self {
        let [keepalived, conntrackd] = ["/etc/keepalived/keepalived.conf", "/etc/conntrackd/conntrackd.conf"]
            .map(|path| {
                // Neither program has to be installed.
                fs::read_to_string(path).unwrap_or_default()
            });
        Peers {
            keepalived: without_comments(&keepalived, &['#', '!']),
            conntrackd: without_comments(&conntrackd, &['#']),
        }
    }

    /// Addresses that keepalived adds and removes, and others of its file.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        let words = self.keepalived.split(|c: char| c.is_whitespace() || c == '/');
        words.filter_map(|word| word.parse().ok()).collect()
    }

    /// Whether entries are copied to another node. Debian's default file counts entries only.
    fn copies_entries(&self) -> bool {
        words(&self.conntrackd).any(|word| word == "Sync")
    }

    /// Whether another node may take over connections of this one.
    fn has_other_node(&self) -> bool {
        self.copies_entries() || words(&self.keepalived).any(|word| word == "vrrp_instance")
    }

    /// Whether entries of the other node wait outside of the kernel, and nothing tells conntrackd to commit them.
    fn keeps_entries_out_of_the_kernel(&self) -> bool {
        let mut settings = self.conntrackd.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let is_direct =
            settings.any(|it| matches!(it[..], ["DisableExternalCache", "yes" | "on" | "Yes" | "On"]));
        let is_committed = ["conntrackd", "primary-backup"].iter().any(|it| self.keepalived.contains(it));
        self.copies_entries() && !is_direct && !is_committed
    }

    /// Names of scripts that ask sluice and fail at once.
    fn hasty_scripts(&self) -> Vec<&str> {
        let blocks = self.keepalived.split("vrrp_script").skip(1).filter_map(|rest| rest.split_once('{'));
        let blocks = blocks.map(|(name, rest)| (name.trim(), rest.split('}').next().unwrap_or_default()));
        let asks = blocks.filter(|(_, block)| block.contains("sluice"));
        let is_hasty = |block: &str| {
            let fall = words(block).skip_while(|word| *word != "fall").nth(1).and_then(|it| it.parse().ok());
            fall.unwrap_or(1) < 2
        };
        asks.filter(|(_, block)| is_hasty(block)).map(|(name, _)| name).collect()
    }
}

impl Findings {
    /// What connections do not survive when another node takes over.
    pub(super) fn peers(&mut self, facts: &Facts) {
        let peers = &facts.peers;
        let liberal = "net/netfilter/nf_conntrack_tcp_be_liberal";
        if peers.has_other_node() && facts.sysctls.get(liberal) == Some(&0) {
            let what = "nf_conntrack_tcp_be_liberal is 0: packets of connections that another node has had are out of the window \
                        that conntrack knows, and are not translated: after a move of the addresses they hang or are reset";
            self.add(Severity::Warning, what, Some(set(liberal, 1)));
        }
        if peers.keeps_entries_out_of_the_kernel() {
            let what = "conntrackd keeps entries of the other node in its external cache, and keepalived runs nothing that commits \
                        them: connections are reset after a move of the addresses; write `DisableExternalCache yes` in the \
                        block of its mode";
            self.add(Severity::Warning, what, Some("conntrackd -s cache".to_owned()));
        }
        let has = |setting: &str| words(&peers.keepalived).any(|word| word == setting);
        if has("script_user") && !has("enable_script_security") {
            let what = "keepalived ignores `script_user` without `enable_script_security` in global_defs";
            self.add(Severity::Warning, what, None);
        }
        let hasty = peers.hasty_scripts();
        if !hasty.is_empty() {
            let what = format!(
                "vrrp_script {} of keepalived fails at once: a restart of sluiced moves the addresses; write `fall 3`",
                names(&hasty)
            );
            self.add(Severity::Warning, what, None);
        }
        for address in peers.addresses().intersection(&facts.on_loopback) {
            let what = format!(
                "{address} is on lo, and keepalived moves it: this host answers ARP requests for it, also while another one has it"
            );
            self.add(Severity::Warning, what, Some(format!("ip address del {address} dev lo")));
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "{}".contains(c)).filter(|word| !word.is_empty())
}

fn without_comments(text: &str, marks: &[char]) -> String {
    text.lines().map(|line| format!("{}\n", line.split(marks).next().unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of findings about these files, with this value of the sysctl.
    fn found(keepalived: &str, conntrackd: &str, liberal: u64) -> Vec<String> {
        let peers = Peers {
            keepalived: without_comments(keepalived, &['#', '!']),
            conntrackd: without_comments(conntrackd, &['#']),
        };
        let sysctls = [("net/netfilter/nf_conntrack_tcp_be_liberal".to_owned(), liberal)].into();
        let on_loopback = ["203.0.113.10".parse().unwrap()].into();
        let mut findings = Findings(vec![]);
        findings.peers(&Facts { peers, sysctls, on_loopback, ..Facts::default() });
        findings.0.into_iter().map(|finding| finding.finding).collect()
    }

    fn shipped(name: &str) -> String {
        let path = format!("{}/../../config/high-availability/{name}", env!("CARGO_MANIFEST_DIR"));
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    #[test]
    fn shipped_files_have_no_findings_but_the_address_on_lo() {
        let found = found(&shipped("keepalived.conf"), &shipped("conntrackd.conf"), 1);
        assert!(matches!(&found[..], [one] if one.starts_with("203.0.113.10 is on lo")), "{found:?}");
    }

    #[test]
    fn packets_out_of_the_window_are_found_only_where_there_is_another_node() {
        let starts =
            |found: Vec<String>| found.iter().any(|it| it.starts_with("nf_conntrack_tcp_be_liberal"));
        assert!(starts(found("vrrp_instance x {\n}\n", "", 0)));
        assert!(starts(found("", "Sync {\n Mode FTFW {\n DisableExternalCache on\n }\n}", 0)));
        assert!(!starts(found("", "Stats {\n LogFile on\n}\n# Sync", 0)));
        assert!(!starts(found("# vrrp_instance x", "", 0)));
    }

    #[test]
    fn external_cache_that_nothing_commits_is_found() {
        let cache = |keepalived: &str, mode: &str| {
            found(keepalived, &format!("Sync {{\n Mode FTFW {{\n{mode}\n }}\n}}"), 1)
        };
        assert_eq!(cache("", "").len(), 1);
        assert_eq!(cache("", "# DisableExternalCache yes").len(), 1);
        assert_eq!(cache("", "DisableExternalCache off").len(), 1);
        assert_eq!(cache("", "DisableExternalCache yes"), [] as [String; 0]);
        assert_eq!(
            cache("notify_master \"/etc/conntrackd/primary-backup.sh primary\"", ""),
            [] as [String; 0]
        );
    }

    #[test]
    fn scripts_that_keepalived_does_not_run_as_wanted_are_found() {
        let script = |body: &str| found(&format!("vrrp_script a {{\n{body}\n}}\n"), "", 1);
        assert!(
            script("script \"/usr/bin/sluice ready\"\n interval 1")[0]
                .contains("vrrp_script a of keepalived")
        );
        assert_eq!(script("script \"/usr/bin/sluice ready\"\n fall 1").len(), 1);
        assert_eq!(script("script \"/usr/bin/sluice ready\"\n fall 3"), [] as [String; 0]);
        assert_eq!(script("script \"/usr/bin/pgrep haproxy\""), [] as [String; 0]);
        assert_eq!(found("global_defs {\n script_user root\n}", "", 1).len(), 1);
    }
}
