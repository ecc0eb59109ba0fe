//! Names of interfaces, backends and groups.

use serde_json::Value;
use sluice_core::model::{BackendName, InterfaceName, InvalidName};

use super::text;
use crate::problem::{Fault, quoted};
use crate::read::{Leaf, Scalar};
use crate::schema::pattern;

impl Leaf for InterfaceName {
    const EXPECTED: &'static str = "the name of an interface";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        name(scalar, "interface name", InterfaceName::new)
    }

    fn schema() -> Value {
        pattern(r#"^[^\s/:"*\\]{1,15}$"#, Self::EXPECTED)
    }
}

impl Leaf for BackendName {
    const EXPECTED: &'static str = "a name";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        name(scalar, "backend name", BackendName::new)
    }

    fn schema() -> Value {
        pattern("^[!-.0-~]{1,63}$", "1 to 63 printable ASCII characters, without spaces and /")
    }
}

fn name<T>(scalar: Scalar<'_>, what: &str, new: fn(&str) -> Result<T, InvalidName>) -> Result<T, Fault> {
    let text = text(scalar, what)?;
    new(text)
        .map_err(|error| Fault::new(format!("invalid {what} {}: {error}", quoted(text)), "change the name"))
}

/// A group of the system; its id is looked up when the socket is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupName(pub(crate) String);

impl Leaf for GroupName {
    const EXPECTED: &'static str = "the name of a group";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        let text = text(scalar, "group name")?;
        if text.is_empty()
            || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':' || c == ',')
        {
            let what = format!("invalid group name {}", quoted(text));
            return Err(Fault::new(what, "write the name of a group in /etc/group"));
        }
        Ok(GroupName(text.to_owned()))
    }

    fn schema() -> Value {
        pattern(r"^[^\s:,]+$", Self::EXPECTED)
    }
}
