//! [`Digest`]: a hash of the services of a file, to compare nodes.

use std::fmt;
use std::sync::{Arc, OnceLock};

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use sluice_core::model::{Services, write_canonical};

/// Number of hexadecimal digits of the short form.
pub const SHORT: usize = 12;

/// SHA-256 of the canonical text of services, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    /// Hashes services. With 50,000 services this takes tens of milliseconds.
    pub fn of(services: &Services) -> Self {
        let mut hash = Hash(Context::new(&SHA256));
        write_canonical(services, &mut hash).expect("hashing does not fail");
        Digest(HEXLOWER.encode(hash.0.finish().as_ref()))
    }

    /// The short form.
    pub fn short(&self) -> &str {
        &self.0[..SHORT]
    }

    /// All digits.
    pub fn full(&self) -> &str {
        &self.0
    }
}

/// Hashes the text that is written to it.
struct Hash(Context);

impl fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// The digest of the services in force, which the first reader computes. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedDigest(Arc<OnceLock<Digest>>);

impl SharedDigest {
    /// The digest of these services, which are the same at each call.
    pub(crate) fn of(&self, services: &Services) -> &Digest {
        self.0.get_or_init(|| Digest::of(services))
    }
}
