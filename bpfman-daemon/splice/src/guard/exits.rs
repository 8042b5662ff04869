//! Replaces all exits of a program's entry function by jumps to common end code in front of the function.

use bpfman_model::{Insn, ProgramText, op};

use super::test::{Guarded, put_in_front};
use crate::text::scan::{Effect, walk};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFar;

/// Returns a jump to `front`, `end`, `front`, and the program, whose exits jump to `end` or to an earlier exit.
pub(crate) fn with_end(text: &ProgramText, end: &[Insn], front: Vec<Insn>) -> Result<Guarded, TooFar> {
    let over = i16::try_from(end.len()).map_err(|_| TooFar)?;
    let all = [&[Insn::new(op::JA, 0, 0, over, 0)], end, &front].concat();
    let mut ended = put_in_front(text, all);
    let end = ended.text.functions.first().map_or(ended.text.insns.len(), |entry| entry.start + entry.len);
    let exits: Vec<usize> = walk(&ended.text.insns, ended.len..end)
        .filter_map(|(at, effect)| (effect == Effect::Exit).then_some(at))
        .collect();
    let mut nearest = 1;
    for (number, at) in exits.iter().enumerate() {
        let distance = |to: usize| i16::try_from(to as i64 - *at as i64 - 1).map_err(|_| TooFar);
        ended.text.insns[*at] = Insn::new(op::JA, 0, 0, distance(nearest)?, 0);
        // The next exit would be out of reach: it jumps to this one instead.
        if exits.get(number + 1).is_some_and(|next| next - nearest > i16::MAX as usize) {
            nearest = *at;
        }
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::testing::{EXIT, program, set_r0};

    #[test]
    fn far_exits_jump_through_nearer_exits() {
        let part: Vec<Insn> = [vec![set_r0(0); 20_000], vec![EXIT]].concat();
        let far = part.repeat(4);
        let end = [set_r0(1), EXIT];
        let ended = with_end(&program(&[&far]).0, &end, Vec::new()).unwrap();
        let exits = (1..=4).map(|part| ended.len + part * 20_001 - 1);
        for mut at in exits {
            let mut jumps = 0;
            while at != 1 {
                assert_eq!(ended.text.insns[at].code, op::JA);
                at = (at as i64 + 1 + i64::from(ended.text.insns[at].off)) as usize;
                jumps += 1;
            }
            assert!(jumps <= 4, "{jumps}");
        }
        let too_far = [vec![set_r0(0); 40_000], vec![EXIT]].concat();
        assert_eq!(with_end(&program(&[&too_far]).0, &end, Vec::new()), Err(TooFar));
    }
}
