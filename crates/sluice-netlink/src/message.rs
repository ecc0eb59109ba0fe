//! Messages of nf_tables: netlink header, netfilter header and attributes.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use nftnl::nftnl_sys::libc;
use nftnl::{MsgType, NlMsg, nft_nlmsg_maxsize};
use nix::errno::Errno;

use crate::attr::Attributes;
use crate::uapi;

/// Length of both headers in bytes.
pub(crate) const HEADERS: usize = 20;

/// Positions of flags and sequence number in the netlink header.
const FLAGS: std::ops::Range<usize> = 6..8;
const SEQUENCE: std::ops::Range<usize> = 8..12;

/// The headers of a message for our family. `kind` is `NFT_MSG_*`, `flags` are `NLM_F_*` in addition to
/// `NLM_F_REQUEST`.
pub(crate) fn start(kind: c_int, flags: c_int) -> Vec<u8> {
    let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
    let mut message = Vec::with_capacity(256);
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[uapi::FAMILY, 0, 0, 0]);
    message
}

/// Finishes a message: writes its length.
pub(crate) fn finish(mut message: Vec<u8>) -> Vec<u8> {
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// Writes the sequence number, which the kernel repeats in its answers.
pub(crate) fn number(message: &mut [u8], sequence: u32) {
    message[SEQUENCE].copy_from_slice(&sequence.to_ne_bytes());
}

/// The length in the netlink header.
pub(crate) fn length(message: &[u8]) -> Option<usize> {
    message.first_chunk().map(|length| u32::from_ne_bytes(*length) as usize)
}

/// The type in the netlink header.
pub(crate) fn kind(message: &[u8]) -> c_int {
    message.get(4..6).and_then(|kind| kind.try_into().ok()).map_or(0, u16::from_ne_bytes).into()
}

/// The flags in the netlink header.
pub(crate) fn flags(message: &[u8]) -> c_int {
    message.get(FLAGS).and_then(|flags| flags.try_into().ok()).map_or(0, u16::from_ne_bytes).into()
}

/// The sequence number in the netlink header.
pub(crate) fn sequence(message: &[u8]) -> u32 {
    message.get(SEQUENCE).and_then(|sequence| sequence.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// The sender's netlink port.
pub(crate) fn port(message: &[u8]) -> u32 {
    message.get(12..16).and_then(|port| port.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// `NFPROTO_*` in the netfilter header.
pub(crate) fn family(message: &[u8]) -> Option<u8> {
    message.get(16).copied()
}

/// Calls `each` for the messages of a datagram, up to the first one with an invalid length.
pub(crate) fn split(datagram: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), Errno> {
    const HEADER: usize = 16;
    let mut rest = datagram;
    while rest.len() >= HEADER {
        let length = length(rest).filter(|length| *length >= HEADER).ok_or(Errno::EBADMSG)?;
        each(rest.get(..length).ok_or(Errno::EBADMSG)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

/// The attributes after the headers.
pub(crate) fn attributes(message: &[u8]) -> Attributes<'_> {
    Attributes::new(message.get(HEADERS..).unwrap_or_default())
}

/// A buffer for messages of libnftnl.
pub(crate) struct Scratch(Vec<u64>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Scratch(vec![0; nft_nlmsg_maxsize().div_ceil(8) as usize])
    }

    /// The bytes of a message of nftnl, with its flags replaced by these `NLM_F_*`: nftnl requests an acknowledgement
    /// for each message, and thousands of acknowledgements overflow the receive buffer.
    pub(crate) fn take(&mut self, message: &impl NlMsg, msg_type: MsgType, flags: c_int) -> Vec<u8> {
        let buffer = self.0.as_mut_ptr().cast::<c_void>();
        // SAFETY: the buffer is aligned and has the size that `NlMsg::write` asks for.
        unsafe { message.write(buffer, 0, msg_type) };
        // SAFETY: the memory is owned and initialised, and bytes have no alignment.
        let written = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), 8 * self.0.len()) };
        let mut bytes = written[..length(written).unwrap_or(0)].to_vec();
        bytes[FLAGS].copy_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        bytes
    }
}

/// A finished message, to be added to a batch of nftnl.
pub(crate) struct Encoded<'a> {
    bytes: &'a [u8],
    /// Its sequence number in the batch.
    pub(crate) sequence: Cell<u32>,
}

impl<'a> Encoded<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        assert!(bytes.len() <= nft_nlmsg_maxsize() as usize, "message larger than a batch page takes");
        Encoded { bytes, sequence: Cell::new(0) }
    }
}

// SAFETY: `write` writes at most `nft_nlmsg_maxsize()` bytes, as checked in `new`.
unsafe impl NlMsg for Encoded<'_> {
    unsafe fn write(&self, buf: *mut c_void, seq: u32, _: MsgType) {
        self.sequence.set(seq);
        // SAFETY: the caller provides a buffer of that size, which does not overlap `bytes`.
        let buffer = unsafe {
            std::ptr::copy_nonoverlapping(self.bytes.as_ptr(), buf.cast(), self.bytes.len());
            std::slice::from_raw_parts_mut(buf.cast::<u8>(), self.bytes.len())
        };
        number(buffer, seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_of_a_datagram_hands_out_messages_as_long_as_they_are_whole() {
        let message = |length: usize| {
            let mut message = vec![7; length];
            message[..4].copy_from_slice(&(length as u32).to_ne_bytes());
            message
        };
        let lengths = |datagram: &[u8]| {
            let mut lengths = vec![];
            let end = split(datagram, |message| lengths.push(message.len()));
            (lengths, end)
        };
        // The last message may have no padding.
        let two = [message(20), message(17)].concat();
        assert_eq!(lengths(&two), (vec![20, 17], Ok(())));
        assert_eq!(lengths(&two[..36]), (vec![20], Err(Errno::EBADMSG)));
        assert_eq!(lengths(&[message(16), vec![0; 16]].concat()), (vec![16], Err(Errno::EBADMSG)));
        assert_eq!(lengths(&[]), (vec![], Ok(())));
    }
}
