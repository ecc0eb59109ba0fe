//! [`claims`]: which addresses the interface must or may have, from the readiness of services. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// What a service means for its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has been ready since then, without interruption.
    ReadySince(Instant),
    /// It is not ready, but that may be for a moment only: an earlier daemon may have announced it, and the health of its backends
    /// is not known yet, or a commit failed that is about to be retried.
    Undecided,
    /// It is not ready.
    NotReady,
}

/// What is to become of an address of an announced service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// It is withdrawn.
    Withdraw,
    /// It stays if it is announced, for example by the daemon before this one; otherwise it is not announced yet.
    Keep,
    /// It is announced.
    Announce,
}

/// The claims of all services, and when they change by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) addresses: BTreeMap<IpAddr, Claim>,
    pub(crate) next: Option<Instant>,
}

/// The claims at a moment. An address has the strongest claim of its services.
pub(crate) fn claims<A: IntoIterator<Item = IpAddr>>(
    services: impl IntoIterator<Item = (Standing, A)>,
    hold: Duration,
    now: Instant,
) -> Claims {
    let mut claims = Claims::default();
    for (standing, addresses) in services {
        let claim = match standing {
            Standing::ReadySince(since) if since + hold <= now => Claim::Announce,
            Standing::ReadySince(since) => {
                claims.next = Some(claims.next.map_or(since + hold, |next| next.min(since + hold)));
                Claim::Keep
            }
            Standing::Undecided => Claim::Keep,
            Standing::NotReady => Claim::Withdraw,
        };
        for address in addresses {
            let strongest = claims.addresses.entry(address).or_insert(claim);
            *strongest = claim.max(*strongest);
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use Standing::{NotReady, ReadySince, Undecided};

    use super::*;

    const HOLD: Duration = Duration::from_secs(2);

    fn address(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    fn claimed(services: &[(Standing, &[u8])], now: Instant) -> (Vec<(u8, Claim)>, Option<Duration>) {
        let services =
            services.iter().map(|(standing, addresses)| (*standing, addresses.iter().copied().map(address)));
        let Claims { addresses, next } = claims(services, HOLD, now);
        let last = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(_) => unreachable!(),
        };
        (addresses.into_iter().map(|(it, claim)| (last(it), claim)).collect(), next.map(|next| next - now))
    }

    #[test]
    fn ready_service_is_announced_when_the_hold_is_over_and_kept_before() {
        let since = Instant::now();
        let services: &[(Standing, &[u8])] = &[(ReadySince(since), &[1])];
        assert_eq!(claimed(services, since), (vec![(1, Claim::Keep)], Some(HOLD)));
        let almost = HOLD - Duration::from_millis(1);
        assert_eq!(claimed(services, since + almost), (vec![(1, Claim::Keep)], Some(HOLD - almost)));
        assert_eq!(claimed(services, since + HOLD), (vec![(1, Claim::Announce)], None));
    }

    #[test]
    fn address_stays_while_one_service_on_it_is_ready() {
        let now = Instant::now();
        let long = ReadySince(now - HOLD);
        let withdrawn = (1, Claim::Withdraw);
        assert_eq!(claimed(&[(NotReady, &[1, 2]), (long, &[2])], now).0, [withdrawn, (2, Claim::Announce)]);
        assert_eq!(claimed(&[(long, &[1]), (ReadySince(now), &[1])], now).0, [(1, Claim::Announce)]);
        assert_eq!(claimed(&[(Undecided, &[1]), (long, &[1])], now).0, [(1, Claim::Announce)]);
        assert_eq!(claimed(&[(Undecided, &[2]), (NotReady, &[1, 2])], now).0, [withdrawn, (2, Claim::Keep)]);
        assert_eq!(claimed(&[(NotReady, &[1])], now), (vec![withdrawn], None));
    }

    #[test]
    fn next_change_is_that_of_the_service_whose_hold_ends_first() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let services: &[(Standing, &[u8])] =
            &[(ReadySince(now), &[1]), (ReadySince(now - second), &[2]), (ReadySince(now - HOLD), &[3])];
        assert_eq!(claimed(services, now).1, Some(second));
    }
}
