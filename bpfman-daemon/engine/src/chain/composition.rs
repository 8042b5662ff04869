//! What the bytes of a chain depend on.

use bpfmand_core::hexadecimal;
use bpfmand_splice::SpliceHook;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::EngineError;
use crate::state::chain_record::Composition;
use crate::state::encode;

/// All that the bytes of a chain depend on, besides this daemon and the kernel.
#[derive(Serialize)]
pub struct Ingredients<'a> {
    /// Ids of maps mean others after a reboot.
    pub boot: &'a str,
    /// Another version may join members in another way.
    pub version: &'a str,
    /// Decides what a chain answers at its end.
    pub hook: &'a str,
    pub counters: bool,
    pub timing: bool,
    pub as_subprograms: bool,
    pub members: Vec<Ingredient<'a>>,
}

/// A member of a chain.
#[derive(Serialize)]
pub struct Ingredient<'a> {
    pub uid: u64,
    pub bytecode: &'a str,
    pub function: &'a str,
    /// Ids; 0 for one that was left out.
    pub maps: Vec<u32>,
    pub proceed_on: u32,
    #[serde(skip_serializing_if = "crate::state::records::is_zero")]
    pub unsent: u32,
    pub isolated: bool,
    pub owner: u32,
}

impl Ingredients<'_> {
    /// Hashes them.
    pub fn composition(&self) -> Result<Composition, EngineError> {
        let digest = Sha256::digest(encode(self)?);
        Ok(Composition(hexadecimal(&digest)))
    }
}

impl Composition {
    /// A number to lock by. Two compositions of one number only wait for each other.
    pub fn lock_number(&self) -> u64 {
        u64::from_str_radix(self.0.get(..16).unwrap_or_default(), 16).unwrap_or(0)
    }
}

/// Names a kind of chain in [`Ingredients`].
pub const fn hook_word(hook: SpliceHook) -> &'static str {
    match hook {
        SpliceHook::Xdp => "xdp",
        SpliceHook::TcTcx => "tcx",
        SpliceHook::TcTcxOpen => "open tcx",
        SpliceHook::TcClsact => "clsact",
    }
}
