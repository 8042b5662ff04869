use super::{Kind, word};
use crate::ObjectError;

const COMMON_LEN: usize = 12;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Type<'a> {
    pub id: u32,
    pub kind: Kind,
    pub name_off: u32,
    pub info: u32,
    pub size_or_type: u32,
    pub rest: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BtfMember {
    pub name_off: u32,
    pub type_id: u32,
    pub bit_offset: u32,
    /// In bits; 0 for a plain member.
    pub bit_size: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Array {
    pub element: u32,
    pub len: u32,
}

/// Variable or, in `.ksyms`, function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecInfo {
    pub type_id: u32,
    pub offset: u32,
    pub size: u32,
}

impl<'a> Type<'a> {
    pub(crate) fn encoded_len(id: u32, bytes: &[u8]) -> Result<usize, ObjectError> {
        let damaged = |why: String| ObjectError::btf(format!("type {id}"), why);
        if bytes.len() < COMMON_LEN {
            return Err(damaged("cut off".to_owned()));
        }
        let info = word(bytes, 4);
        let number = info >> 24 & 0x1f;
        let kind = Kind::from_number(number).ok_or_else(|| damaged(format!("unknown kind {number}")))?;
        let (fixed, each) = kind.extra();
        let len = COMMON_LEN + fixed + each * (info & 0xffff) as usize * usize::from(each > 0);
        if len > bytes.len() {
            return Err(damaged(format!("{len} bytes of a {kind:?} where {} are left", bytes.len())));
        }
        Ok(len)
    }

    /// Creates a type from `bytes`, whose length was checked.
    pub(crate) fn new(id: u32, bytes: &'a [u8]) -> Self {
        let info = word(bytes, 4);
        // The parser refuses unknown kinds, so the fallback is unreachable.
        let kind = Kind::from_number(info >> 24 & 0x1f).unwrap_or(Kind::Fwd);
        let len = Self::encoded_len(id, bytes).unwrap_or(COMMON_LEN).min(bytes.len());
        Self {
            id,
            kind,
            name_off: word(bytes, 0),
            info,
            size_or_type: word(bytes, 8),
            rest: bytes.get(COMMON_LEN..len).unwrap_or_default(),
        }
    }

    pub(crate) const fn vlen(&self) -> u32 {
        self.info & 0xffff
    }

    pub(crate) const fn flag(&self) -> bool {
        self.info >> 31 != 0
    }

    pub(crate) fn array(&self) -> Array {
        Array { element: word(self.rest, 0), len: word(self.rest, 8) }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = BtfMember> + use<'a> {
        let flag = self.flag();
        let count = if self.kind.is_composite() { self.vlen() as usize } else { 0 };
        self.rest.chunks_exact(12).take(count).map(move |raw| {
            let offset = word(raw, 8);
            let (bit_offset, bit_size) = if flag { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
            BtfMember { name_off: word(raw, 0), type_id: word(raw, 4), bit_offset, bit_size }
        })
    }

    /// Returns offsets of names, and values sign-extended to 64 bits.
    pub(crate) fn enumerators(&self) -> impl Iterator<Item = (u32, u64)> + use<'a> {
        let wide = self.kind == Kind::Enum64;
        let signed = self.flag();
        let each = if wide { 12 } else { 8 };
        let count = if self.kind.is_enum() { self.vlen() as usize } else { 0 };
        self.rest.chunks_exact(each).take(count).map(move |raw| {
            let low = word(raw, 4);
            let value = if wide {
                u64::from(low) | u64::from(word(raw, 8)) << 32
            } else if signed {
                i64::from(low.cast_signed()).cast_unsigned()
            } else {
                u64::from(low)
            };
            (word(raw, 0), value)
        })
    }

    pub(crate) fn params(&self) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        let count = if self.kind == Kind::FuncProto { self.vlen() as usize } else { 0 };
        self.rest.chunks_exact(8).take(count).map(|raw| (word(raw, 0), word(raw, 4)))
    }

    pub(crate) fn sec_infos(&self) -> impl Iterator<Item = SecInfo> + use<'a> {
        let count = if self.kind == Kind::Datasec { self.vlen() as usize } else { 0 };
        self.rest.chunks_exact(12).take(count).map(|raw| SecInfo {
            type_id: word(raw, 0),
            offset: word(raw, 4),
            size: word(raw, 8),
        })
    }

    /// 0 static, 1 global, 2 extern.
    pub(crate) fn var_linkage(&self) -> u32 {
        word(self.rest, 0)
    }

    /// Index of the tagged argument or member; `u32::MAX` for the whole target.
    pub(crate) fn tagged_part(&self) -> u32 {
        word(self.rest, 0)
    }

    /// 1 signed, 2 character, 4 boolean.
    pub(crate) fn int_encoding(&self) -> u32 {
        word(self.rest, 0) >> 24 & 0xf
    }

    /// Bit offset in the storage: an old form of bit fields.
    pub(crate) fn int_offset(&self) -> u32 {
        word(self.rest, 0) >> 16 & 0xff
    }

    pub(crate) fn int_bits(&self) -> u32 {
        word(self.rest, 0) & 0xff
    }
}
