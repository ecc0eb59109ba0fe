//! The status page in a real browser. Needs root and Debian's `chromium`; `make test` runs it.

#![forbid(unsafe_code)]

mod cdp;
mod daemon;
mod fixtures;
mod hostile;
mod live;
mod many;
mod mock;
mod narrow;
mod page;
mod words;
