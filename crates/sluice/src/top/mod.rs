//! `sluice top`: all backends on the terminal, live.
//!
//! ```text
//!  keyboard, size --+
//!                   +--> Event --> App --> view --> terminal
//!  daemon ----------+               |
//!    ^-------------- Effect --------+
//! ```
//!
//! `App` decides, `rows` and `column` say what is in the table, `view` draws the part that is seen; `shell` moves events
//! and effects and decides nothing.

mod app;
mod column;
mod rows;
pub(crate) mod shell;
#[cfg(test)]
mod tests;
mod view;
