//! Declarations of sets and maps.

mod declaration;
mod typing;

pub(crate) use declaration::{decode, encode};
