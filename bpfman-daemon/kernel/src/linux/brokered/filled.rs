//! An attribute with its pointers and descriptors filled in.

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::OFlags;

use bpfmand_calls::{
    AttrLayout, CallAttr, CodeReference, Errno, Field, FieldKind, FieldValue, descriptor_count, references,
};

/// Offset of `fd_array_cnt` in `PROG_LOAD`: the kernel reads this many descriptors of the array, even unused ones.
const DESCRIPTOR_COUNT: usize = 148;

/// Attribute with everything that it points to.
pub struct Filled {
    pub attr: CallAttr,
    fields: Vec<Field>,
    /// Buffers that the kernel writes, in the order of their fields; `None` where the caller has none.
    outputs: Vec<Option<Vec<u8>>>,
    _bytes: Vec<Vec<u8>>,
    _longs: Vec<Vec<u64>>,
    _texts: Vec<CString>,
}

/// Buffers and descriptors of a message.
pub struct Passed<'a> {
    pub buffers: &'a [Vec<u8>],
    pub descriptors: &'a [OwnedFd],
}

impl Passed<'_> {
    fn number(&self, index: usize) -> Result<i32, Errno> {
        self.descriptors.get(index).map(|descriptor| descriptor.as_raw_fd()).ok_or(Errno::BADF)
    }

    /// Fails for a file that the caller did not open for reading: opening it by name would use the daemon's rights.
    fn check_readable(&self, index: usize) -> Result<(), Errno> {
        let file = self.descriptors.get(index).ok_or(Errno::BADF)?;
        let flags = rustix::fs::fcntl_getfl(file).map_err(|error| Errno(error.raw_os_error()))?;
        let is_readable = !flags.intersects(OFlags::PATH | OFlags::WRONLY);
        if is_readable { Ok(()) } else { Err(Errno::BADF) }
    }

    fn buffer(&self, index: usize, length: u64) -> Result<Vec<u8>, Errno> {
        let buffer = self.buffers.get(index).filter(|buffer| buffer.len() as u64 == length);
        buffer.cloned().ok_or(Errno::INVAL)
    }

    fn text(&self, index: usize, most: usize) -> Result<CString, Errno> {
        let text = self.buffers.get(index).filter(|text| text.len() < most).ok_or(Errno::INVAL)?;
        CString::new(text.as_slice()).map_err(|_| Errno::INVAL)
    }
}

impl Filled {
    /// Fills in every pointer and descriptor of the layout, and ignores the caller's bytes in these fields.
    pub fn new(
        layout: &AttrLayout,
        mut attr: CallAttr,
        values: &[FieldValue],
        passed: &Passed<'_>,
    ) -> Result<Self, Errno> {
        let fields = layout.fields(&mut attr)?;
        if fields.len() != values.len() {
            return Err(Errno::INVAL);
        }
        let mut this = Self {
            attr,
            fields,
            outputs: Vec::new(),
            _bytes: Vec::new(),
            _longs: Vec::new(),
            _texts: Vec::new(),
        };
        let code = this.fields.iter().zip(values).find_map(|(field, value)| match (field.kind, value) {
            (FieldKind::Code(length), FieldValue::Buffer(at)) => Some((*at, length)),
            _ => None,
        });
        let code = code.map(|(at, length)| passed.buffer(at, length)).transpose()?.unwrap_or_default();
        let used = references(&code)?;
        for (at, value) in values.iter().enumerate() {
            this.fill(this.fields[at], value, passed, (&code, &used))?;
        }
        Ok(this)
    }

    fn fill(
        &mut self,
        Field { at, kind }: Field,
        value: &FieldValue,
        passed: &Passed<'_>,
        (code, used): (&[u8], &[CodeReference]),
    ) -> Result<(), Errno> {
        match (kind, value) {
            (FieldKind::Descriptor, FieldValue::Descriptor(index)) => {
                self.attr.set_word(at, passed.number(*index)?.cast_unsigned());
            }
            (FieldKind::Descriptor, _) => return Err(Errno::BADF),
            (FieldKind::Output(_), FieldValue::Absent) => {
                self.attr.set_long(at, 0);
                self.outputs.push(None);
            }
            (_, FieldValue::Absent) => self.attr.set_long(at, 0),
            (FieldKind::Input(length), FieldValue::Buffer(index)) => {
                self.point(at, passed.buffer(*index, length)?)
            }
            (FieldKind::Output(length), FieldValue::Room) => {
                let mut room = vec![0_u8; usize::try_from(length).map_err(|_| Errno::TOO_BIG)?];
                self.attr.set_long(at, room.as_mut_ptr() as u64);
                self.outputs.push(Some(room));
            }
            (FieldKind::Text(most), FieldValue::Buffer(index)) => {
                let text = passed.text(*index, most)?;
                self.attr.set_long(at, text.as_ptr() as u64);
                self._texts.push(text);
            }
            (FieldKind::TextList(count), FieldValue::Buffer(index)) => {
                self.point_texts(at, count, *index, passed)?
            }
            (FieldKind::File, FieldValue::Descriptor(index)) => {
                passed.check_readable(*index)?;
                let path = format!("/proc/self/fd/{}", passed.number(*index)?);
                let path = CString::new(path).map_err(|_| Errno::INVAL)?;
                self.attr.set_long(at, path.as_ptr() as u64);
                self._texts.push(path);
            }
            (FieldKind::Code(_), FieldValue::Buffer(_)) => {
                let mut code = code.to_vec();
                for reference in used {
                    if let CodeReference::Number(place) = reference {
                        let slot = &mut code[*place..place + 4];
                        let index = i32::from_ne_bytes([slot[0], slot[1], slot[2], slot[3]]);
                        let index = usize::try_from(index).map_err(|_| Errno::BADF)?;
                        slot.copy_from_slice(&passed.number(index)?.to_ne_bytes());
                    }
                }
                self.point(at, code);
            }
            (FieldKind::CodeDescriptors, FieldValue::Descriptors(list)) => {
                self.point_descriptors(at, list, passed, used)?;
            }
            (FieldKind::IteratorTarget(length), FieldValue::Buffer(index)) => {
                let target = passed.buffer(*index, length)?;
                // Only the program determines which words are descriptors: refuse all words but zero.
                if target.iter().any(|byte| *byte != 0) {
                    return Err(Errno::INVAL);
                }
                self.point(at, target);
            }
            (FieldKind::IteratorTarget(length), FieldValue::BufferWith { buffer, descriptor, at: place }) => {
                let mut target = passed.buffer(*buffer, length)?;
                if *place != 0 || target.iter().skip(4).any(|byte| *byte != 0) {
                    return Err(Errno::INVAL);
                }
                let slot = target.get_mut(..4).ok_or(Errno::INVAL)?;
                slot.copy_from_slice(&passed.number(*descriptor)?.to_ne_bytes());
                self.point(at, target);
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    fn point(&mut self, at: usize, bytes: Vec<u8>) {
        self.attr.set_long(at, bytes.as_ptr() as u64);
        self._bytes.push(bytes);
    }

    fn point_texts(&mut self, at: usize, count: u64, index: usize, passed: &Passed<'_>) -> Result<(), Errno> {
        let joined = passed.buffers.get(index).ok_or(Errno::INVAL)?;
        let texts: Result<Vec<CString>, _> = joined.split(|byte| *byte == 0).map(CString::new).collect();
        let texts = texts.map_err(|_| Errno::INVAL)?;
        if texts.len() as u64 != count {
            return Err(Errno::INVAL);
        }
        let pointers: Vec<u64> = texts.iter().map(|text| text.as_ptr() as u64).collect();
        self.attr.set_long(at, pointers.as_ptr() as u64);
        self._longs.push(pointers);
        self._texts.extend(texts);
        Ok(())
    }

    /// The kernel reads as many descriptors as the attribute counts, and each that an instruction names by index.
    fn point_descriptors(
        &mut self,
        at: usize,
        list: &[Option<usize>],
        passed: &Passed<'_>,
        used: &[CodeReference],
    ) -> Result<(), Errno> {
        let needed = descriptor_count(used, self.attr.word(DESCRIPTOR_COUNT))?;
        if list.len() != needed {
            return Err(Errno::INVAL);
        }
        let numbers: Result<Vec<i32>, Errno> =
            list.iter().map(|index| index.map_or(Ok(-1), |index| passed.number(index))).collect();
        self.point(at, numbers?.into_iter().flat_map(i32::to_ne_bytes).collect());
        Ok(())
    }

    /// Returns the attribute without addresses and descriptor numbers of this process, and the buffers that the kernel may
    /// have written.
    pub fn into_written(mut self) -> (CallAttr, Vec<Option<Vec<u8>>>) {
        for field in &self.fields {
            if field.kind.is_pointer() {
                self.attr.set_long(field.at, 0);
            } else {
                self.attr.set_word(field.at, 0);
            }
        }
        (self.attr, self.outputs)
    }
}
