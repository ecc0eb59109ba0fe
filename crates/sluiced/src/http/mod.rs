//! What is served to people and machines that only look.

pub mod page;
