//! Loads the configuration with the code of the daemon.

use std::path::Path;

use sluice_config::{Loaded, Problem, Texts};
use sluice_core::model::Config;
use sluiced::fatal::Fatal;

use crate::output;
use crate::progress::Progress;

/// Loads and validates a file; prints warnings to standard error.
pub(crate) fn load(path: &Path) -> Result<Loaded, Fatal> {
    let progress = Progress::of("reading the configuration");
    let loaded = sluice_config::load(path).map_err(Fatal::Config)?;
    drop(progress);
    warn(&loaded.warnings);
    Ok(loaded)
}

/// The same, with the text of the files.
pub(crate) fn load_texts(path: &Path) -> Result<(Config, Texts), Fatal> {
    let progress = Progress::of("reading the configuration");
    let (Loaded { config, warnings }, texts) = sluice_config::load_texts(path).map_err(Fatal::Config)?;
    drop(progress);
    warn(&warnings);
    Ok((config, texts))
}

fn warn(warnings: &[Problem]) {
    warnings.iter().for_each(|warning| output::print_error(&warning.to_string()));
}
