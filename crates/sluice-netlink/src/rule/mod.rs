//! Rules to expressions and back.
//!
//! The expressions, and the registers they use, are those that nft 1.0.6 makes of the rule's text.

mod decode;
mod encode;
mod field;
mod message;
mod sound;

pub(crate) use encode::expressions;
pub(crate) use message::decode;
