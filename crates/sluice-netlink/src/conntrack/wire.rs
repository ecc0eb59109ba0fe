//! Messages of ctnetlink (`linux/netfilter/nfnetlink_conntrack.h`).

use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nftnl::nftnl_sys::libc;
use sluice_nft::{Ip, Protocol};

use super::{Filter, Flow};
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
const FILTER: u16 = 25;
const STATUS_MASK: u16 = 26;

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

/// `enum ctattr_filter`, and its flags (`nf_internals.h`).
const ORIG_FLAGS: u16 = 1;
const REPLY_FLAGS: u16 = 2;
const BY_SRC: u32 = 1 << 0;
const BY_DST: u32 = 1 << 1;
const BY_PROTO: u32 = 1 << 3;
const BY_SRC_PORT: u32 = 1 << 4;
const BY_DST_PORT: u32 = 1 << 5;

/// `enum ip_conntrack_status`.
pub(super) const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_ASSURED: u32 = 1 << 2;
pub(super) const IPS_DST_NAT: u32 = 1 << 5;
pub(super) const IPS_FIXED_TIMEOUT: u32 = 1 << 10;

/// The request for the selected flows.
pub(crate) fn dump(filter: &Filter) -> Vec<u8> {
    let mut message = start(GET, libc::NLM_F_DUMP, filter.ip);
    if filter.translated {
        message.put_u32(STATUS, IPS_DST_NAT);
        message.put_u32(STATUS_MASK, IPS_DST_NAT);
    }
    let Filter { protocol, to_port, backend_port, .. } = *filter;
    // Kernels (6.18 for example) omit exactly the flows with the given IPv6 addresses.
    let v4 = |address| match address {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    let (to, backend) = (v4(filter.to), v4(filter.backend));
    let orig = given(to.is_some(), BY_DST)
        | given(protocol.is_some(), BY_PROTO)
        | given(protocol.is_some() && to_port.is_some(), BY_DST_PORT);
    let port = protocol.is_some() && backend_port.is_some();
    let reply = given(backend.is_some(), BY_SRC) | given(port, BY_PROTO) | given(port, BY_SRC_PORT);
    if orig | reply != 0 {
        side(&mut message, TUPLE_ORIG, protocol, (to, V4_DST), (to_port, DST_PORT));
        side(&mut message, TUPLE_REPLY, protocol, (backend, V4_SRC), (backend_port, SRC_PORT));
        // In host order, unlike other attributes.
        message.nest(FILTER, |inner| {
            inner.put(ORIG_FLAGS, &orig.to_ne_bytes());
            inner.put(REPLY_FLAGS, &reply.to_ne_bytes());
        });
    }
    message
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
    let mut message = start(kind, libc::NLM_F_ACK, Ip::of(flow.to.ip()));
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

fn start(kind: u16, flags: c_int, ip: Ip) -> Vec<u8> {
    let family = match ip {
        Ip::V4 => libc::AF_INET,
        Ip::V6 => libc::AF_INET6,
    };
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

/// One tuple of a filter; fields that are not given are excluded by the flags.
fn side(
    message: &mut Vec<u8>,
    kind: u16,
    protocol: Option<Protocol>,
    (ip, end): (Option<Ipv4Addr>, u16),
    (port, place): (Option<u16>, u16),
) {
    message.nest(kind, |tuple| {
        if let Some(ip) = ip {
            tuple.nest(TUPLE_IP, |inner| inner.put(end, &ip.octets()));
        }
        if let Some(protocol) = protocol {
            tuple.nest(TUPLE_PROTO, |inner| {
                inner.put(PROTO_NUM, &[protocol.number()]);
                if let Some(port) = port {
                    inner.put(place, &port.to_be_bytes());
                }
            });
        }
    });
}

fn address(message: &mut Vec<u8>, ip: IpAddr, v4: u16, v6: u16) {
    match ip {
        IpAddr::V4(ip) => message.put(v4, &ip.octets()),
        IpAddr::V6(ip) => message.put(v6, &ip.octets()),
    }
}

fn given(is: bool, flag: u32) -> u32 {
    if is { flag } else { 0 }
}
