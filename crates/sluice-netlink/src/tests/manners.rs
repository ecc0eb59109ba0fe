//! The kernel has the manners that the fake one is held to.

use sluice_nft::manners;

use super::{in_namespace, open};

#[test]
fn kernel_has_its_manners() {
    in_namespace(|| manners::manners(&mut open()));
}

#[test]
fn kernel_and_fake_agree_on_random_batches() {
    in_namespace(|| {
        let mut netlink = open();
        (0..8).for_each(|seed| manners::agree(&mut netlink, seed));
    });
}
