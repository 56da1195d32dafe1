//! The control registers as guests see them, bit by bit, and the debug registers. The values of
//! CR0, CR4 and EFER for guests are computed from these tables, and `docs/processor.md` is
//! generated from them.

use super::evidence::Evidence::{self, Guest, Host};

/// The behaviour of a bit for guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sees {
    /// Always set.
    Set,
    /// Always clear. A write of 1 is ignored or refused, as the row states.
    Clear,
    /// Set and cleared by the guest.
    Choice,
}

/// Bits of a register that behave alike.
#[derive(Debug)]
pub struct Bits {
    /// Their positions.
    pub mask: u64,
    /// Their names.
    pub name: &'static str,
    /// Their behaviour for guests.
    pub sees: Sees,
    /// How they are handled.
    pub done: &'static str,
    /// The test that shows it.
    pub test: Evidence,
}

/// The positions of the bits with this behaviour.
const fn all(mut rows: &[Bits], sees: Sees) -> u64 {
    let mut mask = 0;
    while let [first, rest @ ..] = rows {
        if first.sees as u8 == sees as u8 {
            mask |= first.mask;
        }
        rows = rest;
    }
    mask
}

const fn row(mask: u64, name: &'static str, sees: Sees, done: &'static str, test: Evidence) -> Bits {
    Bits { mask, name, sees, done, test }
}

const HOST_CONTROL: Evidence = Host("control_registers");
const GUEST_CONTROL: Evidence = Guest("privileged", "cr0");

/// CR0. A write that would change any bit except TS is #GP.
pub static CONTROL0: &[Bits] = &[
    row(0x1, "PE", Sees::Set, "a change is refused", GUEST_CONTROL),
    row(0x2, "MP", Sees::Set, "a change is refused", HOST_CONTROL),
    row(0x4, "EM", Sees::Clear, "a change is refused", HOST_CONTROL),
    row(
        0x8,
        "TS",
        Sees::Choice,
        "in the processor: the next use of extended state is #NM, which clears it",
        Guest("fpu", "task_switch"),
    ),
    row(0x10, "ET", Sees::Set, "a change is refused", GUEST_CONTROL),
    row(0x20, "NE", Sees::Set, "a change is refused", GUEST_CONTROL),
    row(0x1_0000, "WP", Sees::Set, "a change is refused", GUEST_CONTROL),
    row(0x4_0000, "AM", Sees::Set, "a change is refused; EFLAGS.AC works", HOST_CONTROL),
    row(0x6000_0000, "NW, CD", Sees::Clear, "a change is refused", GUEST_CONTROL),
    row(0x8000_0000, "PG", Sees::Set, "a change is refused", GUEST_CONTROL),
];

/// CR4. Writes of bits other than choices are ignored.
pub static CONTROL4: &[Bits] = &[
    row(0x3, "VME, PVI", Sees::Clear, "ignored; hidden in CPUID", Guest("privileged", "cr4")),
    row(
        0x4,
        "TSD",
        Sees::Choice,
        "in the processor: RDTSC and RDTSCP are #GP in user mode, and emulated for the kernel",
        Guest("processor", "tsd"),
    ),
    row(
        0x8,
        "DE",
        Sees::Choice,
        "I/O breakpoints work; debug registers 4 and 5 are #UD instead of aliases",
        Guest("processor", "ports"),
    ),
    row(0x10, "PSE", Sees::Clear, "ignored; hidden in CPUID, and large pages are refused", HOST_CONTROL),
    row(0x20, "PAE", Sees::Set, "a write of 0 is ignored", Guest("privileged", "cr4")),
    row(0x40, "MCE", Sees::Set, "Paravane handles machine checks, which end the host", HOST_CONTROL),
    row(
        0x80,
        "PGE",
        Sees::Clear,
        "ignored; hidden in CPUID, and guests' page-table entries are never global",
        HOST_CONTROL,
    ),
    row(0x100, "PCE", Sees::Clear, "ignored: RDPMC is #GP", Guest("privileged", "counters")),
    row(0x600, "OSFXSR, OSXMMEXCPT", Sees::Set, "a write of 0 is ignored", Guest("privileged", "cr4")),
    row(
        0x800,
        "UMIP",
        Sees::Clear,
        "ignored; set in processors that have it, where SGDT, SIDT, SLDT, STR and SMSW are emulated with constant values",
        Guest("privileged", "tables"),
    ),
    row(0x1000, "LA57", Sees::Clear, "ignored; addresses have 48 bits", HOST_CONTROL),
    row(
        0x6000,
        "VMXE, SMXE",
        Sees::Clear,
        "ignored; hidden in CPUID, and the instructions are #UD",
        Guest("privileged", "invalid"),
    ),
    row(
        0x1_0000,
        "FSGSBASE",
        Sees::Choice,
        "in the processor: without it the instructions are #UD in kernel and user mode",
        Guest("processor", "fsgsbase"),
    ),
    row(0x2_0000, "PCIDE", Sees::Clear, "ignored; hidden in CPUID", HOST_CONTROL),
    row(
        0x4_0000,
        "OSXSAVE",
        Sees::Choice,
        "XSETBV is #UD without it; always set in the processor and in CPUID, as under Xen",
        Host("extended_states"),
    ),
    row(0x30_0000, "SMEP, SMAP", Sees::Clear, "ignored; used by Paravane itself", Guest("privileged", "cr4")),
    row(0x0140_0000, "PKE, PKS", Sees::Clear, "ignored; hidden in CPUID", HOST_CONTROL),
    row(0x80_0000, "CET", Sees::Clear, "ignored; hidden in CPUID", HOST_CONTROL),
];

/// EFER. A write that would change it is #GP.
pub static EXTENDED_FEATURES: &[Bits] = &[
    row(0x1, "SCE", Sees::Set, "SYSCALL enters the guest's handler", Guest("traps", "system_calls")),
    row(0x500, "LME, LMA", Sees::Set, "guests are 64-bit", Guest("privileged", "all")),
    row(
        EFER_NO_EXECUTE,
        "NXE",
        Sees::Set,
        "in processors that have it: the NX bit of page-table entries works",
        Guest("traps", "page_faults"),
    ),
    row(0x1000, "SVME", Sees::Clear, "hidden in CPUID", Guest("privileged", "invalid")),
    row(0xe000, "LMSLE, FFXSR, TCE", Sees::Clear, "hidden in CPUID", Host("model_specific_registers")),
];

/// XCR0, written by XSETBV if CR4.OSXSAVE is set. A change of any bit other than a choice is #GP.
pub static EXTENDED_STATES: &[Bits] = &[
    row(0x1, "x87", Sees::Set, "switched with the vCPU; a write of 0 is #GP", Guest("fpu", "xsave")),
    row(0x2, "SSE", Sees::Choice, "switched with the vCPU", Guest("fpu", "two")),
    row(0x4, "AVX", Sees::Choice, "switched with the vCPU; requires SSE", Guest("fpu", "two")),
    row(0x18, "BNDREGS, BNDCSR", Sees::Clear, "hidden in CPUID; #GP", Host("extended_states")),
    row(
        0xe0,
        "opmask, ZMM_Hi256, Hi16_ZMM",
        Sees::Choice,
        "switched with the vCPU; only together, and with AVX",
        Host("no_domain_gets_more_than_the_maximum"),
    ),
    row(0x200, "PKRU", Sees::Clear, "hidden in CPUID; #GP", Host("extended_states")),
    row(
        0x6_0000,
        "TILECFG, TILEDATA",
        Sees::Clear,
        "hidden in CPUID; #GP",
        Host("no_domain_gets_more_than_the_maximum"),
    ),
];

/// Debug registers, accessed by `mov`, `set_debugreg` and `get_debugreg`.
pub static DEBUG: &[(&str, &str, &str, Evidence)] = &[
    (
        "DR0 to DR3",
        "addresses of breakpoints",
        "any guest address; an address of Paravane is #GP or `-EPERM`. In the processor only while the vCPU runs and has a memory breakpoint enabled",
        Host("breakpoints_are_limited_to_guest_addresses"),
    ),
    (
        "DR4, DR5",
        "aliases of DR6 and DR7",
        "#UD or `-ENODEV` if CR4.DE is set",
        Host("registers_4_and_5_are_aliases_without_debug_extensions"),
    ),
    (
        "DR6",
        "the conditions of debug exceptions",
        "kept per vCPU; bits above 31 are #GP or `-EINVAL`",
        Host("undefined_bits_are_refused_or_fixed"),
    ),
    (
        "DR7: L0 to G3, types of execution, writes, reads and writes",
        "memory breakpoints",
        "in the processor while the vCPU runs",
        Guest("processor", "check_choice"),
    ),
    (
        "DR7: type of ports",
        "I/O breakpoints",
        "require CR4.DE; checked where port accesses are emulated",
        Host("io_breakpoints_are_hit_by_any_byte_of_the_access"),
    ),
    ("DR7: LE, GE", "no effect", "read back as written", Guest("traps", "debug")),
    ("DR7: GD", "always clear", "#GP or `-EPERM`", Host("breakpoints_are_limited_to_guest_addresses")),
    ("DR7: RTM", "always clear", "ignored", Host("undefined_bits_are_refused_or_fixed")),
];

/// The bits of CR0 that always read as set.
pub const CONTROL0_FIXED: u64 = all(CONTROL0, Sees::Set);
/// The bits of CR0 that a guest can change.
pub const CONTROL0_CHOICE: u64 = all(CONTROL0, Sees::Choice);
/// The bits of CR4 that always read as set.
pub const CONTROL4_FIXED: u64 = all(CONTROL4, Sees::Set);
/// EFER with NXE.
pub const EFER: u64 = all(EXTENDED_FEATURES, Sees::Set);
/// NXE in EFER.
pub const EFER_NO_EXECUTE: u64 = 1 << 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bit_is_in_two_rows() {
        for rows in [CONTROL0, CONTROL4, EXTENDED_FEATURES, EXTENDED_STATES] {
            let sum: u64 = rows.iter().map(|row| row.mask).sum();
            let union = rows.iter().fold(0, |union, row| union | row.mask);
            assert_eq!(sum, union);
        }
    }

    #[test]
    fn fixed_values_match_the_rows() {
        assert_eq!((CONTROL0_FIXED, CONTROL0_CHOICE), (0x8005_0033, 8));
        assert_eq!((CONTROL4_FIXED, all(CONTROL4, Sees::Choice)), (0x660, 0x5_000c));
        assert_eq!(EFER, 0xd01);
        assert_eq!(all(EXTENDED_STATES, Sees::Set) | all(EXTENDED_STATES, Sees::Choice), 0xe7);
    }
}
