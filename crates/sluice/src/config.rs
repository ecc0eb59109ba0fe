//! Reading the configuration, the daemon's way.

use std::path::Path;

use sluice_config::Loaded;
use sluiced::fatal::Fatal;

use crate::output;
use crate::progress::Progress;

/// Loads and validates a file; says on standard error what could be better.
pub(crate) fn load(path: &Path) -> Result<Loaded, Fatal> {
    let progress = Progress::of("reading the configuration");
    let loaded = sluice_config::load(path).map_err(Fatal::Config)?;
    drop(progress);
    loaded.warnings.iter().for_each(|warning| output::complain(&warning.to_string()));
    Ok(loaded)
}
