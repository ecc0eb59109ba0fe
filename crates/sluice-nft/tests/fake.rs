//! The fake kernel against the manners it shares with the real one, and against itself.

use sluice_nft::fake::FakeKernel;
use sluice_nft::manners;

#[test]
fn fake_has_the_kernels_manners() {
    manners::manners(&mut FakeKernel::default());
}
