//! [`Target`]: the table that messages are about.

use std::ffi::c_int;

use nftnl::nftnl_sys::libc::NFT_MSG_NEWTABLE;

use crate::attr::Write;
use crate::{message, uapi};

/// The table of the steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// `NFT_TABLE_F_*` for its creation.
    pub(crate) flags: u32,
}

impl Target {
    /// Our table.
    pub(crate) const SLUICE: Target = Target { name: "sluice", flags: 0 };

    /// The message that creates the table or, without `NLM_F_*` flags, sets the flags of the existing one.
    pub(crate) fn message(self, flags: c_int) -> Vec<u8> {
        let mut message = message::start(NFT_MSG_NEWTABLE, flags);
        message.put_text(uapi::table::NAME, self.name);
        message.put_u32(uapi::table::FLAGS, self.flags);
        message::finish(message)
    }
}
