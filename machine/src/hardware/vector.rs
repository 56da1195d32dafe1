//! Interrupt vectors as values: vectors of a CPU that are assigned to the hardware domain's
//! interrupts.

use super::Hardware;
use crate::addr::CpuId;
use crate::interrupts::vector_table;
use crate::per_cpu;
use crate::vectors::{DEVICES, LEGACY_SYSCALL};

pub use crate::interrupts::Trigger;

/// The number of vectors of each CPU for devices. The vector that guests may raise is not used.
pub const VECTORS: usize = (*DEVICES.end() - *DEVICES.start()) as usize;

/// Consecutive vectors of one CPU, one for each of consecutive interrupts. Dropping the value frees
/// them.
#[derive(Debug)]
pub struct Vector {
    cpu: CpuId,
    first: u8,
    count: u8,
}

/// The interrupt target for a requested CPU: that CPU if its APIC ID fits the destination field of
/// a message, otherwise the boot CPU.
fn reachable(cpu: CpuId) -> CpuId {
    if per_cpu::apic_id(cpu) < 0xff { cpu } else { CpuId::BOOT }
}

impl Hardware {
    /// Allocates vectors on `cpu` (or the boot CPU, if devices cannot address `cpu`) for `count`
    /// interrupts from number `interrupt` on; `preferred` if that is free. Several vectors are
    /// aligned to their number, a power of two. Returns `None` if no vectors are free.
    pub fn allocate_vector(
        &self,
        interrupt: u32,
        count: u8,
        trigger: Trigger,
        cpu: CpuId,
        preferred: Option<u8>,
    ) -> Option<Vector> {
        let cpu = reachable(cpu);
        let aligned = |first: &u8| first.is_multiple_of(count);
        let all = DEVICES.filter(aligned);
        preferred.into_iter().filter(aligned).chain(all).find_map(|first| {
            let mut vector = Vector { cpu, first, count: 0 };
            for part in 0..count {
                let number = first.checked_add(part).filter(|number| DEVICES.contains(number))?;
                let interrupt = interrupt.checked_add(part.into())?;
                // Vectors claimed so far are released with the value.
                if number == LEGACY_SYSCALL || !vector_table::claim(cpu, number, interrupt, trigger) {
                    return None;
                }
                vector.count += 1;
            }
            Some(vector)
        })
    }

    /// Takes the number of an interrupt that has arrived on this CPU.
    pub fn take_interrupt(&self) -> Option<u32> {
        vector_table::take(per_cpu::current())
    }
}

impl Vector {
    /// The CPU that is interrupted.
    pub const fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// The first of the vectors.
    pub const fn first(&self) -> u8 {
        self.first
    }

    /// The message that raises the first vector: address and data. The low bits of the data select
    /// the others.
    pub fn message(&self) -> (u64, u32) {
        let target = u64::from(per_cpu::apic_id(self.cpu) & 0xff);
        (0xfee0_0000 | target << 12, self.first.into())
    }
}

impl Drop for Vector {
    fn drop(&mut self) {
        for number in self.first..self.first + self.count {
            vector_table::release(self.cpu, number);
        }
    }
}
