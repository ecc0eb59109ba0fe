//! Typed deserialisation that does not stop: what is wrong goes to the findings, `None` takes its
//! place, and reading goes on. Only what is no longer YAML is an error of the deserialiser.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use crate::place::{Here, Last};
use crate::problem::{Fault, nearest, quoted};
use crate::schema::{Definitions, either};

/// A type that a YAML value can stand for. Each method refuses what it is not overridden for.
pub(crate) trait FromYaml: Sized {
    /// What belongs here, with an article.
    const EXPECTED: &'static str;

    /// What an editor may know of it beforehand; mappings are put into the definitions.
    fn schema(definitions: &mut Definitions) -> Value;

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        here.error(unexpected::<Self>(&format!("{scalar}")));
        None
    }

    fn list<'de, A: SeqAccess<'de>>(here: &Here<'_>, mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        here.error(unexpected::<Self>("a list"));
        Ok(None)
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mut mapping: A) -> Result<Option<Self>, A::Error> {
        while mapping.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        here.error(unexpected::<Self>("a mapping"));
        Ok(None)
    }
}

fn unexpected<T: FromYaml>(found: &str) -> Fault {
    Fault::new(format!("{found} where {} belongs", T::EXPECTED), format!("write {}", T::EXPECTED))
}

/// A single value, as YAML understands it.
#[derive(Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Bool(bool),
    Integer(i64),
    /// What is not whole, or too large to matter.
    Float(f64),
}

/// For messages: text in backquotes, the rest as it is.
impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Text(text) => f.write_str(&quoted(text)),
            Scalar::Bool(value) => f.write_str(&quoted(value)),
            Scalar::Integer(value) => f.write_str(&quoted(value)),
            Scalar::Float(value) => f.write_str(&quoted(value)),
        }
    }
}

/// A type written as one value.
pub(crate) trait Leaf: Sized {
    /// As [`FromYaml::EXPECTED`].
    const EXPECTED: &'static str;

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault>;

    /// What an editor may know of it beforehand: never refuses what [`Leaf::parse`] takes.
    fn schema() -> Value;
}

impl<T: Leaf> FromYaml for T {
    const EXPECTED: &'static str = T::EXPECTED;

    fn schema(_: &mut Definitions) -> Value {
        T::schema()
    }

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        T::parse(scalar).map_err(|fault| here.error(fault)).ok()
    }
}

/// A list, or one element in place of a list of one. `None` holds the place of a bad element.
#[derive(Clone, Debug)]
pub(crate) struct Many<T>(pub(crate) Vec<Option<T>>);

impl<T: FromYaml> FromYaml for Many<T> {
    const EXPECTED: &'static str = "a list";

    fn schema(definitions: &mut Definitions) -> Value {
        let element = T::schema(definitions);
        either(element.clone(), json!({ "type": "array", "items": element }))
    }

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        Some(Many(vec![T::scalar(here, scalar)]))
    }

    fn list<'de, A: SeqAccess<'de>>(here: &Here<'_>, mut list: A) -> Result<Option<Self>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element_seed(Seed::new(here.index(elements.len())))? {
            elements.push(element);
        }
        Ok(Some(Many(elements)))
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        Ok(Some(Many(vec![T::mapping(here, mapping)?])))
    }
}

/// A type made of another one that is read, by a check of several values at once.
pub(crate) trait Check: Sized {
    /// What is read.
    type Unchecked: FromYaml;

    /// `None` when something is wrong, which is reported at `here`.
    fn check(here: &Here<'_>, unchecked: Self::Unchecked) -> Option<Self>;
}

/// A `T` whose check ran when it was read.
#[derive(Clone, Debug)]
pub(crate) struct Checked<T>(pub(crate) T);

impl<T: Check> FromYaml for Checked<T> {
    const EXPECTED: &'static str = T::Unchecked::EXPECTED;

    fn schema(definitions: &mut Definitions) -> Value {
        T::Unchecked::schema(definitions)
    }

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        let unchecked = T::Unchecked::scalar(here, scalar)?;
        T::check(here, unchecked).map(Checked)
    }

    fn list<'de, A: SeqAccess<'de>>(here: &Here<'_>, list: A) -> Result<Option<Self>, A::Error> {
        let unchecked = T::Unchecked::list(here, list)?;
        Ok(unchecked.and_then(|unchecked| T::check(here, unchecked)).map(Checked))
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        let unchecked = T::Unchecked::mapping(here, mapping)?;
        Ok(unchecked.and_then(|unchecked| T::check(here, unchecked)).map(Checked))
    }
}

/// Reads a `T` at one place.
pub(crate) struct Seed<'a, T> {
    here: Here<'a>,
    as_what: PhantomData<T>,
}

impl<'a, T> Seed<'a, T> {
    pub(crate) fn new(here: Here<'a>) -> Self {
        Seed { here, as_what: PhantomData }
    }
}

impl<'de, T: FromYaml> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: FromYaml> Visitor<'de> for Seed<'_, T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Option<T>, E> {
        Ok(T::scalar(&self.here, Scalar::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Option<T>, E> {
        Ok(T::scalar(&self.here, Scalar::Integer(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Option<T>, E> {
        let scalar = i64::try_from(value).map_or(Scalar::Float(value as f64), Scalar::Integer);
        Ok(T::scalar(&self.here, scalar))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Option<T>, E> {
        Ok(T::scalar(&self.here, Scalar::Float(value as f64)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Option<T>, E> {
        Ok(T::scalar(&self.here, Scalar::Float(value as f64)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Option<T>, E> {
        Ok(T::scalar(&self.here, Scalar::Float(value)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<T>, E> {
        Ok(T::scalar(&self.here, Scalar::Text(text)))
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        let fix = |what| format!("write {}, or remove the {what}", T::EXPECTED);
        match self.here.last() {
            Some(Last::Index(index)) => {
                let what = format!("entry {} of the list has no value", index + 1);
                self.here.error(Fault::new(what, fix("entry")));
            }
            Some(Last::Key(key, _)) => {
                self.here.error_at_key(Fault::new(format!("{} has no value", quoted(key)), fix("key")));
            }
            None => self.here.error(Fault::new("the file is empty", format!("write {}", T::EXPECTED))),
        }
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Option<T>, A::Error> {
        T::list(&self.here, list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<Option<T>, A::Error> {
        T::mapping(&self.here, mapping)
    }
}

/// What a mapping makes of a key of its own.
#[derive(Clone, Debug, Default)]
pub(crate) enum Given<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// The value is wrong, and that was said; checks that depend on it stay silent.
    Bad,
    Good(T),
}

impl<T> Given<T> {
    pub(crate) fn of(value: Option<T>) -> Self {
        value.map_or(Given::Bad, Given::Good)
    }

    /// The same of what `f` makes of the value.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Given<U> {
        match self {
            Given::Absent => Given::Absent,
            Given::Bad => Given::Bad,
            Given::Good(value) => Given::Good(f(value)),
        }
    }

    /// The value, or `default` if the key is not there; `None` if the value is wrong.
    pub(crate) fn or_value(self, default: T) -> Option<T> {
        match self {
            Given::Absent => Some(default),
            Given::Bad => None,
            Given::Good(value) => Some(value),
        }
    }

    /// What `f` makes of the value if there is one, else `default`.
    pub(crate) fn map_or_else<U>(self, default: impl FnOnce() -> U, f: impl FnOnce(T) -> U) -> U {
        match self {
            Given::Good(value) => f(value),
            Given::Absent | Given::Bad => default(),
        }
    }

    /// The value if there is one; `default` if there is none or it is wrong.
    pub(crate) fn unwrap_or(self, default: T) -> T {
        self.map_or_else(|| default, |value| value)
    }

    pub(crate) fn unwrap_or_default(self) -> T
    where
        T: Default,
    {
        self.map_or_else(T::default, |value| value)
    }

    /// This one unless it is absent.
    pub(crate) fn or(self, other: Self) -> Self {
        match self {
            Given::Absent => other,
            given => given,
        }
    }
}

/// A mapping with fixed keys, as [`mapping!`] defines it.
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
/// `..field: Type` takes the keys of another mapping in. `$refused` explains why a key that the mapping does not have,
/// but that is spelled correctly, is refused. Doc comments of keys go into the schema, and so do the required keys: a
/// mapping without them is read, and refused later.
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

        impl $crate::read::Mapping for $name {
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
                here: &$crate::place::Here<'_>,
                key: &str,
                mapping: &mut A,
            ) -> Result<(), A::Error> {
                match key {
                    $(stringify!($key) => {
                        let seed = $crate::read::Seed::new(here.key(stringify!($key)));
                        self.$key = $crate::read::Given::of(mapping.next_value_seed(seed)?);
                    })*
                    _ => {
                        $($crate::read::Mapping::read_key(&mut self.$shared, here, key, mapping)?;)?
                    }
                }
                Ok(())
            }

            fn or(self, defaults: Self) -> Self {
                $name {
                    $($key: self.$key.or(defaults.$key),)*
                    $($shared: $crate::read::Mapping::or(self.$shared, defaults.$shared),)?
                }
            }
        }

        impl $crate::read::FromYaml for $name {
            const EXPECTED: &'static str = $expected;

            fn schema(definitions: &mut $crate::schema::Definitions) -> serde_json::Value {
                let keys = |definitions: &mut $crate::schema::Definitions| {
                    let keys = <Self as $crate::read::Mapping>::properties(definitions);
                    $(let keys = [keys, <$Shared as $crate::read::Mapping>::properties(definitions)].concat();)?
                    keys
                };
                definitions.mapping(Self::NAME, keys, &[$(stringify!($required)),*])
            }

            fn mapping<'de, A: serde::de::MapAccess<'de>>(
                here: &$crate::place::Here<'_>,
                mapping: A,
            ) -> Result<Option<Self>, A::Error> {
                let keys = [
                    <Self as $crate::read::Mapping>::KEYS,
                    $(<$Shared as $crate::read::Mapping>::KEYS,)?
                ];
                $crate::read::read_mapping(here, mapping, &keys, $refused)
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

/// The keys of one mapping that were met so far.
#[derive(Default)]
pub(crate) struct Keys(HashMap<String, u32>);

impl Keys {
    /// How many times `key` was met before.
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

    /// Whether the value of `key` shall be read; if not, says why.
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
            let fault = Fault::new(format!("{} is already given", quoted(key)), "keep one of them");
            at.error_at_key_because_of(fault, here.key(key).place_of_key());
            false
        } else if known.iter().any(|keys| keys.contains(&key)) {
            true
        } else {
            at.error_at_key(refused(key).unwrap_or_else(|| unknown("key", key, &known.concat())));
            false
        }
    }
}

/// A word that is none of `known`.
pub(crate) fn unknown(what: &str, word: &str, known: &[&str]) -> Fault {
    let fix = match nearest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    Fault::new(format!("unknown {what} {}", quoted(word)), fix)
}

/// Reads a key as the text it is written with, whatever YAML would make of it.
pub(crate) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // `Cow` itself always allocates; keys are short and mostly borrowed.
        #[derive(serde::Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowed::deserialize(deserializer).map(|key| key.0)
    }
}
