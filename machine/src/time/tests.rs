//! Scales between cycles and nanoseconds.

use super::{Rate, Scale};

#[test]
fn scales_are_exact_to_a_few_parts_in_a_billion() {
    for hertz in [1_000_000, 999_999_999, 1_000_000_000, 2_400_000_123, 5_000_000_000] {
        let scale = Scale::of_frequency(hertz);
        assert!(scale.mul >= 1 << 31);
        for seconds in [1, 60, 86_400] {
            let error = scale.nanoseconds(hertz * seconds).abs_diff(seconds * 1_000_000_000);
            assert!(error <= seconds + 2, "{hertz} Hz: {error} ns in {seconds} s");
        }
        assert!(scale.frequency().abs_diff(hertz) <= 10);
    }
}

#[test]
fn a_timer_waits_long_enough_and_not_much_longer() {
    for hertz in [1000, 62_500_000, 999_999_999, 1_000_000_000, 2_400_000_123, 5_000_000_000] {
        let rate = Rate::of_frequency(hertz);
        for wait in [0, 1, 999, 1_000_000, 1_000_000_007, 86_400_000_000_000] {
            let exact = (u128::from(wait) * u128::from(hertz)).div_ceil(1_000_000_000) as u64;
            let ticks = rate.ticks(wait);
            assert!(ticks >= exact.max(1), "{hertz} Hz, {wait} ns: {ticks} instead of {exact}");
            assert!(ticks - exact <= 1 + wait / 4_000_000_000, "{hertz} Hz, {wait} ns: {ticks} instead of {exact}");
        }
        assert!(rate.ticks(u64::MAX) >= u64::MAX / 1_000_000_000 * hertz.min(1_000_000_000));
    }
}
