//! [`TotalsWriter`]: writes `totals.jsonl`. Runs on the saver thread.
//!
//! A change of some services appends a few lines to the file; the last line of a flow is valid. The file is rewritten, without
//! outdated lines, at the start, at the stop, after a foreign change, at a refresh, when it has grown, and before totals are
//! shown. If there are so many totals that writing takes long, the latter is done less often.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_core::model::ServiceName;
use tokio::time::Instant;
use tracing::warn;

use crate::counters::lines::{lines, whole};
use crate::counters::store::{PendingSaves, locked};
use crate::counters::totals::Totals;
use crate::fatal::chain;
use crate::state::{Durable, FileError, Files};

pub(super) const FILE: &str = "totals.jsonl";

/// Number of bytes that may be appended before the file is rewritten, unless the file is larger.
pub(super) const GROWTH: u64 = 1 << 20;

/// Writing before totals are shown takes at most this fraction (1 / N) of the time.
const REST: u32 = 20;

/// Minimum wait after a failure before one change encodes all totals again.
const RETRY: Duration = Duration::from_secs(1);

/// Executes the orders of a [`TotalsStore`](super::store::TotalsStore).
#[derive(Debug)]
pub(crate) struct TotalsWriter {
    pending: Arc<Mutex<PendingSaves>>,
    totals: Totals,
    files: Files,
    /// Size in bytes after the last rewrite; `None`: it must be rewritten before an append.
    rewritten: Option<u64>,
    /// Number of bytes appended since.
    appended: u64,
    /// The earliest time of a write for readers only, or of an append after a failure.
    pub(super) rested: Instant,
    warned: bool,
}

impl TotalsWriter {
    pub(super) fn new(pending: Arc<Mutex<PendingSaves>>, totals: Totals, files: Files) -> Self {
        let (rewritten, rested) = (None, Instant::now());
        TotalsWriter { pending, totals, files, rewritten, appended: 0, rested, warned: false }
    }

    /// Whether a write is due.
    pub(crate) fn is_due(&self) -> bool {
        locked(&self.pending).any
    }

    /// Executes the write that is due. A failure is logged.
    pub(crate) fn write_due(&mut self) {
        let PendingSaves { any, services, all, waiting } = std::mem::take(&mut *locked(&self.pending));
        match () {
            () if !any => {}
            () if all => self.rewrite(),
            () if !services.is_empty() => self.write(&services),
            () => {}
        }
        // On a full disk not every reader may encode all totals in vain, and many flows must not keep the disk busy.
        if !waiting.is_empty() && !all && Instant::now() >= self.rested {
            let began = Instant::now();
            self.rewrite();
            self.rested = self.rested.max(Instant::now() + REST * began.elapsed());
        }
        for done in waiting {
            let _ = done.send(());
        }
    }

    fn write(&mut self, services: &BTreeSet<ServiceName>) {
        match self.rewritten {
            // After a failure, not every change may encode all totals in vain.
            _ if self.warned && Instant::now() < self.rested => {}
            Some(size) if self.appended <= size.max(GROWTH) => {
                // The file may have been deleted.
                if self.append(lines(&self.totals, Some(services))).is_err() {
                    self.rewrite();
                }
            }
            _ => self.rewrite(),
        }
    }

    /// Replaces the file atomically.
    fn rewrite(&mut self) {
        let text = whole(&self.totals);
        match self.files.replace(FILE, &text, Durable::No) {
            Ok(()) => (self.rewritten, self.appended, self.warned) = (Some(text.len() as u64), 0, false),
            Err(error) => {
                (self.rewritten, self.rested) = (None, Instant::now() + RETRY);
                if !std::mem::replace(&mut self.warned, true) {
                    warn!("{} (after a restart totals of connections may be smaller)", chain(&error));
                }
            }
        }
    }

    /// Appends lines. Not synced, because the file must survive a crash of the daemon, not of the machine.
    fn append(&mut self, lines: Vec<u8>) -> Result<(), FileError> {
        // Never created here, because it would have no head.
        self.files.append(FILE, &lines)?;
        self.appended += lines.len() as u64;
        Ok(())
    }
}
