//! `io/console.h`: the page a guest shares with its console.

use crate::layout::structs;

/// Bytes from the console to the guest.
pub const INPUT_SIZE: usize = 1024;
/// Bytes from the guest to the console.
pub const OUTPUT_SIZE: usize = 2048;

structs! {
    header "xen/io/console.h";

    /// Two rings; indices are free-running and taken modulo the ring's size.
    pub struct ConsoleInterface = "struct xencons_interface" [3088] {
        [0] input: [u8; INPUT_SIZE] = "in",
        [1024] output: [u8; OUTPUT_SIZE] = "out",
        [3072] input_consumer: u32 = "in_cons",
        [3076] input_producer: u32 = "in_prod",
        [3080] output_consumer: u32 = "out_cons",
        [3084] output_producer: u32 = "out_prod",
    }
}
