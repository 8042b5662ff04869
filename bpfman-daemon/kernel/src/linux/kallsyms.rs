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

fn count_functions(mut list: impl BufRead, name: &str) -> io::Result<usize> {
    let (mut own, mut of_modules) = (0, 0);
    let mut line = String::new();
    while list.read_line(&mut line)? > 0 {
        let mut words = line.split_ascii_whitespace().skip(1);
        // Code, and weak code: other letters are data.
        if words.next().is_some_and(|kind| matches!(kind, "t" | "T" | "w" | "W"))
            && words.next() == Some(name)
        {
            *(if words.next().is_some() { &mut of_modules } else { &mut own }) += 1;
        }
        line.clear();
    }
    Ok(if own > 0 { own } else { of_modules })
}

fn read(mut list: impl BufRead, names: &BTreeSet<&str>) -> io::Result<BTreeMap<String, BTreeSet<u64>>> {
    let mut found: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut line = String::new();
    while list.read_line(&mut line)? > 0 {
        let mut words = line.split_ascii_whitespace();
        if let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next())
            && names.contains(name)
            && let Ok(address) = u64::from_str_radix(address, 16)
        {
            found.entry(name.to_owned()).or_default().insert(address);
        }
        line.clear();
    }
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
