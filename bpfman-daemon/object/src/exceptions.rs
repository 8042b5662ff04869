//! Exception callbacks (Linux 6.7), which the kernel finds by the program's tag `exception_callback:NAME`.

use crate::RelocationError;
use crate::btf::Kind;
use crate::functions::FunctionKey;
use crate::object_file::ObjectFile;
use crate::programs::is_library_section;

const PREFIX: &str = "exception_callback:";
/// Index of a tag on the function itself instead of an argument.
const WHOLE: u32 = u32::MAX;

/// Returns a function's callback. Fails for several callbacks, or one that is not a global library function.
pub(crate) fn callback(
    object: &ObjectFile,
    key: FunctionKey,
) -> Result<Option<FunctionKey>, RelocationError> {
    let Some(btf) = &object.btf else { return Ok(None) };
    let Ok(Some(records)) = object.records(key) else { return Ok(None) };
    let Some(own) = records.functions.iter().find(|record| record.offset == key.offset) else {
        return Ok(None);
    };
    let mut named = btf
        .types()
        .filter(|ty| ty.kind == Kind::DeclTag && ty.size_or_type == own.type_id && ty.tagged_part() == WHOLE)
        .filter_map(|ty| btf.string(ty.name_off).strip_prefix(PREFIX));
    let Some(name) = named.next() else { return Ok(None) };
    if let Some(second) = named.next() {
        return Err(RelocationError::TwoCallbacks(name.to_owned(), second.to_owned()));
    }
    let in_library = |key: &FunctionKey| {
        object.elf.sections.get(key.section).is_some_and(|section| is_library_section(&section.name))
    };
    let found = object.functions.iter().find(|(key, function)| function.name == name && in_library(key));
    match found {
        Some((key, function)) if !function.is_local => Ok(Some(key)),
        Some(_) => Err(RelocationError::StaticCallback(name.to_owned())),
        None => Err(RelocationError::NoCallback(name.to_owned())),
    }
}
