//! Mappings with fixed keys: `mapping!` defines one, and reading it reports unknown and repeated keys.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess};
use serde_json::Value;

use crate::problem::{Fault, quoted};
use crate::read::unknown;
use crate::schema::Definitions;
use crate::yaml_path::Here;

/// A mapping with fixed keys, as [`mapping!`] defines it. Each key is a [`Given`](crate::read::Given) field.
pub(crate) trait Mapping: Default {
    /// The keys, in the order of the definition.
    const KEYS: &'static [&'static str];

    /// The schema of each key.
    fn properties(definitions: &mut Definitions) -> Vec<(&'static str, Value)>;

    /// Reads the value of `key`, which is one of [`Mapping::KEYS`].
    fn read_key<'de, A: MapAccess<'de>>(
        &mut self,
        here: &Here<'_>,
        key: &str,
        mapping: &mut A,
    ) -> Result<(), A::Error>;

    /// For each key the value of `self`, or that of `defaults` where `self` has none.
    fn or(self, defaults: Self) -> Self;
}

/// Defines a mapping with fixed keys, each a [`Given`] field of the same name. This list is the only one of the keys:
/// reading, the schema and defaults follow from it.
///
/// `..field: Type` includes the keys of another mapping. `$refused` explains why a known key is not allowed in this
/// mapping. Doc comments and required keys go into the schema only: a mapping without a required key is read, and
/// refused later.
macro_rules! mapping {
    (
        $(#[$doc:meta])*
        $name:ident, $expected:literal, refused: $refused:expr, required: [$($required:ident),*],
        { $($(#[doc = $line:literal])* $key:ident: $type:ty,)* $(..$shared:ident: $Shared:ty,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $name {
            $(pub(crate) $key: $crate::read::Given<$type>,)*
            $(pub(crate) $shared: $Shared,)?
        }

        impl $name {
            /// The name of its definition in the schema.
            pub(crate) const NAME: &'static str = stringify!($name);
        }

        impl $crate::mapping::Mapping for $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),*];

            fn properties(
                definitions: &mut $crate::schema::Definitions,
            ) -> Vec<(&'static str, serde_json::Value)> {
                vec![$({
                    let schema = <$type as $crate::read::FromYaml>::schema(definitions);
                    (stringify!($key), $crate::schema::described(schema, &[$($line),*]))
                }),*]
            }

            fn read_key<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                here: &$crate::yaml_path::Here<'_>,
                key: &str,
                mapping: &mut A,
            ) -> Result<(), A::Error> {
                match key {
                    $(stringify!($key) => {
                        let seed = $crate::read::Seed::new(here.key(stringify!($key)));
                        self.$key = $crate::read::Given::of(mapping.next_value_seed(seed)?);
                    })*
                    _ => {
                        $($crate::mapping::Mapping::read_key(&mut self.$shared, here, key, mapping)?;)?
                    }
                }
                Ok(())
            }

            fn or(self, defaults: Self) -> Self {
                $name {
                    $($key: self.$key.or(defaults.$key),)*
                    $($shared: $crate::mapping::Mapping::or(self.$shared, defaults.$shared),)?
                }
            }
        }

        impl $crate::read::FromYaml for $name {
            const EXPECTED: &'static str = $expected;

            fn schema(definitions: &mut $crate::schema::Definitions) -> serde_json::Value {
                let keys = |definitions: &mut $crate::schema::Definitions| {
                    let keys = <Self as $crate::mapping::Mapping>::properties(definitions);
                    $(let keys = [keys, <$Shared as $crate::mapping::Mapping>::properties(definitions)].concat();)?
                    keys
                };
                definitions.mapping(Self::NAME, keys, &[$(stringify!($required)),*])
            }

            fn mapping<'de, A: serde::de::MapAccess<'de>>(
                here: &$crate::yaml_path::Here<'_>,
                mapping: A,
            ) -> Result<Option<Self>, A::Error> {
                let keys = [
                    <Self as $crate::mapping::Mapping>::KEYS,
                    $(<$Shared as $crate::mapping::Mapping>::KEYS,)?
                ];
                $crate::mapping::read_mapping(here, mapping, &keys, $refused)
            }
        }
    };
}
pub(crate) use mapping;

/// Reads a mapping with the keys `known`; `refused` as in [`mapping!`].
pub(crate) fn read_mapping<'de, T: Mapping, A: MapAccess<'de>>(
    here: &Here<'_>,
    mut mapping: A,
    known: &[&[&'static str]],
    refused: fn(&str) -> Option<Fault>,
) -> Result<Option<T>, A::Error> {
    let mut read = T::default();
    let mut keys = Keys::default();
    while let Some(key) = mapping.next_key_seed(Key)? {
        match keys.admit(here, &key, known, refused) {
            true => read.read_key(here, &key, &mut mapping)?,
            false => {
                mapping.next_value::<IgnoredAny>()?;
            }
        }
    }
    Ok(Some(read))
}

/// Counts the keys of one mapping.
#[derive(Default)]
pub(crate) struct Keys(HashMap<String, u32>);

impl Keys {
    /// Counts `key`, and returns how often it occurred before.
    pub(crate) fn count(&mut self, key: &str) -> u32 {
        match self.0.get_mut(key) {
            Some(count) => {
                *count += 1;
                *count
            }
            None => {
                self.0.insert(key.to_owned(), 0);
                0
            }
        }
    }

    /// Whether to read the value of `key`; reports an error if not.
    pub(crate) fn admit(
        &mut self,
        here: &Here<'_>,
        key: &str,
        known: &[&[&'static str]],
        refused: fn(&str) -> Option<Fault>,
    ) -> bool {
        let nth = self.count(key);
        let at = here.nth_key(key, nth);
        if nth > 0 {
            let fault = Fault::new(format!("key {} is already set", quoted(key)), "keep one of them");
            at.error_at_key_because_of(fault, here.key(key).path_of_key());
            false
        } else if known.iter().any(|keys| keys.contains(&key)) {
            true
        } else {
            at.error_at_key(refused(key).unwrap_or_else(|| unknown("key", key, &known.concat())));
            false
        }
    }
}

/// Reads a key as it is written, without resolving its type.
pub(crate) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // Deserialising a `Cow` always allocates; keys are short and mostly borrowed.
        #[derive(serde::Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowed::deserialize(deserializer).map(|key| key.0)
    }
}
