//! `on_ready` and `on_unready`: a program with its arguments.

use std::sync::Arc;

use serde::de::SeqAccess;
use serde_json::{Value, json};

use crate::problem::{Fault, quoted};
use crate::read::{FromYaml, Leaf, Many, Scalar};
use crate::schema::{Definitions, constant, either};
use crate::values::text;
use crate::yaml_path::Here;

/// A hook; `None` is `none`, which overrides one in `defaults`.
#[derive(Clone, Debug, Default)]
pub(crate) struct HookSetting(pub(crate) Option<Arc<[String]>>);

/// What to write.
const PROGRAM: &str =
    "write the absolute path of a program and its arguments, such as [/usr/local/bin/notify, web]";

impl FromYaml for HookSetting {
    const EXPECTED: &'static str = "a list of a program and its arguments, or none";

    fn schema(_: &mut Definitions) -> Value {
        let words = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
        either(constant("none", Self::EXPECTED), words)
    }

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Text("none") => Some(HookSetting(None)),
            _ => {
                let what = format!("invalid value {scalar}: no shell splits a command into words");
                here.error(Fault::new(what, PROGRAM));
                None
            }
        }
    }

    fn list<'de, A: SeqAccess<'de>>(here: &Here<'_>, list: A) -> Result<Option<Self>, A::Error> {
        let Some(Many(words)) = Many::<Word>::list(here, list)? else { return Ok(None) };
        match words.first() {
            None => {
                here.error(Fault::new("the list is empty", "name a program, or write `none`"));
                return Ok(None);
            }
            Some(Some(Word(program))) if !program.starts_with('/') => {
                let what = format!("program {} is not an absolute path", quoted(program));
                here.index(0).error(Fault::new(what, PROGRAM));
                return Ok(None);
            }
            Some(_) => {}
        }
        let words = words.into_iter().map(|word| word.map(|Word(word)| word)).collect::<Option<Vec<_>>>();
        Ok(words.map(|words| HookSetting(Some(words.into()))))
    }
}

/// The program, or one of its arguments. Braces have no meaning.
struct Word(String);

impl Leaf for Word {
    const EXPECTED: &'static str = "a word";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match text(scalar, "word")? {
            text if text.contains('\0') => Err(Fault::new("the argument contains a NUL byte", "remove it")),
            text => Ok(Word(text.to_owned())),
        }
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}
