//! The JSON Schema of the file, for editors: keys, types, keywords and bounds, generated from the types that read it.
//!
//! A schema checks less than [`load`](crate::load): it does not compare values, know the host, or check addresses. It
//! accepts whatever `load` accepts.
//!
//! It is draft 7, the newest that common editors support.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The definitions of mappings, each once.
#[derive(Default)]
pub(crate) struct Definitions(BTreeMap<&'static str, Value>);

impl Definitions {
    /// The schema whose root is the definition of this name. Validators of draft 7 ignore what stands beside a `$ref`, so
    /// the root is not a definition.
    pub(crate) fn rooted(mut self, name: &str) -> Value {
        let mut schema = self.0.remove(name).unwrap_or_default();
        schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        schema["title"] = json!("Configuration of sluiced");
        schema["definitions"] = json!(self.0);
        schema
    }

    /// Defines a mapping with the given keys and no others.
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

/// Adds the lines of a doc comment as description.
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

/// A constant; `expected` is the error message of editors that support it.
pub(crate) fn constant(value: impl Into<Value>, expected: &str) -> Value {
    json!({ "const": value.into(), "errorMessage": format!("write {expected}") })
}

/// Text that matches a pattern; `expected` as in [`constant`].
pub(crate) fn pattern(pattern: &str, expected: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "patternErrorMessage": format!("write {expected}") })
}

/// One of two schemas.
pub(crate) fn either(one: Value, other: Value) -> Value {
    json!({ "anyOf": [one, other] })
}
