//! Removal of invalid parts of a value, so that the rest can be parsed.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Removes the innermost key or element at a defect. Returns `false` if the value itself is invalid.
pub(crate) fn remove_at(value: &mut DeValue<'_>, mistake: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => remove_key(table, mistake),
        DeValue::Array(array) => remove_element(array, mistake),
        _ => false,
    }
}

fn holds(span: &Range<usize>, mistake: &Range<usize>) -> bool {
    span.start <= mistake.start && mistake.end <= span.end
}

fn remove_key(table: &mut DeTable<'_>, mistake: &Range<usize>) -> bool {
    let named = table.keys().find(|key| holds(&key.span(), mistake)).cloned();
    if let Some(key) = named {
        return table.remove(key.get_ref().as_ref()).is_some();
    }
    if table.iter_mut().any(|(_, value)| remove_at(value.get_mut(), mistake)) {
        return true;
    }
    let of_value = table.iter().find(|(_, value)| holds(&value.span(), mistake));
    let key = of_value.map(|(key, _)| key.clone());
    key.is_some_and(|key| table.remove(key.get_ref().as_ref()).is_some())
}

fn remove_element(array: &mut DeArray<'_>, mistake: &Range<usize>) -> bool {
    if array.iter_mut().any(|value| remove_at(value.get_mut(), mistake)) {
        return true;
    }
    let Some(wrong) = array.iter().position(|value| holds(&value.span(), mistake)) else { return false };
    let mut kept = DeArray::new();
    let others = array.iter().enumerate().filter(|(place, _)| *place != wrong);
    others.for_each(|(_, value): (_, &Spanned<DeValue<'_>>)| kept.push(value.clone()));
    *array = kept;
    true
}
