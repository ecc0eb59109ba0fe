//! Messages of ctnetlink (`linux/netfilter/nfnetlink_conntrack.h`).

use std::ffi::c_int;
use std::net::{IpAddr, SocketAddr};

use nftnl::nftnl_sys::libc;

use super::Flow;
use crate::attr::Write;

/// `IPCTNL_MSG_CT_*`.
const NEW: u16 = 0;
const GET: u16 = 1;
pub(super) const DELETE: u16 = 2;

/// `enum ctattr_type`.
pub(super) const TUPLE_ORIG: u16 = 1;
pub(super) const TUPLE_REPLY: u16 = 2;
pub(super) const STATUS: u16 = 3;
pub(super) const PROTOINFO: u16 = 4;
pub(super) const TIMEOUT: u16 = 7;
pub(super) const COUNTERS_ORIG: u16 = 9;
pub(super) const COUNTERS_REPLY: u16 = 10;
pub(super) const ID: u16 = 12;
pub(super) const ZONE: u16 = 18;

/// `enum ctattr_tuple`, `ctattr_ip`, `ctattr_l4proto`.
pub(super) const TUPLE_IP: u16 = 1;
pub(super) const TUPLE_PROTO: u16 = 2;
pub(super) const V4_SRC: u16 = 1;
pub(super) const V4_DST: u16 = 2;
pub(super) const V6_SRC: u16 = 3;
pub(super) const V6_DST: u16 = 4;
pub(super) const PROTO_NUM: u16 = 1;
pub(super) const SRC_PORT: u16 = 2;
pub(super) const DST_PORT: u16 = 3;

/// `enum ctattr_protoinfo`, `ctattr_protoinfo_tcp`, `ctattr_protoinfo_sctp`.
pub(super) const PROTOINFO_TCP: u16 = 1;
pub(super) const PROTOINFO_SCTP: u16 = 3;
pub(super) const TCP_STATE: u16 = 1;
pub(super) const SCTP_STATE: u16 = 1;

/// `enum ctattr_counters`.
pub(super) const COUNTERS_BYTES: u16 = 2;

/// `enum ip_conntrack_status`.
pub(super) const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_ASSURED: u32 = 1 << 2;
pub(super) const IPS_DST_NAT: u32 = 1 << 5;
pub(super) const IPS_FIXED_TIMEOUT: u32 = 1 << 10;

/// The request for all flows of all IP versions.
pub(crate) fn dump() -> Vec<u8> {
    start(GET, libc::NLM_F_DUMP, libc::AF_UNSPEC)
}

/// Deletes a flow, unless another one has replaced it.
pub(super) fn delete(flow: &Flow) -> Vec<u8> {
    let mut message = about(flow, DELETE);
    message.put_u32(ID, flow.id);
    message
}

/// Sets a timeout that packets do not extend. The flow is identified by its tuple alone: the kernel compares ids only when
/// it dumps or deletes. `IPS_SEEN_REPLY` must be set even if the dumped flow did not have it, because the kernel rejects
/// its removal.
pub(super) fn end(flow: &Flow, seconds: u32) -> Vec<u8> {
    let mut message = about(flow, NEW);
    message.put_u32(TIMEOUT, seconds);
    message.put_u32(STATUS, flow.status | IPS_SEEN_REPLY | IPS_ASSURED | IPS_FIXED_TIMEOUT);
    message
}

fn about(flow: &Flow, kind: u16) -> Vec<u8> {
    let mut message = start(kind, libc::NLM_F_ACK, family(flow.to.ip()));
    message.nest(TUPLE_ORIG, |tuple| {
        tuple.nest(TUPLE_IP, |ip| {
            address(ip, flow.client.ip(), V4_SRC, V6_SRC);
            address(ip, flow.to.ip(), V4_DST, V6_DST);
        });
        tuple.nest(TUPLE_PROTO, |proto| {
            let port = |socket: SocketAddr| socket.port().to_be_bytes();
            proto.put(PROTO_NUM, &[flow.protocol.number()]);
            proto.put(SRC_PORT, &port(flow.client));
            proto.put(DST_PORT, &port(flow.to));
        });
    });
    message.put(ZONE, &flow.zone.to_be_bytes());
    message
}

fn start(kind: u16, flags: c_int, family: c_int) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend_from_slice(&self::kind(kind).to_ne_bytes());
    message.extend_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[family as u8, 0, 0, 0]);
    message
}

/// Type of a message in the netlink header.
pub(super) fn kind(kind: u16) -> u16 {
    (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | kind
}

fn family(ip: IpAddr) -> c_int {
    if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

fn address(message: &mut Vec<u8>, ip: IpAddr, v4: u16, v6: u16) {
    match ip {
        IpAddr::V4(ip) => message.put(v4, &ip.octets()),
        IpAddr::V6(ip) => message.put(v6, &ip.octets()),
    }
}
