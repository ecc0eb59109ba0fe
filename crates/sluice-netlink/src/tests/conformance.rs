//! The conformance cases on the kernel; sluice-conformance runs them on the fake.

use super::{in_namespace, open};

#[test]
fn kernel_conforms() {
    in_namespace(|| sluice_conformance::conformance(&mut open()));
}

#[test]
fn kernel_and_fake_agree_on_random_batches() {
    in_namespace(|| {
        let mut netlink = open();
        (0..8).for_each(|seed| sluice_conformance::agree(&mut netlink, seed));
    });
}
