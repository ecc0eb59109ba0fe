//! The report of a plan for operators: steps as nft text with their reasons.

use std::fmt;

use sluice_nft::{Data, Key, SetRef, Step, Table};

use crate::plan::{Change, Plan, Purpose, Reason, Why};

/// Maximum number of elements printed per step; the others are counted.
const ELEMENTS_SHOWN: usize = 16;

/// Prints a plan with `+`, `-` or `~` before each step and its reason after `  # `.
pub fn report(plan: &Plan) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        if plan.is_empty() {
            return f.write_str("nothing to do\n");
        }
        writeln!(f, "{}", plan.summary())?;
        for (n, batch) in plan.batches.iter().enumerate() {
            writeln!(f, "\ncommit {}: {}", n + 1, title(batch.purpose))?;
            batch.changes.iter().try_for_each(|change| write_change(f, change))?;
        }
        Ok(())
    })
}

fn title(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Prepare => "add the chains that listeners move to",
        Purpose::Switch => "add what is new and switch to it",
        Purpose::Retire => "remove what nothing leads to any more",
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(service) = &self.service {
            write!(f, "{service}: ")?;
        }
        match &self.why {
            Why::Missing => f.write_str("not in the kernel"),
            Why::Differs(_) => f.write_str("differs in the kernel"),
            Why::Unneeded => f.write_str("nothing needs it"),
            Why::Overlaps => f.write_str("overlaps what takes its place"),
            Why::Incompatible(what) => f.write_str(what),
            Why::Unreadable(what) => write!(f, "sluice cannot read {what}"),
        }
    }
}

fn write_change(f: &mut fmt::Formatter<'_>, Change { step, reason }: &Change) -> fmt::Result {
    match (step, &reason.why) {
        // The step that adds the new elements prints both.
        (Step::DeleteElements(..), Why::Differs(_)) => Ok(()),
        (Step::AddElements(of, new), Why::Differs(Some(old))) => {
            line(f, '~', &format!("element {} {}", Table::NAME, of.name), Some(reason))?;
            elements(f, '~', new.len(), |n| {
                format!("{} (was {})", of.declaration.element(&new[n].0, &new[n].1), held(of, &old[n]))
            })
        }
        (Step::AddElements(of, elements), _) => listed(f, '+', "add", of, elements, reason),
        (Step::DeleteElements(of, elements), _) => listed(f, '-', "delete", of, elements, reason),
        (Step::FlushChain(_) | Step::AddRule(..), Why::Differs(_)) => {
            line(f, '~', &step.to_string(), Some(reason))
        }
        (Step::AddTable | Step::AddSet(..) | Step::AddChain(..) | Step::AddRule(..), _) => {
            line(f, '+', &step.to_string(), Some(reason))
        }
        (
            Step::DeleteTable
            | Step::DeleteSet(_)
            | Step::DeleteChain(_)
            | Step::DeleteObject(_)
            | Step::FlushChain(_),
            _,
        ) => line(f, '-', &step.to_string(), Some(reason)),
    }
}

fn listed(
    f: &mut fmt::Formatter<'_>,
    gutter: char,
    verb: &str,
    of: &SetRef,
    added: &[(Key, Data)],
    reason: &Reason,
) -> fmt::Result {
    line(f, gutter, &format!("{verb} element {} {}", Table::NAME, of.name), Some(reason))?;
    elements(f, gutter, added.len(), |n| of.declaration.element(&added[n].0, &added[n].1).to_string())
}

fn elements(
    f: &mut fmt::Formatter<'_>,
    gutter: char,
    count: usize,
    text: impl Fn(usize) -> String,
) -> fmt::Result {
    for n in 0..count.min(ELEMENTS_SHOWN) {
        line(f, gutter, &format!("    {}", text(n)), None)?;
    }
    match count.saturating_sub(ELEMENTS_SHOWN) {
        0 => Ok(()),
        more => line(f, gutter, &format!("    ... and {more} more"), None),
    }
}

fn line(f: &mut fmt::Formatter<'_>, gutter: char, text: &str, reason: Option<&Reason>) -> fmt::Result {
    write!(f, "{gutter} {text}")?;
    match reason {
        None => writeln!(f),
        Some(reason) => writeln!(f, "  # {reason}"),
    }
}

/// The data of an element as text.
fn held(of: &SetRef, (key, data): &(Key, Data)) -> String {
    let text = of.declaration.element(key, data).to_string();
    text.split_once(" : ").map_or(text.clone(), |(_, data)| data.to_owned())
}
