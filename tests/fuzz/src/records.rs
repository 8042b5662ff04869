//! Records of the daemon after damage of the disk: a start reads them, or reports why it cannot.

use std::collections::BTreeMap;

use bpfman_model::{AttachPoint, AttachRequest, Interface, ProceedOn, VerdictFamily};
use bpfmand_store::{Batch, Table};

use crate::world::{self, World};

const TABLES: [Table; 7] = [
    Table("programs"),
    Table("previous"),
    Table("links"),
    Table("hooks"),
    Table("matchings"),
    Table("leftovers"),
    Table("meta"),
];

/// Starts the engine with records: table, length of the key, key, length of the value (2 bytes), value.
pub fn run(mut bytes: &[u8]) {
    let world = World::new();
    let store = world.store();
    let mut batch = Batch::new();
    while let [table, key_length, rest @ ..] = bytes {
        let (key, rest) = rest.split_at(usize::from(*key_length).min(rest.len()));
        let Some((length, rest)) = rest.split_first_chunk::<2>() else { break };
        let (value, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        batch.put(TABLES[usize::from(*table) % TABLES.len()], key, value.to_vec());
        bytes = rest;
    }
    if store.commit(batch).is_err() {
        return;
    }
    if let Ok(engine) = world.engine(store) {
        let everything = engine.list_links(None, None, &BTreeMap::new());
        let _all = (everything.is_ok(), engine.check_all());
        let _unwritable = engine.close();
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let world = World::new();
    let engine = world.engine(world.store()).expect("nothing is there");
    let loaded = engine.load(&world::load_request()).expect("the object that was compiled");
    let point = AttachPoint::Xdp {
        interface: Interface { name: world::INTERFACE.to_owned(), netns: None },
        priority: 50,
        proceed_on: ProceedOn::default_for(VerdictFamily::Xdp),
    };
    engine.attach(&AttachRequest::new(loaded.programs[0].id, point)).expect("the interface is there");
    engine.close().expect("the folder is there");
    drop(engine);
    let store = world.store();
    let snapshot = store.load().expect("just written");
    let mut whole = Vec::new();
    let mut seeds = Vec::new();
    for (number, table) in TABLES.iter().enumerate() {
        for (key, value) in snapshot.table(*table) {
            let mut one = vec![number as u8, key.len() as u8];
            one.extend(key);
            one.extend((value.len() as u16).to_le_bytes());
            one.extend(value);
            whole.extend(&one);
            seeds.push(one);
        }
    }
    seeds.push(whole);
    seeds
}
