use super::*;
use crate::text::btf_records::{sections, word_at};

pub(crate) fn sample() -> Vec<u8> {
    let strings = b"\0int\0entry\0helper\0outside\0.bss\0point\0x\0colour\0red\0value\0";
    let at = |name: &str| {
        let needle = [b"\0", name.as_bytes(), b"\0"].concat();
        strings.windows(needle.len()).position(|window| window == needle).unwrap() as u32 + 1
    };
    let words: Vec<u32> = [
        vec![at("int"), 1 << 24, 4, 1 << 24 | 32],        // 1
        vec![0, 13 << 24 | 1, 1, at("x"), 1],             // 2: int (int x)
        vec![at("entry"), 12 << 24 | 1, 2],               // 3: global
        vec![at("helper"), 12 << 24 | 1, 2],              // 4: global
        vec![at("outside"), 12 << 24 | 2, 2],             // 5: extern
        vec![at("value"), 14 << 24, 1, 1],                // 6
        vec![at(".bss"), 15 << 24 | 1, 4, 6, 0, 4],       // 7
        vec![at("point"), 4 << 24 | 1, 4, at("x"), 1, 0], // 8
        vec![at("colour"), 6 << 24 | 1, 4, at("red"), 0], // 9
        vec![0, 3 << 24, 0, 1, 1, 6],                     // 10: int[6]
        vec![at("x"), 17 << 24, 4, 0],                    // 11: tag of the first argument
        vec![0, 2 << 24, 8],                              // 12: struct point *
    ]
    .concat();
    let types: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    records::assemble(&types, strings)
}

/// Every type as (kind, length, name, third word, other words).
pub(crate) fn types(raw: &[u8]) -> Vec<(u32, u32, String, u32, Vec<u32>)> {
    let sections = sections(raw).unwrap();
    let mut at = 0;
    let mut found = Vec::new();
    while at < sections.types.len() {
        let word = |index: usize| word_at(sections.types, at + index * 4).unwrap();
        let (kind, vlen) = (word(1) >> 24 & 0x1f, word(1) & 0xffff);
        let (_, once, each) = records::shape(kind).unwrap();
        let entries = if each.is_empty() { 0 } else { vlen as usize };
        let rest = once.len() + each.len() * entries;
        let name = sections.strings[word(0) as usize..].split(|byte| *byte == 0).next().unwrap();
        let name = String::from_utf8(name.to_vec()).unwrap();
        found.push((kind, vlen, name, word(2), (3..3 + rest).map(word).collect()));
        at += (3 + rest) * 4;
    }
    found
}

#[test]
fn ids_and_names_move_together() {
    let mut merge = Merge::new(SpliceHook::Xdp);
    let first = merge.append(&sample(), &BTreeSet::from([3])).unwrap();
    let second = merge.append(&sample(), &BTreeSet::from([3])).unwrap();
    let all = types(&merge.finish().unwrap());
    for moved in [first, second] {
        let of = |id: u32| &all[moved.type_id(id) as usize - 1];
        let id = |id| moved.type_id(id);
        assert_eq!((of(1).0, of(1).2.as_str()), (records::INT, "int"));
        assert_eq!((of(2).3, of(2).4[1]), (id(1), id(1)));
        assert_eq!((of(3).1, of(3).2.as_str(), of(3).3), (STATIC, "entry", id(2)), "an entry is static");
        assert_eq!((of(4).1, of(4).2.as_str()), (GLOBAL, "helper"), "a global function stays one");
        assert_eq!(of(5).1, STATIC, "an extern function is static");
        assert_eq!((of(6).3, of(6).4[0]), (id(1), 1));
        assert_eq!((of(7).0, of(7).1, of(7).2.as_str(), of(7).3), (records::STRUCT, 0, "", 0));
        assert_eq!((of(8).2.as_str(), of(8).4[1]), ("point", id(1)));
        assert_eq!((of(9).2.as_str(), of(9).4[1]), ("colour", 0));
        assert_eq!(of(10).4, [id(1), id(1), 6]);
        assert_eq!((of(11).3, of(11).4[0]), (id(4), 0));
        assert_eq!(of(12).3, id(8));
    }
}

#[test]
fn the_chain_is_a_function_of_its_context() {
    for (hook, context) in [(SpliceHook::Xdp, "xdp_md"), (SpliceHook::TcClsact, "__sk_buff")] {
        let merge = Merge::new(hook);
        let chain = merge.chain as usize;
        let all = types(&merge.finish().unwrap());
        let (kind, linkage, name, prototype, _) = &all[chain - 1];
        assert_eq!((*kind, *linkage, name.as_str()), (records::FUNC, GLOBAL, "chain"));
        let argument = all[*prototype as usize - 1].4[1];
        let pointee = all[argument as usize - 1].3;
        assert_eq!(all[pointee as usize - 1].2, context);
    }
}

#[test]
fn functions_without_information_get_names_the_kernel_takes() {
    let mut merge = Merge::new(SpliceHook::Xdp);
    let odd = merge.function("core::fmt::write<T>");
    assert_eq!(odd, merge.function("core::fmt::write<T>"), "each is kept once");
    let digit = merge.function("9lives");
    let long = merge.function(&"x".repeat(400));
    let all = types(&merge.finish().unwrap());
    assert_eq!(all[odd as usize - 1].2, "core__fmt__write_T_");
    assert_eq!(all[digit as usize - 1].2, "_9lives");
    assert_eq!(all[long as usize - 1].2.len(), MAX_NAME);
}

#[test]
fn damaged_information_is_an_error() {
    let whole = sample();
    let append = |raw: &[u8]| Merge::new(SpliceHook::Xdp).append(raw, &BTreeSet::new());
    assert!(append(&whole).is_ok());
    for len in 0..whole.len() {
        assert!(append(&whole[..len]).is_err(), "cut to {len} bytes");
    }
    let mut other = whole.clone();
    other[records::HEADER + 7] = 31;
    assert_eq!(append(&other), Err("a type is of an unknown kind"));
    other[0] ^= 0xff;
    assert_eq!(append(&other), Err("the magic number is wrong"));
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        at in 0usize..200,
    ) {
        let mut raw = sample();
        let at = at % raw.len();
        for (place, byte) in raw[at..].iter_mut().zip(&bytes) {
            *place = *byte;
        }
        let _ = Merge::new(SpliceHook::Xdp).append(&raw, &BTreeSet::new());
        let _ = Merge::new(SpliceHook::Xdp).append(&bytes, &BTreeSet::new());
    }
}
