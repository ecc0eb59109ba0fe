//! How far a connection is, as conntrack follows it.

use sluice_nft::Protocol;

use super::wire;
use crate::attr::Attributes;

/// State of a connection, by protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionState {
    /// Of a TCP connection.
    Tcp(TcpState),
    /// Of an SCTP association.
    Sctp(SctpState),
}

/// State of a TCP connection (`enum tcp_conntrack`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum TcpState {
    None,
    SynSent,
    SynReceived,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    /// Both ends sent a SYN.
    SynSent2,
}

/// State of an SCTP association (`enum sctp_conntrack`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum SctpState {
    None,
    /// Over, or, before anybody answers, an INIT was sent.
    Closed,
    CookieWait,
    CookieEchoed,
    Established,
    ShutdownSent,
    ShutdownReceived,
    ShutdownAckSent,
    HeartbeatSent,
    /// Up to Linux 6.1.
    HeartbeatAcked,
}

impl ConnectionState {
    /// Reads `CTA_PROTOINFO`; `None` without connections, and for a state that is not known.
    pub(super) fn of(protocol: Protocol, info: Attributes<'_>) -> Option<Self> {
        let number = |kind, state| Some(usize::from(*info.nested(kind)?.bytes(state)?.first()?));
        match protocol {
            Protocol::Tcp => {
                let number = number(wire::PROTOINFO_TCP, wire::TCP_STATE)?;
                TcpState::ALL.get(number).copied().map(ConnectionState::Tcp)
            }
            Protocol::Sctp => {
                let number = number(wire::PROTOINFO_SCTP, wire::SCTP_STATE)?;
                SctpState::ALL.get(number).copied().map(ConnectionState::Sctp)
            }
            Protocol::Udp => None,
        }
    }

    /// Whether no backend has answered yet.
    pub(super) fn is_opening(self, is_replied: bool) -> bool {
        match self {
            ConnectionState::Tcp(state) => state == TcpState::SynSent,
            ConnectionState::Sctp(_) => !is_replied,
        }
    }

    /// Whether an end may still use it.
    pub(super) fn is_active(self, is_replied: bool) -> bool {
        match self {
            ConnectionState::Tcp(state) => {
                !matches!(state, TcpState::None | TcpState::LastAck | TcpState::TimeWait | TcpState::Close)
            }
            ConnectionState::Sctp(SctpState::None | SctpState::Closed) => !is_replied,
            ConnectionState::Sctp(state) => state != SctpState::ShutdownAckSent,
        }
    }

    /// The names of all states.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        TcpState::ALL.map(TcpState::as_str).into_iter().chain(SctpState::ALL.map(SctpState::as_str))
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            ConnectionState::Tcp(state) => state.as_str(),
            ConnectionState::Sctp(state) => state.as_str(),
        }
    }
}

impl TcpState {
    const ALL: [TcpState; 10] = [
        TcpState::None,
        TcpState::SynSent,
        TcpState::SynReceived,
        TcpState::Established,
        TcpState::FinWait,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::TimeWait,
        TcpState::Close,
        TcpState::SynSent2,
    ];

    fn as_str(self) -> &'static str {
        match self {
            TcpState::None => "none",
            TcpState::SynSent => "syn-sent",
            TcpState::SynReceived => "syn-recv",
            TcpState::Established => "established",
            TcpState::FinWait => "fin-wait",
            TcpState::CloseWait => "close-wait",
            TcpState::LastAck => "last-ack",
            TcpState::TimeWait => "time-wait",
            TcpState::Close => "close",
            TcpState::SynSent2 => "syn-sent2",
        }
    }
}

impl SctpState {
    const ALL: [SctpState; 10] = [
        SctpState::None,
        SctpState::Closed,
        SctpState::CookieWait,
        SctpState::CookieEchoed,
        SctpState::Established,
        SctpState::ShutdownSent,
        SctpState::ShutdownReceived,
        SctpState::ShutdownAckSent,
        SctpState::HeartbeatSent,
        SctpState::HeartbeatAcked,
    ];

    fn as_str(self) -> &'static str {
        match self {
            SctpState::None => "none",
            SctpState::Closed => "closed",
            SctpState::CookieWait => "cookie-wait",
            SctpState::CookieEchoed => "cookie-echoed",
            SctpState::Established => "established",
            SctpState::ShutdownSent => "shutdown-sent",
            SctpState::ShutdownReceived => "shutdown-recd",
            SctpState::ShutdownAckSent => "shutdown-ack-sent",
            SctpState::HeartbeatSent => "heartbeat-sent",
            SctpState::HeartbeatAcked => "heartbeat-acked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn association_is_opening_until_it_is_answered_and_active_until_it_is_closed() {
        let judged = |state, is_replied| {
            let state = ConnectionState::Sctp(state);
            (state.is_opening(is_replied), state.is_active(is_replied))
        };
        // After an INIT alone conntrack says CLOSED, as it does after an ABORT.
        assert_eq!(judged(SctpState::Closed, false), (true, true));
        assert_eq!(judged(SctpState::HeartbeatSent, false), (true, true));
        assert_eq!(judged(SctpState::CookieWait, true), (false, true));
        assert_eq!(judged(SctpState::Established, true), (false, true));
        assert_eq!(judged(SctpState::ShutdownSent, true), (false, true));
        assert_eq!(judged(SctpState::ShutdownAckSent, true), (false, false));
        assert_eq!(judged(SctpState::Closed, true), (false, false));
    }
}
