//! Addresses of the kernel's symbols.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// Where the kernel lists them: `ADDRESS KIND NAME` a line, some 200,000 of them.
pub const PATH: &str = "/proc/kallsyms";

/// Addresses of each of these symbols, modules' included. The kernel shows zeros to who may not know.
pub fn addresses(names: &BTreeSet<&str>) -> io::Result<BTreeMap<String, BTreeSet<u64>>> {
    read(BufReader::new(File::open(PATH)?), names)
}

/// How many functions of this name the kernel itself has; only where it has none, how many its modules have.
pub fn functions(name: &str) -> io::Result<usize> {
    count_functions(BufReader::new(File::open(PATH)?), name)
}

/// A line of the list.
struct ListedSymbol<'a> {
    address: &'a str,
    /// A letter, as `nm` has them: small for what is static.
    kind: &'a str,
    name: &'a str,
    of_module: bool,
}

/// Hands each symbol to `take`.
fn each(mut list: impl BufRead, mut take: impl FnMut(ListedSymbol<'_>)) -> io::Result<()> {
    let mut line = String::new();
    while list.read_line(&mut line)? > 0 {
        let mut words = line.split_ascii_whitespace();
        if let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) {
            take(ListedSymbol { address, kind, name, of_module: words.next().is_some() });
        }
        line.clear();
    }
    Ok(())
}

fn count_functions(list: impl BufRead, wanted: &str) -> io::Result<usize> {
    let (mut own, mut of_modules) = (0, 0);
    each(list, |symbol| {
        // Code, and weak code: other letters are data.
        if symbol.name == wanted && matches!(symbol.kind, "t" | "T" | "w" | "W") {
            *(if symbol.of_module { &mut of_modules } else { &mut own }) += 1;
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
}
