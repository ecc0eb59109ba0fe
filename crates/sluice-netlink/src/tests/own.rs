//! Owners of tables.

use sluice_nft::{Dataplane, Errno, Owner, Step, TableFlags};

use super::{commit, in_namespace, nft, open, read};
use crate::{Netlink, TableOwnership};

const ORPHAN: TableFlags = TableFlags { owner: None, persist: true };
const OURS: TableFlags = TableFlags { owner: Some(Owner::Us), persist: true };

fn hold(hold: TableOwnership) -> Netlink {
    Netlink::open_to(hold).expect("nf_tables answers")
}

fn chain(name: &str) -> [Step; 1] {
    [Step::AddChain(name.into(), None)]
}

#[test]
fn table_held_firmly_is_left_alone_by_others_and_outlives_its_owner() {
    in_namespace(|| {
        let mut owner = hold(TableOwnership::Owner);
        assert!(owner.owns());
        commit(&mut owner, &[Step::AddTable]);
        commit(&mut owner, &chain("c"));
        assert_eq!(read(&mut owner).flags, OURS);

        let mut other = open();
        let flags = TableFlags { owner: Some(Owner::Port(owner.port)), persist: true };
        assert_eq!(read(&mut other).flags, flags);
        for steps in [chain("d"), [Step::DeleteTable]] {
            let error = other.commit(&steps, None).expect_err("it is not theirs");
            assert_eq!((error.operation, error.errno), (steps[0].to_string(), Errno::EPERM));
        }
        nft("flush ruleset");
        assert!(read(&mut owner).table.is_some());

        let mut heir = hold(TableOwnership::Owner);
        let generation = read(&mut heir).generation;
        assert_eq!(heir.adopt(flags, generation).expect("nothing is asked"), None, "it has an owner");
        drop(owner);
        let orphan = read(&mut heir);
        assert_eq!(orphan.flags, ORPHAN);
        let adopted = heir.adopt(ORPHAN, orphan.generation).expect("it can be had");
        let after = read(&mut heir);
        assert_eq!((after.flags, Some(after.generation)), (OURS, adopted));
        assert_eq!(after.table, orphan.table);
        commit(&mut heir, &[Step::DeleteTable]);
    });
}

#[test]
fn table_held_for_others_can_be_changed_by_anybody_and_adopted() {
    in_namespace(|| {
        let mut maker = hold(TableOwnership::Persist);
        commit(&mut maker, &[Step::AddTable]);
        let made = read(&mut maker);
        assert_eq!(made.flags, ORPHAN);
        commit(&mut open(), &chain("c"));
        let mut owner = hold(TableOwnership::Owner);
        let error = owner.adopt(made.flags, made.generation).expect_err("somebody changed it");
        assert_eq!((error.operation.as_str(), error.errno), ("own table inet sluice", Errno::ERESTART));
        let now = read(&mut owner);
        assert!(owner.adopt(now.flags, now.generation).expect("it can be had").is_some());
        assert_eq!(read(&mut owner).flags, OURS);
    });
}

#[test]
fn table_held_loosely_cannot_be_adopted() {
    in_namespace(|| {
        commit(&mut open(), &[Step::AddTable]);
        let mut owner = hold(TableOwnership::Owner);
        let plain = read(&mut owner);
        assert_eq!(plain.flags, TableFlags::default());
        assert_eq!(owner.adopt(plain.flags, plain.generation).expect("nothing is asked"), None);
        commit(&mut owner, &chain("c"));
        assert_eq!(read(&mut owner).flags, TableFlags::default());
    });
}
