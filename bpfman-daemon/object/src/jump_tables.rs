//! Jump tables in section `.jumptables` (clang, `-mcpu=v4`): a symbol with entries of eight bytes, code offsets in the
//! function that takes the table's address, as the verifier requires.

use crate::RelocationError;
use crate::elf::{Elf, Symbol};
use crate::functions::{FunctionKey, INSN_BYTES};

pub(crate) const SECTION: &str = ".jumptables";
const ENTRY: usize = 8;
/// Maximum number of entries per function; the compiler writes one per `case`.
const MAX_ENTRIES: usize = 65_536;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TablePlace<'a> {
    name: &'a str,
    section: usize,
    offset: u64,
    size: u64,
}

impl<'a> TablePlace<'a> {
    /// `addend`: the offset that the instruction adds to the address.
    pub(crate) fn of(
        symbol: &'a Symbol,
        section: usize,
        addend: i32,
        name: &'a str,
    ) -> Result<Self, RelocationError> {
        let place = Self { name, section, offset: symbol.value, size: symbol.size };
        if addend != 0 {
            Err(place.damaged("is entered at another place than its beginning"))
        } else {
            Ok(place)
        }
    }

    /// Returns the targets, as instruction indexes in the function at `key`, which has `len` instructions.
    pub(crate) fn entries(
        self,
        elf: &Elf,
        key: FunctionKey,
        len: usize,
    ) -> Result<Vec<u32>, RelocationError> {
        let range = usize::try_from(self.offset).ok().zip(usize::try_from(self.size).ok());
        let bytes = range
            .and_then(|(start, size)| elf.section_data(self.section).get(start..start.checked_add(size)?))
            .ok_or_else(|| self.damaged("lies outside its section"))?;
        let (entries, rest) = bytes.as_chunks::<ENTRY>();
        if entries.is_empty() || !rest.is_empty() || entries.len() > MAX_ENTRIES {
            return Err(self.damaged("is not made of 1 to 65,536 entries of 8 bytes"));
        }
        let index = |entry: &[u8; ENTRY]| {
            let distance = u64::from_ne_bytes(*entry).checked_sub(key.offset)?;
            let index = distance / INSN_BYTES;
            let is_inside = distance.is_multiple_of(INSN_BYTES) && index < len as u64;
            is_inside.then(|| u32::try_from(index).ok()).flatten()
        };
        let found: Option<Vec<u32>> = entries.iter().map(index).collect();
        found.ok_or_else(|| self.damaged("leads out of the function that jumps by it"))
    }

    fn damaged(self, how: &'static str) -> RelocationError {
        RelocationError::JumpTable(self.name.to_owned(), how)
    }
}
