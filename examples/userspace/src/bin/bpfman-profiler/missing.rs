use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use blazesym::Pid;
use blazesym::normalize::{NormalizeOpts, Normalizer, UserMeta};
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};
use object::{Object as _, ObjectSegment as _, ReadCache};

use crate::debug_files::DebugFiles;

pub fn names(files: &mut DebugFiles, process: u32, missing: &BTreeSet<u64>) -> BTreeMap<u64, String> {
    let mut names = BTreeMap::new();
    let addresses: Vec<u64> = missing.iter().copied().collect();
    let normalizer = Normalizer::builder().enable_build_ids(true).build();
    // Same order as for names in the binaries themselves: by `map_files`, then by path.
    for map_files in [true, false] {
        let options = NormalizeOpts { sorted_addrs: true, map_files, ..NormalizeOpts::default() };
        let Ok(places) = normalizer.normalize_user_addrs_opts(Pid::from(process), &addresses, &options)
        else {
            continue;
        };
        for (number, meta) in places.meta.iter().enumerate() {
            let UserMeta::Elf(binary) = meta else { continue };
            let Some(debug) = binary.build_id.as_deref().and_then(|build_id| files.of(build_id)) else {
                continue;
            };
            let all = addresses.iter().zip(&places.outputs);
            let within =
                all.filter(|(_, (_, meta))| *meta == number).map(|(address, (at, _))| (*address, *at));
            names.extend(named(&binary.path, &debug, &within.collect::<Vec<_>>()).unwrap_or_default());
        }
        if !names.is_empty() {
            break;
        }
    }
    names
}

fn named(binary: &Path, debug: &Path, places: &[(u64, u64)]) -> Result<BTreeMap<u64, String>> {
    // The debug file has the same addresses as the binary, but not its file offsets.
    let cache = ReadCache::new(File::open(binary)?);
    let segments: Vec<_> = object::File::parse(&cache)
        .context("no ELF")?
        .segments()
        .map(|segment| (segment.address(), segment.file_range()))
        .collect();
    let address_of = |place: u64| {
        let holds = |(address, (start, size)): &(u64, (u64, u64))| {
            let behind = place.checked_sub(*start).filter(|behind| behind < size)?;
            address.checked_add(behind)
        };
        segments.iter().find_map(holds)
    };
    let known = places.iter().filter_map(|(address, place)| Some((*address, address_of(*place)?)));
    let (addresses, offsets): (Vec<u64>, Vec<u64>) = known.unzip();
    let symbolizer = Symbolizer::builder().enable_demangling(true).build();
    let found = symbolizer.symbolize(&Source::Elf(Elf::new(debug)), Input::VirtOffset(&offsets))?;
    let names = addresses.into_iter().zip(found).filter_map(|(address, found)| match found {
        Symbolized::Sym(symbol) => Some((address, symbol.name.into_owned())),
        Symbolized::Unknown(_) => None,
    });
    Ok(names.collect())
}
