//! Messages about stateful objects, which sluice never creates but reads and deletes.

use nftnl::nftnl_sys::libc::NFT_MSG_DELOBJ;
use sluice_nft::Object;

use crate::attr::{Attributes, Write};
use crate::message;
use crate::uapi::object as attribute;

/// The message that deletes an object.
pub(crate) fn delete(table: &str, object: &Object) -> Vec<u8> {
    let mut message = message::start(NFT_MSG_DELOBJ, 0);
    message.put_text(attribute::TABLE, table);
    message.put_text(attribute::NAME, &object.name);
    message.put_u32(attribute::KIND, object.kind);
    message::finish(message)
}

/// The object of an `NFT_MSG_NEWOBJ` message.
pub(crate) fn decode(attributes: Attributes<'_>) -> Option<Object> {
    Some(Object {
        kind: attributes.u32(attribute::KIND)?,
        name: attributes.text(attribute::NAME)?.to_owned(),
    })
}
