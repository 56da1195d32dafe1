//! Segment descriptors that a guest may load.

const PRESENT: u64 = 1 << 47;
const CODE_OR_DATA: u64 = 1 << 44;
const PRIVILEGE: u64 = 3 << 45;
const TYPE: u64 = 0xf << 40;

/// Returns the descriptor with its privilege level set to 3. Returns `None` for gates and system
/// segments, by which the processor could enter ring 0. A descriptor that is not present, or has
/// type zero, faults when used and is accepted.
pub const fn check_descriptor(raw: u64) -> Option<u64> {
    if raw & PRESENT == 0 {
        return Some(raw);
    }
    if raw & CODE_OR_DATA != 0 {
        return Some(raw | PRIVILEGE);
    }
    if raw & TYPE == 0 { Some(raw & !PRESENT) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_and_task_segments_are_refused() {
        for kind in 1..16u64 {
            assert_eq!(check_descriptor(PRESENT | kind << 40), None);
        }
    }

    #[test]
    fn code_and_data_are_moved_to_ring_three() {
        let ring_zero_code = 0x00af_9b00_0000_ffff;
        assert_eq!(check_descriptor(ring_zero_code), Some(0x00af_fb00_0000_ffff));
    }
}
