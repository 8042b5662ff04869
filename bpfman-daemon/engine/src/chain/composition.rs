//! Inputs on which the bytecode of a chain depends.

use bpfman_model::{Optimisation, hexadecimal};
use bpfmand_splice::SpliceHook;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::EngineError;
use crate::state::chain_record::Composition;
use crate::state::encode;

/// All inputs of a chain's bytecode, except this daemon and the kernel.
#[derive(Serialize)]
pub struct CompositionInputs<'a> {
    /// Ids of maps denote other maps after a reboot.
    pub boot: &'a str,
    /// Another version of the daemon may join members differently.
    pub version: &'a str,
    pub hook: &'a str,
    pub counters: bool,
    pub timing: bool,
    pub as_subprograms: bool,
    pub optimisation: Optimisation,
    pub members: Vec<CompositionMember<'a>>,
}

#[derive(Serialize)]
pub struct CompositionMember<'a> {
    pub uid: u64,
    pub bytecode: &'a str,
    pub function: &'a str,
    pub maps: Vec<u32>,
    pub proceed_on: u32,
    #[serde(skip_serializing_if = "crate::state::records::is_zero")]
    pub unsent: u32,
    pub isolated: bool,
    pub owner: u32,
}

impl CompositionInputs<'_> {
    pub fn composition(&self) -> Result<Composition, EngineError> {
        let digest = Sha256::digest(encode(self)?);
        Ok(Composition(hexadecimal(&digest)))
    }
}

impl Composition {
    /// Returns the number of the composition's lock; compositions that share one merely wait for each other.
    pub fn lock_number(&self) -> u64 {
        u64::from_str_radix(self.0.get(..16).unwrap_or_default(), 16).unwrap_or(0)
    }
}

pub const fn hook_word(hook: SpliceHook) -> &'static str {
    match hook {
        SpliceHook::Xdp => "xdp",
        SpliceHook::TcTcx => "tcx",
        SpliceHook::TcTcxOpen => "open tcx",
        SpliceHook::TcClsact => "clsact",
    }
}
