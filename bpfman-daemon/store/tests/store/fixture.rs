//! Shared functions of the tests: opening a store, and reproducible random numbers.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bpfmand_store::{EngineKind, Store, StoreOptions};

pub const SCHEMA: u32 = 1;

pub fn options(folder: &Path, kind: EngineKind) -> StoreOptions {
    StoreOptions::new(folder, SCHEMA).engine(kind)
}

pub fn open(folder: &Path, kind: EngineKind) -> Store {
    options(folder, kind).open_or_panic()
}

pub trait OpenOrPanic {
    fn open_or_panic(self) -> Store;
}

impl OpenOrPanic for StoreOptions {
    fn open_or_panic(self) -> Store {
        Store::open(self).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// In memory if possible: tests that do not prove durability need not wait for a disk.
pub fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// xorshift64*, seeded from the clock or from `STORE_TEST_SEED`; the seed is printed.
pub struct Chance(u64);

impl Chance {
    pub fn new(what: &str) -> Chance {
        let seed = std::env::var("STORE_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
        println!("{what}: STORE_TEST_SEED={seed}");
        Chance(seed | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        high as usize % limit
    }
}

macro_rules! on_each_engine {
    ($($name:ident),+ $(,)?) => {
        mod redb { $(#[test] fn $name() { super::$name(bpfmand_store::EngineKind::Redb); })+ }
        mod sled { $(#[test] fn $name() { super::$name(bpfmand_store::EngineKind::Sled); })+ }
    };
}
pub(crate) use on_each_engine;
