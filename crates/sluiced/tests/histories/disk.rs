//! The disk of the state directory: full, slow or missing at times.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use sluiced::daemon::saver::{Saver, StartSaver};
use tokio::time::Instant;

use crate::event::Disk;

/// How long a slow disk takes for a write.
const SLOW: Duration = Duration::from_secs(2);

pub struct StateDisk {
    directory: PathBuf,
    savers: (Sender<Saver>, Receiver<Saver>),
    /// What writes the state of the daemon that runs.
    saver: Option<Saver>,
    is_slow: bool,
    /// When it will have written what it is asked to, if it is slow.
    written: Option<Instant>,
}

impl StateDisk {
    /// With the state directory in this one.
    pub fn in_directory(directory: &Path) -> Self {
        let directory = directory.to_owned();
        StateDisk { directory, savers: channel(), saver: None, is_slow: false, written: None }
    }

    /// Is like this from now on.
    pub fn becomes(&mut self, disk: Disk) {
        self.is_slow = disk == Disk::Slow;
        let (there, away) = (self.directory.join("state"), self.directory.join("away"));
        if disk != Disk::Gone && away.exists() {
            let _ = fs::remove_file(&there);
            fs::rename(&away, &there).expect("put the state directory back");
        }
        // Files are replaced by way of these. Where that is a directory, what there is can be read and not be written.
        let ways =
            ["backends.json", "totals.jsonl", "state.json"].map(|name| there.join(format!("{name}.new")));
        match disk {
            Disk::Well | Disk::Slow => ways.iter().for_each(|way| drop(fs::remove_dir(way))),
            Disk::Full if there.is_dir() => {
                ways.iter().filter(|way| !way.exists()).for_each(|way| {
                    fs::create_dir(way).expect("make a directory");
                });
            }
            Disk::Gone if !away.exists() && there.is_dir() => {
                ways.iter().for_each(|way| drop(fs::remove_dir(way)));
                fs::rename(&there, &away).expect("take the state directory away");
                fs::write(&there, "").expect("put a file in its place");
            }
            Disk::Full | Disk::Gone => {}
        }
    }

    /// Whether what is written is there afterwards.
    pub fn keeps(&self) -> bool {
        !self.directory.join("away").exists() && !self.directory.join("state/backends.json.new").is_dir()
    }

    /// Whether writes take their time.
    pub fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// Keeps the saver for [`StateDisk::write`], which runs it.
    pub fn start_saver(&self) -> StartSaver {
        let savers = self.savers.0.clone();
        Box::new(move |saver| drop(savers.send(saver)))
    }

    /// What is not written yet never will be.
    pub fn forget(&mut self) {
        self.saver = None;
    }

    /// Writes what is due.
    pub fn write(&mut self) {
        if let Ok(saver) = self.savers.1.try_recv() {
            (self.saver, self.written) = (Some(saver), None);
        }
        let Some(saver) = self.saver.as_mut().filter(|saver| saver.is_due()) else { return };
        let written = *self.written.get_or_insert(Instant::now() + SLOW);
        if !self.is_slow || written <= Instant::now() {
            saver.save();
            self.written = None;
        }
    }
}
