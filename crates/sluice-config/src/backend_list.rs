//! Files with a list of backends, which a `file` entry of `backends` names. Other programs write them.

use std::path::Path;

use serde::de::{MapAccess, SeqAccess};
use serde_json::Value;
use sluice_core::model::{BackendPort, Found};

use crate::document::{BackendMapping, required_address};
use crate::endpoint::BackendAddress;
use crate::file::SourceFile;
use crate::outline::Root;
use crate::parse::{File, located};
use crate::problem::{Problem, Severity};
use crate::read::{FromYaml, Given, Many, Scalar};
use crate::schema::{Definitions, either};
use crate::values::{ConnectionCount, Weight};
use crate::yaml_path::{Findings, Here};

/// Reads the text of a file with a list of backends: ADDRESS[:PORT[-PORT]], or mappings of `address`, `name`, `weight`,
/// `backup` and `max_connections`. `path` is for messages. An empty list is valid, an empty file is not.
///
/// # Errors
/// All problems in file order, including warnings; at least one is an error.
pub fn parse_backends(path: &Path, text: &str) -> Result<Vec<Found>, Vec<Problem>> {
    let findings = Findings::default();
    let source = SourceFile { path: path.to_owned(), text: text.to_owned() };
    let mut file = File::new(source, Root::Backends);
    let list: Option<BackendList> = file.read(&Here::root(&findings, 0));
    let problems = located(vec![file], findings.into_inner());
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    Ok(list.map(|BackendList(found)| found).unwrap_or_default())
}

/// The valid entries of a list.
struct BackendList(Vec<Found>);

impl FromYaml for BackendList {
    const EXPECTED: &'static str = "a list of backends, such as `- 10.0.2.11:8080`";

    fn schema(definitions: &mut Definitions) -> Value {
        Many::<Entry>::schema(definitions)
    }

    fn list<'de, A: SeqAccess<'de>>(here: &Here<'_>, list: A) -> Result<Option<Self>, A::Error> {
        let entries = Many::<Entry>::list(here, list)?;
        let found = entries.into_iter().flat_map(|Many(entries)| entries).flatten();
        Ok(Some(BackendList(found.map(|Entry(found)| found).collect())))
    }
}

struct Entry(Found);

impl FromYaml for Entry {
    const EXPECTED: &'static str = BackendAddress::EXPECTED;

    fn schema(definitions: &mut Definitions) -> Value {
        either(BackendAddress::schema(definitions), BackendMapping::schema(definitions))
    }

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        let address = BackendAddress::scalar(here, scalar)?;
        Entry::of(here, BackendMapping { address: Given::Good(address), ..BackendMapping::default() })
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        let backend = BackendMapping::mapping(here, mapping)?;
        Ok(backend.and_then(|backend| Entry::of(here, backend)))
    }
}

impl Entry {
    /// `None` if a value is missing or invalid, which is reported.
    fn of(here: &Here<'_>, backend: BackendMapping) -> Option<Self> {
        let BackendMapping { address, name, weight, backup, max_connections } = backend;
        let BackendAddress { address, port } = required_address(here, address)?;
        Some(Entry(Found {
            address,
            port: (port != BackendPort::Keep).then_some(port),
            name: name.map(Some).or_value(None)?,
            weight: weight.map(|Weight(weight)| Some(weight)).or_value(None)?,
            backup: backup.map(Some).or_value(None)?,
            max_connections: max_connections.map(|ConnectionCount(most)| Some(most)).or_value(None)?,
        }))
    }
}
