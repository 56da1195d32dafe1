#![cfg_attr(not(target_os = "none"), expect(dead_code, reason = "the hosted back end simulates few of them"))]
//! Numbers of the model-specific registers that Paravane reads or writes. Names are those of
//! Intel's and AMD's manuals; a comment gives the register's purpose, or its maker if only one has
//! it.

pub(crate) const PLATFORM_ID: u32 = 0x17;
pub(crate) const APIC_BASE: u32 = 0x1b;
/// Numbers of cores and threads (Intel).
pub(crate) const CORE_THREAD_COUNT: u32 = 0x35;
pub(crate) const SPEC_CTRL: u32 = 0x48;
pub(crate) const PRED_CMD: u32 = 0x49;
/// The bit of PRED_CMD that discards all branch predictions (IBPB).
pub(crate) const PREDICTION_BARRIER: u64 = 1 << 0;
/// Loads an update (Intel).
pub(crate) const MICROCODE_UPDATE: u32 = 0x79;
pub(crate) const MICROCODE_REVISION: u32 = 0x8b;
/// Intel.
pub(crate) const ARCH_CAPABILITIES: u32 = 0x10a;
/// Intel.
pub(crate) const TSX_FORCE_ABORT: u32 = 0x10f;
/// Intel.
pub(crate) const TSX_CTRL: u32 = 0x122;
/// Intel.
pub(crate) const MCU_OPT_CTRL: u32 = 0x123;
pub(crate) const SYSENTER_CS: u32 = 0x174;
pub(crate) const SYSENTER_ESP: u32 = 0x175;
pub(crate) const SYSENTER_EIP: u32 = 0x176;
pub(crate) const PAT: u32 = 0x277;
pub(crate) const TSC_DEADLINE: u32 = 0x6e0;
/// The first register of the x2APIC.
pub(crate) const X2APIC: u32 = 0x800;
pub(crate) const EFER: u32 = 0xc000_0080;
pub(crate) const STAR: u32 = 0xc000_0081;
pub(crate) const LSTAR: u32 = 0xc000_0082;
pub(crate) const CSTAR: u32 = 0xc000_0083;
pub(crate) const SFMASK: u32 = 0xc000_0084;
/// Loads an update (AMD).
pub(crate) const PATCH_LOADER: u32 = 0xc001_0020;
/// AMD.
pub(crate) const DE_CFG: u32 = 0xc001_1029;
