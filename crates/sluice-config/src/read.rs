//! Typed deserialisation that reports all errors: each goes to the findings, the value becomes `None`, and reading
//! goes on. The deserialiser itself fails only on YAML syntax.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use crate::problem::{Fault, nearest, quoted};
use crate::schema::{Definitions, either};
use crate::yaml_path::{Here, LastStep};

/// A type that is read from a YAML value. The default methods refuse their kind of value.
pub(crate) trait FromYaml: Sized {
    /// What to write, with an article; for messages.
    const EXPECTED: &'static str;

    /// The JSON Schema of the value; a mapping goes into the definitions.
    fn schema(definitions: &mut Definitions) -> Value;

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        here.error(Fault::new(format!("invalid value {scalar}"), format!("write {}", Self::EXPECTED)));
        None
    }

    fn list<'de, A: SeqAccess<'de>>(here: &Here<'_>, mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        here.error(Fault::new("unexpected list", format!("write {}", Self::EXPECTED)));
        Ok(None)
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mut mapping: A) -> Result<Option<Self>, A::Error> {
        while mapping.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        here.error(Fault::new("unexpected mapping", format!("write {}", Self::EXPECTED)));
        Ok(None)
    }
}

/// A scalar, as YAML resolves it.
#[derive(Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Bool(bool),
    Integer(i64),
    /// A number with a fraction, or out of the range of `i64`.
    Float(f64),
}

/// For messages: in backquotes.
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

/// A type that is read from a scalar.
pub(crate) trait Leaf: Sized {
    /// As [`FromYaml::EXPECTED`].
    const EXPECTED: &'static str;

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault>;

    /// The JSON Schema of the value. It accepts whatever [`Leaf::parse`] accepts.
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

/// A list, or a single element in place of a list of one. `None` stands for an invalid element.
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

/// A type that is made from another one that is read, for checks that need all of its parts.
pub(crate) trait Check: Sized {
    /// The type that is read.
    type Unchecked: FromYaml;

    /// `None` if there is an error, which is reported at `here`.
    fn check(here: &Here<'_>, unchecked: Self::Unchecked) -> Option<Self>;
}

/// A checked `T`; the check runs when the value is read.
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

/// Reads a `T` at `here`.
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
            Some(LastStep::Index(index)) => {
                let what = format!("entry {} of the list has no value", index + 1);
                self.here.error(Fault::new(what, fix("entry")));
            }
            Some(LastStep::Key(key, _)) => {
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

/// The value of a key of a mapping.
#[derive(Clone, Debug, Default)]
pub(crate) enum Given<T> {
    /// The key is missing.
    #[default]
    Absent,
    /// The value is invalid and was reported; checks that depend on it are skipped.
    Bad,
    Good(T),
}

impl<T> Given<T> {
    pub(crate) fn of(value: Option<T>) -> Self {
        value.map_or(Given::Bad, Given::Good)
    }

    /// Applies `f` to a good value.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Given<U> {
        match self {
            Given::Absent => Given::Absent,
            Given::Bad => Given::Bad,
            Given::Good(value) => Given::Good(f(value)),
        }
    }

    /// The value, or `default` if the key is missing; `None` if the value is invalid.
    pub(crate) fn or_value(self, default: T) -> Option<T> {
        match self {
            Given::Absent => Some(default),
            Given::Bad => None,
            Given::Good(value) => Some(value),
        }
    }

    /// `f` of the value; `default` if the key is missing or the value is invalid.
    pub(crate) fn map_or_else<U>(self, default: impl FnOnce() -> U, f: impl FnOnce(T) -> U) -> U {
        match self {
            Given::Good(value) => f(value),
            Given::Absent | Given::Bad => default(),
        }
    }

    /// The value; `default` if the key is missing or the value is invalid.
    pub(crate) fn unwrap_or(self, default: T) -> T {
        self.map_or_else(|| default, |value| value)
    }

    pub(crate) fn unwrap_or_default(self) -> T
    where
        T: Default,
    {
        self.map_or_else(T::default, |value| value)
    }

    /// `other` if the key is missing.
    pub(crate) fn or(self, other: Self) -> Self {
        match self {
            Given::Absent => other,
            given => given,
        }
    }
}

/// The fault of a word that is not in `known`.
pub(crate) fn unknown(what: &str, word: &str, known: &[&str]) -> Fault {
    let fix = match nearest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    Fault::new(format!("unknown {what} {}", quoted(word)), fix)
}
