//! Minimal BTF that the verifier needs for a program with callbacks.

use bpfman_model::{FuncInfo, FunctionSpan, LineInfo};

pub fn describe(functions: &[FunctionSpan], lines: bool) -> (Vec<u8>, Vec<FuncInfo>, Vec<LineInfo>) {
    let mut strings = vec![0u8];
    let mut string = |text: &str| {
        let at = strings.len() as u32;
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
        at
    };
    let mut types: Vec<u32> = vec![string("int"), 1 << 24, 4, 1 << 24 | 32];
    types.extend([0, 13 << 24, 1]); // int ()
    let (mut func_info, mut line_info) = (Vec::new(), Vec::new());
    let file = string("generated.c");
    for (number, function) in functions.iter().enumerate() {
        let name = string(&function.name);
        types.extend([name, 12 << 24, 2]);
        func_info.push(FuncInfo { insn_off: function.start as u32, type_id: 3 + number as u32 });
        if lines {
            line_info.push(LineInfo {
                insn_off: function.start as u32,
                file_name_off: file,
                line_off: name,
                line_col: (number as u32 + 1) << 10,
            });
        }
    }
    // A section of variables, which the merge must convert.
    let variable = 3 + functions.len() as u32;
    types.extend([string("count"), 14 << 24, 1, 1]);
    types.extend([string(".bss"), 15 << 24 | 1, 4, variable, 0, 4]);
    let size = types.len() as u32 * 4;
    let mut raw = Vec::new();
    raw.extend_from_slice(&0xeb9fu16.to_ne_bytes());
    raw.extend_from_slice(&[1, 0]);
    for word in [24, 0, size, size, strings.len() as u32].iter().chain(&types) {
        raw.extend_from_slice(&word.to_ne_bytes());
    }
    raw.extend_from_slice(&strings);
    (raw, func_info, line_info)
}
