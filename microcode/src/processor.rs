//! The processor for which an update is selected.

/// The maker of a processor, which determines the format of updates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// Intel.
    Intel,
    /// AMD.
    Amd,
}

impl Maker {
    /// The maker of a processor with this name in CPUID leaf 0.
    pub const fn named(name: &[u8; 12]) -> Option<Self> {
        match name {
            b"GenuineIntel" => Some(Self::Intel),
            b"AuthenticAMD" => Some(Self::Amd),
            _ => None,
        }
    }

    /// The file in an early cpio archive, by Linux's convention
    /// (`Documentation/arch/x86/microcode.rst`).
    pub const fn path(self) -> &'static str {
        match self {
            Self::Intel => "kernel/x86/microcode/GenuineIntel.bin",
            Self::Amd => "kernel/x86/microcode/AuthenticAMD.bin",
        }
    }
}

/// A processor and its current update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Processor {
    /// The maker.
    pub maker: Maker,
    /// Family, model and stepping: EAX of CPUID leaf 1.
    pub signature: u32,
    /// The bit of the platform, of eight, that `IA32_PLATFORM_ID` names; zero for AMD.
    pub platform: u32,
    /// The current revision.
    pub revision: u32,
}

impl Processor {
    /// The family (Intel SDM volume 2, CPUID).
    pub const fn family(&self) -> u32 {
        let family = self.signature >> 8 & 15;
        if family == 15 { family + (self.signature >> 20 & 0xff) } else { family }
    }

    /// Whether updates for the family have the known format.
    pub const fn is_supported(&self) -> bool {
        match self.maker {
            Maker::Intel => self.family() >= 6,
            Maker::Amd => self.family() >= 0x10,
        }
    }

    /// Whether `revision` is newer than `other`. Intel's are signed: negative ones are for
    /// development, and never newer than a published one.
    pub const fn is_newer(&self, revision: u32, other: u32) -> bool {
        match self.maker {
            Maker::Intel => revision.cast_signed() > other.cast_signed(),
            Maker::Amd => revision > other,
        }
    }
}
