//! The table: all nftables objects of sluice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::{Chain, ChainName, Object, Set, SetName};

/// Table `inet sluice`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Sets and maps by name.
    pub sets: BTreeMap<SetName, Set>,
    /// Chains by name.
    pub chains: BTreeMap<ChainName, Chain>,
    /// Stateful objects, not part of the text. Read from the kernel, never rendered.
    pub objects: BTreeSet<Object>,
    /// `flags dormant`: the kernel skips its base chains. Read from the kernel, never rendered.
    pub dormant: bool,
}

impl Table {
    /// Family and name, in nft syntax.
    pub const NAME: &'static str = "inet sluice";
}

/// Text for `nft -f`, in the form of `nft list table inet sluice` without counts.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {{", Table::NAME)?;
        let mut separator = if self.dormant { "\n" } else { "" };
        if self.dormant {
            writeln!(f, "\tflags dormant")?;
        }
        for (name, set) in &self.sets {
            writeln!(f, "{separator}\t{} {name} {{", set.keyword())?;
            set.write_declaration(f, "\t\t", "\n")?;
            let mut elements: Vec<_> = set.elements.iter().collect();
            elements.sort_by_key(|(key, _)| set.sort_key(key));
            for (n, (key, element)) in elements.into_iter().enumerate() {
                f.write_str(if n == 0 { "\t\telements = { " } else { ",\n\t\t\t     " })?;
                write!(f, "{}", set.element(key, &element.data))?;
            }
            f.write_str(if set.elements.is_empty() { "\t}\n" } else { " }\n\t}\n" })?;
            separator = "\n";
        }
        for (name, chain) in &self.chains {
            writeln!(f, "{separator}\tchain {name} {{")?;
            if let Some(base) = chain.base {
                writeln!(f, "\t\t{base}")?;
            }
            for rule in &chain.rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
            separator = "\n";
        }
        writeln!(f, "}}")
    }
}
