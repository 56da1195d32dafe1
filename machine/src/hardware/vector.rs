//! Interrupt vectors: which of them each CPU has given to which of the hardware domain's interrupts, and which have come in.
//!
//! An interrupt is acknowledged at once, so that none holds up another. One whose line stays asserted until its driver has served the device is
//! masked before that, and unmasked when the hardware domain says that it is done.

use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Hardware;
use crate::addr::{CpuId, MAX_CPUS};
use crate::backend::{self, io_apic};

/// Vectors for devices: above exceptions and the old controllers', below Paravane's own.
const DEVICES: RangeInclusive<u8> = 0x30..=0xef;
/// Vectors of each CPU that interrupts of devices can have: that of guests' system calls stays
/// free.
pub const VECTORS: usize = (*DEVICES.end() - *DEVICES.start()) as usize;
/// The vector that guests may raise themselves.
const SYSTEM_CALL: u8 = 0x80;

/// What a vector stands for: interrupt number plus one, and whether its line has to be masked.
const LEVEL: u32 = 1 << 31;
static TARGETS: [[AtomicU32; 256]; MAX_CPUS] = [const { [const { AtomicU32::new(0) }; 256] }; MAX_CPUS];
/// Vectors that have come in and have not been looked at.
static ARRIVED: [[AtomicU64; 4]; MAX_CPUS] = [const { [const { AtomicU64::new(0) }; 4] }; MAX_CPUS];

/// How a line asks for service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// By a change of the line, or by a message.
    Edge,
    /// By the state of the line.
    Level,
}

/// Vectors of one CPU, one behind the other, that stand for as many interrupts. Free again when the value is gone.
#[derive(Debug)]
pub struct Vector {
    cpu: CpuId,
    first: u8,
    count: u8,
}

/// The target of interrupts that is nearest to what was asked: a CPU whose number fits where devices write it.
fn reachable(cpu: CpuId) -> CpuId {
    if backend::cpu::apic_id(cpu) < 0xff { cpu } else { CpuId::BOOT }
}

impl Hardware {
    /// Vectors on `cpu` (or the boot CPU, if devices cannot reach that one) for `count` interrupts from number `interrupt` on; `preferred` if
    /// that is free. More than one are aligned to their number, a power of two. `None` if there are none.
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
                let flag = if trigger == Trigger::Level { LEVEL } else { 0 };
                let target = (interrupt.checked_add(part.into())?.checked_add(1)? & !LEVEL) | flag;
                let free = number != SYSTEM_CALL
                    && TARGETS[cpu.index()][usize::from(number)]
                        .compare_exchange(0, target, Ordering::SeqCst, Ordering::SeqCst)
                        .is_ok();
                // what has been taken is given back with the value
                if !free {
                    return None;
                }
                vector.count += 1;
            }
            Some(vector)
        })
    }

    /// The number of an interrupt that has come in on this CPU.
    pub fn take_interrupt(&self) -> Option<u32> {
        let cpu = backend::cpu::current();
        for (index, word) in ARRIVED[cpu.index()].iter().enumerate() {
            let mut arrived = word.load(Ordering::SeqCst);
            while arrived != 0 {
                let bit = arrived.trailing_zeros();
                arrived = word.fetch_and(!(1 << bit), Ordering::SeqCst) & !(1 << bit);
                let target = TARGETS[cpu.index()][index * 64 + bit as usize].load(Ordering::SeqCst) & !LEVEL;
                if let Some(interrupt) = target.checked_sub(1) {
                    return Some(interrupt);
                }
            }
        }
        None
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

    /// The message that raises the first: address and data. The low bits of the data choose among the others.
    pub fn message(&self) -> (u64, u32) {
        let target = u64::from(backend::cpu::apic_id(self.cpu) & 0xff);
        (0xfee0_0000 | target << 12, self.first.into())
    }
}

impl Drop for Vector {
    fn drop(&mut self) {
        for number in self.first..self.first + self.count {
            TARGETS[self.cpu.index()][usize::from(number)].store(0, Ordering::SeqCst);
        }
    }
}

/// Records that a device's vector has come in on a CPU, before it is acknowledged there; `false` if it stands for nothing.
pub(crate) fn arrived(cpu: CpuId, vector: u8) -> bool {
    let target = TARGETS[cpu.index()][usize::from(vector)].load(Ordering::SeqCst);
    if target == 0 {
        return false;
    }
    if target & LEVEL != 0 {
        io_apic::set_masked((target & !LEVEL) - 1, true);
    }
    ARRIVED[cpu.index()][usize::from(vector / 64)].fetch_or(1 << (vector % 64), Ordering::SeqCst);
    true
}
