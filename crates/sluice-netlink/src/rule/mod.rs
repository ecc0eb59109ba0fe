//! Encodes rules as expressions and decodes them.
//!
//! The expressions and their registers are those that nft 1.0.6 generates from the rule's text.

mod decode;
mod encode;
mod field;
mod message;
mod validate;

pub(crate) use encode::expressions;
pub(crate) use message::decode;
