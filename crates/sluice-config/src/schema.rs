//! The form of the file as a JSON Schema, for editors: keys, kinds, words and bounds, from the types that read it.
//!
//! A schema says less than [`load`](crate::load): what several values must be together, what only the host knows, and
//! what is wrong with an address are left to that. But it never refuses what `load` takes.
//!
//! It is draft 7, the newest that editors know all of.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::document::Main;
use crate::read::FromYaml;

/// The JSON Schema of the file.
pub fn schema() -> Value {
    let mut definitions = Definitions::default();
    Main::schema(&mut definitions);
    // Validators of draft 7 read nothing beside a `$ref`, so that the file itself is no definition.
    let mut schema = definitions.0.remove(Main::NAME).unwrap_or_default();
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Configuration of sluiced");
    schema["definitions"] = json!(definitions.0);
    schema
}

/// The mappings met so far, each described once.
#[derive(Default)]
pub(crate) struct Definitions(BTreeMap<&'static str, Value>);

impl Definitions {
    /// A mapping with the given keys and no others.
    pub(crate) fn mapping(
        &mut self,
        name: &'static str,
        keys: impl FnOnce(&mut Self) -> Vec<(&'static str, Value)>,
        required: &[&str],
    ) -> Value {
        if !self.0.contains_key(name) {
            let keys: BTreeMap<_, _> = keys(self).into_iter().collect();
            let mut mapping = json!({ "type": "object", "properties": keys, "additionalProperties": false });
            if !required.is_empty() {
                mapping["required"] = json!(required);
            }
            self.0.insert(name, mapping);
        }
        json!({ "$ref": format!("#/definitions/{name}") })
    }
}

/// A schema with what editors show for it: the lines of a doc comment.
pub(crate) fn described(schema: Value, lines: &[&str]) -> Value {
    let mut schema = match schema {
        reference if reference.get("$ref").is_some() => json!({ "allOf": [reference] }),
        schema => schema,
    };
    if !lines.is_empty() {
        let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
        schema["description"] = json!(lines.join(" "));
    }
    schema
}

/// One value; what is said, by editors that can, of others is that `expected` belongs there.
pub(crate) fn constant(value: impl Into<Value>, expected: &str) -> Value {
    json!({ "const": value.into(), "errorMessage": format!("write {expected}") })
}

/// Text of a form; `expected` as above.
pub(crate) fn pattern(pattern: &str, expected: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "patternErrorMessage": format!("write {expected}") })
}

/// One of two forms.
pub(crate) fn either(one: Value, other: Value) -> Value {
    json!({ "anyOf": [one, other] })
}
