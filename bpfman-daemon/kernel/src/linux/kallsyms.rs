use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfman_model::{FunctionHints, FunctionSearch};

/// Format: `ADDRESS KIND NAME` per line, some 200,000 of them.
pub const PATH: &str = "/proc/kallsyms";

/// Returns the addresses of symbols. Unprivileged processes see zeros.
pub fn addresses(names: &BTreeSet<&str>) -> io::Result<BTreeMap<String, BTreeSet<u64>>> {
    read(BufReader::new(File::open(PATH)?), names)
}

/// Returns the number of the kernel's own functions with this name; if there are none, of modules' functions.
pub fn functions(name: &str) -> io::Result<usize> {
    count_functions(BufReader::new(File::open(PATH)?), name)
}

pub fn hints(name: &str) -> io::Result<FunctionHints> {
    static KNOWN: KnownHints = KnownHints(Mutex::new(BTreeMap::new()));
    KNOWN.of(name, || hints_in(BufReader::new(File::open(PATH)?), name))
}

/// Cache of hints by function: each periodic check repeats a refused attachment.
struct KnownHints(Mutex<BTreeMap<String, (Instant, FunctionHints)>>);

impl KnownHints {
    const MAX: usize = 64;
    /// Maximum age of a hint, since modules are loaded and unloaded.
    const AGE: Duration = Duration::from_secs(60);

    fn of(
        &self,
        name: &str,
        search: impl FnOnce() -> io::Result<FunctionHints>,
    ) -> io::Result<FunctionHints> {
        let all = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = all().get(name).filter(|(since, _)| since.elapsed() < Self::AGE) {
            return Ok(known.clone());
        }
        let found = search()?;
        let mut all = all();
        if all.len() >= Self::MAX {
            all.clear();
        }
        all.insert(name.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }
}

/// Returns the bytes to the next symbol that is no alias of the function; `None` if the kernel shows no addresses.
pub fn size_of(function: &str) -> io::Result<Option<u64>> {
    size_in(BufReader::new(File::open(PATH)?), function)
}

pub fn module_of(function: &str) -> io::Result<Option<String>> {
    module_in(BufReader::new(File::open(PATH)?), function)
}

/// Returns those of the functions that only modules have, each with its module.
pub fn in_modules(names: &BTreeSet<&str>) -> io::Result<BTreeMap<String, String>> {
    in_modules_of(BufReader::new(File::open(PATH)?), names)
}

struct ListedSymbol<'a> {
    address: &'a str,
    /// Letter as in `nm`: lower case for static symbols.
    kind: &'a str,
    name: &'a str,
    module: Option<&'a str>,
}

fn each(list: impl BufRead, mut take: impl FnMut(ListedSymbol<'_>)) -> io::Result<()> {
    until(list, |symbol| {
        take(symbol);
        ControlFlow::Continue(())
    })
}

fn until(
    mut list: impl BufRead,
    mut take: impl FnMut(ListedSymbol<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut line = String::new();
    while list.read_line(&mut line)? > 0 {
        let mut words = line.split_ascii_whitespace();
        if let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) {
            let module = words.next().map(|module| module.trim_matches(['[', ']']));
            if take(ListedSymbol { address, kind, name, module }).is_break() {
                break;
            }
        }
        line.clear();
    }
    Ok(())
}

fn is_function(symbol: &ListedSymbol<'_>) -> bool {
    matches!(symbol.kind, "t" | "T" | "w" | "W")
}

fn module_in(list: impl BufRead, wanted: &str) -> io::Result<Option<String>> {
    let mut found = None;
    // The kernel's own symbols come first, as in its own lookups.
    until(list, |symbol| {
        if symbol.name != wanted || !is_function(&symbol) {
            return ControlFlow::Continue(());
        }
        found = symbol.module.map(str::to_owned);
        ControlFlow::Break(())
    })?;
    Ok(found)
}

fn in_modules_of(list: impl BufRead, names: &BTreeSet<&str>) -> io::Result<BTreeMap<String, String>> {
    let (mut own, mut found) = (BTreeSet::new(), BTreeMap::new());
    each(list, |symbol| {
        if !is_function(&symbol) || !names.contains(symbol.name) {
            return;
        }
        match symbol.module {
            None => drop(own.insert(symbol.name.to_owned())),
            Some(module) => {
                found.entry(symbol.name.to_owned()).or_insert_with(|| module.to_owned());
            }
        }
    })?;
    found.retain(|name, _| !own.contains(name));
    Ok(found)
}

fn size_in(list: impl BufRead, wanted: &str) -> io::Result<Option<u64>> {
    let (mut start, mut all) = (None, Vec::new());
    each(list, |symbol| {
        let Ok(address) = u64::from_str_radix(symbol.address, 16) else { return };
        all.push(address);
        if start.is_none() && symbol.name == wanted && is_function(&symbol) {
            start = Some(address);
        }
    })?;
    let Some(start) = start.filter(|start| *start > 0) else { return Ok(None) };
    let next = all.into_iter().filter(|address| *address > start).min();
    Ok(next.map(|next| next - start))
}

fn hints_in(list: impl BufRead, wanted: &str) -> io::Result<FunctionHints> {
    let mut search = FunctionSearch::new(wanted);
    each(list, |symbol| {
        if is_function(&symbol) {
            search.see(symbol.name);
        }
    })?;
    Ok(search.hints())
}

fn count_functions(list: impl BufRead, wanted: &str) -> io::Result<usize> {
    let (mut own, mut of_modules) = (0, 0);
    each(list, |symbol| {
        if symbol.name == wanted && is_function(&symbol) {
            *(if symbol.module.is_some() { &mut of_modules } else { &mut own }) += 1;
        }
    })?;
    Ok(if own > 0 { own } else { of_modules })
}

fn read(list: impl BufRead, names: &BTreeSet<&str>) -> io::Result<BTreeMap<String, BTreeSet<u64>>> {
    let mut found: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    each(list, |symbol| {
        if names.contains(symbol.name)
            && let Ok(address) = u64::from_str_radix(symbol.address, 16)
        {
            found.entry(symbol.name.to_owned()).or_default().insert(address);
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_the_compiler_renamed_are_found() {
        let list = "0 t finish.isra.0\n0 T finish.constprop.0\n0 t finish.cold\n0 t finish.part.0.cold\n0 d finish.data\n\
                    0 t finish_all.isra.0\n0 t of_module.isra.0\t[dummy]\n0 t one.a\n0 t one.b\n0 t one.c\n0 t one.d\n";
        let made = |name| hints_in(list.as_bytes(), name).unwrap().to_string();
        assert_eq!(made("finish"), ": its compiler made finish.constprop.0, finish.isra.0 of it");
        assert_eq!(made("of_module"), ": its compiler made of_module.isra.0 of it");
        assert_eq!(made("one"), ": its compiler made one.a, one.b, one.c of it");
        assert_eq!(made("finish_no"), "");
    }

    #[test]
    fn functions_that_only_modules_have_are_found() {
        let list = "0 t open\n0 t xmit\t[dummy]\n0 t open\t[dummy]\n0 t xmit\t[veth]\n0 d data\t[dummy]\n";
        let names = BTreeSet::from(["open", "xmit", "data", "missing"]);
        let found = in_modules_of(list.as_bytes(), &names).unwrap();
        assert_eq!(found, BTreeMap::from([("xmit".to_owned(), "dummy".to_owned())]));
    }

    #[test]
    fn function_ends_at_the_next_symbol() {
        let list = "1000 T first\n1000 t alias\n1040 t second\n1080 d data\n5000 t of_module\t[dummy]\n\
                    4800 t second\t[dummy]\n5010 t .L0\t[dummy]\n5100 t last\t[dummy]\n";
        let size = |name| size_in(list.as_bytes(), name).unwrap();
        assert_eq!(
            [size("first"), size("alias"), size("second")],
            [Some(0x40); 3],
            "the kernel's own is meant"
        );
        assert_eq!(size("of_module"), Some(0x10));
        assert_eq!([size("last"), size("data"), size("missing")], [None; 3]);
        assert_eq!(
            size_in("0 T first\n0 T second\n".as_bytes(), "first").unwrap(),
            None,
            "addresses are hidden"
        );
    }

    #[test]
    fn a_function_is_of_the_kernel_before_it_is_of_a_module() {
        let list = "0 T own\n0 d twice\n0 t twice\t[dummy]\n0 t own\t[dummy]\n0 t twice\t[other]\n";
        let module = |name| module_in(list.as_bytes(), name).unwrap();
        assert_eq!(module("twice").as_deref(), Some("dummy"), "data of the kernel is no function");
        assert_eq!((module("own"), module("missing")), (None, None));
    }

    #[test]
    fn symbols_are_found_by_their_whole_names_also_of_modules() {
        let list = "ffffffff81000000 T _text\nffffffff81000010 t twice\nffffffffc0000000 t twice\t[overlay]\n\
                    ffffffffc0000010 d of_module\t[overlay]\nodd\nffffffff81000020 T _text_end\n";
        let found =
            read(list.as_bytes(), &BTreeSet::from(["_text", "twice", "of_module", "missing"])).unwrap();
        let addresses = |name: &str| found.get(name).into_iter().flatten().copied().collect::<Vec<u64>>();
        let functions = |name| count_functions(list.as_bytes(), name).unwrap();
        assert_eq!((functions("twice"), functions("of_module"), functions("_text")), (1, 0, 1));
        assert_eq!(addresses("_text"), [0xffff_ffff_8100_0000]);
        assert_eq!(addresses("twice"), [0xffff_ffff_8100_0010, 0xffff_ffff_c000_0000]);
        assert_eq!(addresses("of_module"), [0xffff_ffff_c000_0010]);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn hints_of_a_function_are_searched_once() {
        let known = KnownHints(Mutex::default());
        let searches = std::cell::Cell::new(0);
        let look = |name: &str| {
            let search = || {
                searches.set(searches.get() + 1);
                hints_in("ffffffff81000000 t finish.isra.0\n".as_bytes(), name)
            };
            known.of(name, search).unwrap()
        };
        assert_eq!(look("finish"), look("finish"));
        assert_eq!(searches.get(), 1);
        (0..1000).for_each(|number| drop(look(&format!("f{number}"))));
        assert!(known.0.lock().unwrap().len() <= KnownHints::MAX);
        assert_eq!(look("finish").to_string(), ": its compiler made finish.isra.0 of it");
    }
}
