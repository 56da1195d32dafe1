//! The filter for x86 code. The encoder stores the targets of `call` and `jmp` as absolute
//! addresses, since those repeat; here they become relative again.

/// Bytes of an instruction: opcode and 32-bit displacement.
const INSTRUCTION: usize = 5;

/// Undoes the filter; `start` is the address of the first byte.
pub(super) fn decode(code: &mut [u8], start: u32) {
    // Which of the three previous bytes were opcodes that were not converted, the nearest in bit 0.
    // The encoder considered their displacements when it decided whether this is an instruction.
    let mut before = 0u32;
    let mut last = None::<usize>;
    let mut at = 0;
    while let Some(found) = find_opcode(code, at) {
        let Some(&[a, b, c, top]) = code.get(found + 1..).and_then(|rest| rest.first_chunk()) else { return };
        before = match last.map(|last| found - last) {
            Some(distance @ 1..=3) => (before << (distance - 1)) & 7,
            _ => 0,
        };
        last = Some(found);
        at = found + 1;
        // The distance to that opcode if there is only one.
        let opcode_distance = [0, 1, 2, 2, 3, 3, 3, 3][before as usize];
        let plausible = before == 0
            || (matches!(before, 1 | 2 | 4) && !is_sign(code[found + INSTRUCTION - 1 - opcode_distance as usize]));
        if !plausible || !is_sign(top) {
            before = before << 1 | 1;
            continue;
        }
        let next = start.wrapping_add((found + INSTRUCTION) as u32);
        let mut source = u32::from_le_bytes([a, b, c, top]);
        let target = loop {
            let target = source.wrapping_sub(next);
            let shift = 8 * opcode_distance;
            if before == 0 || !is_sign((target >> (24 - shift)) as u8) {
                break target;
            }
            source = target ^ ((1 << (32 - shift)) - 1);
        };
        // 25 bits, sign-extended.
        let target = ((target << 7) as i32 >> 7) as u32;
        code[found + 1..found + INSTRUCTION].copy_from_slice(&target.to_le_bytes());
        at = found + INSTRUCTION;
        // Bytes of a converted instruction do not count as opcodes before the next one.
        before = 0;
        last = None;
    }
}

/// Whether the byte can be the top byte of a converted displacement.
const fn is_sign(byte: u8) -> bool {
    byte == 0 || byte == 0xff
}

/// Finds the next `call` (e8) or `jmp` (e9), beginning at `at`.
fn find_opcode(code: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    while let Some(word) = code.get(at..)?.first_chunk() {
        // A byte is zero where there is an opcode. The lowest mark is always right.
        let differs = (u64::from_le_bytes(*word) ^ (ONES * 0xe8)) & (ONES * 0xfe);
        let marks = differs.wrapping_sub(ONES) & !differs & (ONES * 0x80);
        if marks != 0 {
            return Some(at + (marks.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    code[at..].iter().position(|&byte| byte & 0xfe == 0xe8).map(|offset| at + offset)
}
