//! Serialized kernel types and names, mapped without parsing by processes of the same machine and version.

use std::io::{self, Write};
use std::sync::Arc;

use crate::ObjectError;
use crate::btf::{Btf, word};
use crate::held::{HeldBytes, HeldNumbers, SharedBytes};
use crate::kernel_btf::{KernelBtf, NamedTypes};

const MAGIC: u32 = 0x6270_6b69;
/// Numbers in the header: [`MAGIC`], the size of BTF in bytes, and the length of each list.
const HEADER: usize = 5;
const NUMBER: usize = size_of::<u32>();

impl KernelBtf {
    /// Writes the kernel's own types and the index of their names; fails above four gigabytes.
    pub fn write_index(&self, to: &mut impl Write) -> io::Result<()> {
        let NamedTypes { btf, first, next, .. } = &self.kernel;
        let (data, offsets) = btf.parts();
        let lists = [offsets, first, next];
        let lengths = [data.len()].into_iter().chain(lists.map(HeldNumbers::len));
        let header = lengths.map(|length| u32::try_from(length).map_err(io::Error::other));
        let header = [Ok(MAGIC)].into_iter().chain(header).collect::<io::Result<Vec<u32>>>()?;
        to.write_all(&HeldNumbers::Own(header).to_bytes())?;
        to.write_all(data)?;
        lists.into_iter().try_for_each(|list| to.write_all(&list.to_bytes()))
    }

    /// Reads the bytes of [`Self::write_index`] without copying them.
    pub fn from_index(bytes: &SharedBytes) -> Result<Self, ObjectError> {
        let all = (**bytes).as_ref();
        let header: Vec<usize> = (0..HEADER).map(|place| word(all, place * NUMBER) as usize).collect();
        let mut at = HEADER * NUMBER;
        let mut part = |length: usize| {
            let end = at.checked_add(length)?;
            let part = HeldBytes::shared(bytes, at..end);
            at = end;
            part
        };
        let mut parts = || {
            let data = part(header[1])?;
            let mut list = |place: usize| part(header[place].checked_mul(NUMBER)?).map(HeldNumbers::Shared);
            Some((data, [list(2)?, list(3)?, list(4)?]))
        };
        let is_one = header[0] == MAGIC as usize && header[3].is_power_of_two();
        let parts = is_one.then(&mut parts).flatten();
        let Some((data, [offsets, first, next])) = parts else {
            return Err(ObjectError::btf("index", "is none, or cut off"));
        };
        let btf = Arc::new(Btf::indexed(data, offsets)?);
        Ok(Self { kernel: NamedTypes { btf, base: 0, first, next }, modules: Vec::new() })
    }
}
