//! Map entries by their types.

use bpfmand_object::{ValueLayout, prefix_text};

use super::value::TypedValue;

/// Types of a map's keys and values, as far as known.
#[derive(Clone, Debug, Default)]
pub struct EntryTypes {
    /// Type of keys; none for bytes.
    pub key: Option<ValueLayout>,
    /// Type of values; none for bytes.
    pub value: Option<ValueLayout>,
    /// Distance between values of two CPUs, in bytes; none if there is one value for all.
    pub per_cpu: Option<usize>,
    /// True if keys are prefixes of IP addresses.
    pub prefixes: bool,
}

/// Value, for a per-CPU map with those of each CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryValue {
    /// Value; for a per-CPU map the sum, or the list if values cannot be added.
    pub total: TypedValue,
    pub each: Option<Vec<TypedValue>>,
}

impl EntryValue {
    /// Returns the value of the first CPU, or the only one.
    #[must_use]
    pub fn value_of_one(self) -> TypedValue {
        self.each.and_then(|each| each.into_iter().next()).unwrap_or(self.total)
    }
}

impl EntryTypes {
    #[must_use]
    pub fn read_key(&self, bytes: &[u8]) -> TypedValue {
        let prefix = if self.prefixes { prefix_text(bytes) } else { None };
        prefix.map_or_else(|| TypedValue::read_as(self.key.as_ref(), bytes), TypedValue::Text)
    }

    /// Decodes a value; adds values of CPUs if possible.
    #[must_use]
    pub fn read_value(&self, bytes: &[u8]) -> EntryValue {
        let Some(stride) = self.per_cpu.filter(|stride| *stride > 0) else {
            return EntryValue { total: TypedValue::read_as(self.value.as_ref(), bytes), each: None };
        };
        let read = |one: &[u8]| TypedValue::read_as(self.value.as_ref(), one);
        let each: Vec<TypedValue> = bytes.chunks(stride).map(read).collect();
        let mut values = each.iter().cloned();
        let first = values.next().unwrap_or(TypedValue::List(Vec::new()));
        let sum = values.try_fold(first, |sum, value| sum.plus(&value));
        EntryValue { total: sum.unwrap_or_else(|| TypedValue::List(each.clone())), each: Some(each) }
    }

    /// Returns the size of a value in a call, in bytes; for a per-CPU map that of all CPUs.
    #[must_use]
    pub fn value_bytes(&self, size: u32, cpus: u32) -> usize {
        self.per_cpu.map_or(size as usize, |stride| stride * cpus as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_cpus_are_added_and_texts_listed() {
        let number = ValueLayout::Integer { bytes: 4, signed: false };
        let types = EntryTypes { value: Some(number), per_cpu: Some(8), ..EntryTypes::default() };
        let bytes = [1, 0, 0, 0, 9, 9, 9, 9, 2, 0, 0, 0, 9, 9, 9, 9];
        let read = types.read_value(&bytes);
        assert_eq!((read.total.to_string(), read.each.as_ref().unwrap().len()), ("3".to_owned(), 2));
        assert_eq!(read.value_of_one().to_string(), "1");
        assert_eq!(types.value_bytes(4, 2), 16);
        let text = ValueLayout::Array { element: Box::new(ValueLayout::Char), count: 4 };
        let types = EntryTypes { value: Some(text), ..types };
        let read = types.read_value(b"ab\0\0....cd\0\0....");
        assert_eq!(read.total.to_string(), "[ab, cd]");
    }
}
