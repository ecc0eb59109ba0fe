//! Kinds of answers: data, end, or an error with its position.

use nftnl::nftnl_sys::libc::{NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_DONE, NLMSG_ERROR};
use nix::errno::Errno;

use crate::attr::Attributes;
use crate::message;

/// Length of `nlmsghdr`.
const HEADER: usize = 16;

/// The kind of a message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Requested data.
    Data,
    /// The end of a dump, or an acknowledgement.
    End,
    /// A message was rejected.
    Error(Refusal),
}

/// The error of a rejected message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) errno: Errno,
    /// Offset of the error from the start of the message.
    pub(crate) offset: Option<usize>,
}

/// `NLMSGERR_ATTR_OFFS`.
const OFFSET: u16 = 2;

/// Classifies a message of the kernel.
pub(crate) fn parse(answer: &[u8]) -> Reply {
    let done = message::kind(answer) == NLMSG_DONE;
    if !done && message::kind(answer) != NLMSG_ERROR {
        return Reply::Data;
    }
    let code = answer.get(HEADER..).and_then(<[u8]>::first_chunk).map_or(0, |code| i32::from_ne_bytes(*code));
    if code == 0 || (done && code > 0) {
        return Reply::End;
    }
    // In host order, unlike numbers of nf_tables.
    let offset =
        extended(answer).bytes(OFFSET).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    Reply::Error(Refusal {
        errno: Errno::from_raw(code.saturating_neg()),
        offset: offset.map(|offset| offset as usize),
    })
}

/// The attributes after the error number and the repeated part of the rejected message.
fn extended(answer: &[u8]) -> Attributes<'_> {
    let flags = message::flags(answer);
    let repeated = HEADER + 4;
    let start = if flags & NLM_F_ACK_TLVS == 0 {
        answer.len()
    } else if flags & NLM_F_CAPPED != 0 {
        repeated + HEADER
    } else {
        let refused = answer.get(repeated..).and_then(message::length).unwrap_or(0);
        repeated.saturating_add(refused.next_multiple_of(4))
    };
    Attributes::new(answer.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Write;

    fn error(code: i32, flags: i32, rest: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; 4];
        answer.extend_from_slice(&(NLMSG_ERROR as u16).to_ne_bytes());
        answer.extend_from_slice(&(flags as u16).to_ne_bytes());
        answer.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0]);
        answer.extend_from_slice(&code.to_ne_bytes());
        answer.extend_from_slice(rest);
        let length = answer.len() as u32;
        answer[..4].copy_from_slice(&length.to_ne_bytes());
        answer
    }

    #[test]
    fn parse_error_with_extended_ack_says_where() {
        let mut rest = vec![0; HEADER];
        rest.put_text(1, "too deep");
        rest.put(OFFSET, &44_u32.to_ne_bytes());
        let answer = error(-31, NLM_F_ACK_TLVS | NLM_F_CAPPED, &rest);
        let refusal = Refusal { errno: Errno::EMLINK, offset: Some(44) };
        assert_eq!(parse(&answer), Reply::Error(refusal));
        assert_eq!(message::sequence(&answer), 7);
    }

    #[test]
    fn parse_error_that_repeats_the_message_finds_what_is_behind() {
        let mut rest = vec![24, 0, 0, 0];
        rest.resize(24, 0xff);
        rest.put(OFFSET, &20_u32.to_ne_bytes());
        let Reply::Error(refusal) = parse(&error(-17, NLM_F_ACK_TLVS, &rest)) else { panic!("no error") };
        assert_eq!((refusal.errno, refusal.offset), (Errno::EEXIST, Some(20)));
    }

    #[test]
    fn parse_acknowledgement_is_an_end() {
        assert_eq!(parse(&error(0, 0, &[0; HEADER])), Reply::End);
    }

    #[test]
    fn parse_cut_short_does_not_panic() {
        let mut rest = vec![0; HEADER];
        rest.put(OFFSET, &44_u32.to_ne_bytes());
        let answer = error(-1, NLM_F_ACK_TLVS | NLM_F_CAPPED, &rest);
        for end in 0..answer.len() {
            parse(&answer[..end]);
        }
    }
}
