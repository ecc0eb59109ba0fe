//! `quorum`: a number, or one to gain it and a smaller one to lose it.

use serde::de::MapAccess;
use serde_json::Value;
use sluice_core::model::Quorum;

use crate::mapping::mapping;
use crate::problem::Fault;
use crate::read::{FromYaml, Given, Leaf, Scalar};
use crate::schema::{Definitions, either};
use crate::values::BackendCount;
use crate::yaml_path::Here;

/// The value of `quorum`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QuorumSetting(pub(crate) Quorum);

mapping! {
    QuorumMapping, "a mapping of `up` and `down`", refused: |_| None, required: [up, down], {
        /// The number of eligible backends from which the quorum is met.
        up: BackendCount,
        /// The number of eligible backends below which it is lost; at most `up`.
        down: BackendCount,
    }
}

impl FromYaml for QuorumSetting {
    const EXPECTED: &'static str = "a whole number from 1 to 65535, or a mapping of `up` and `down`";

    fn schema(definitions: &mut Definitions) -> Value {
        either(<BackendCount as Leaf>::schema(), QuorumMapping::schema(definitions))
    }

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        BackendCount::scalar(here, scalar).map(|BackendCount(number)| QuorumSetting(Quorum::of(number)))
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        let Some(QuorumMapping { up, down }) = QuorumMapping::mapping(here, mapping)? else {
            return Ok(None);
        };
        for (key, is_absent) in [("up", matches!(up, Given::Absent)), ("down", matches!(down, Given::Absent))]
        {
            if is_absent {
                here.error(Fault::new(
                    format!("the quorum has no `{key}`"),
                    "write both, such as `{ up: 3, down: 2 }`, or only a number",
                ));
            }
        }
        let (Given::Good(BackendCount(up)), Given::Good(BackendCount(down))) = (up, down) else {
            return Ok(None);
        };
        if down > up {
            here.key("down").error(Fault::new(
                format!("`down: {down}` is larger than `up: {up}`: the quorum would be met and lost at once"),
                format!("write at most {up}"),
            ));
            return Ok(None);
        }
        Ok(Some(QuorumSetting(Quorum { up, down })))
    }
}
