//! A datagram of the kernel, all the way to the plan that makes good what it says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_core::model::Services;
use sluice_core::plan::diff;
use sluice_core::render::owner::Owners;
use sluice_core::render::render;
use sluice_netlink::datagram;
use sluice_nft::Table;

fuzz_target!(|datagram: &[u8]| {
    let table = datagram::read(datagram).table;
    let _ = table.to_string();
    // Reads the layout of the table.
    let _ = render(&Services::new(), Some(&table));
    let plan = diff(Some(&table), Some(&Table::default()), &Owners::default());
    plan.changes().for_each(|change| drop(change.step.to_string()));
});
