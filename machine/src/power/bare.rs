#![expect(unsafe_code, reason = "ends the machine by a triple fault if nothing else does")]
//! Power-off and restart: by ACPI, then by older methods.

use core::arch::asm;

use crate::integers::low_u16;
use crate::processor::registers::{self, DescriptorTable, port_read16, port_write8, port_write16};
use crate::{boot, console, layout};

const SLEEP_ENABLE: u16 = 1 << 13;
const ACPI_ENABLED: u16 = 1;

/// Powers the machine off (ACPI S5, or QEMU's debug-exit device); halts if that fails.
pub fn off() -> ! {
    if let Some(acpi) = boot::acpi()
        && let Some(types) = acpi.s5
    {
        let [first, second] = acpi.pm1_control;
        if let Some((port, value)) = acpi.enable.filter(|_| port_read16(first) & ACPI_ENABLED == 0) {
            port_write8(port, value);
            for _ in 0..1_000_000 {
                if port_read16(first) & ACPI_ENABLED != 0 {
                    break;
                }
            }
        }
        for (port, sleep_type) in [(first, types[0]), (second, types[1])] {
            if port != 0 {
                let kept = port_read16(port) & !(7 << 10 | SLEEP_ENABLE);
                port_write16(port, kept | u16::from(sleep_type) << 10 | SLEEP_ENABLE);
            }
        }
    }
    wait();
    port_write8(0xf4, 0);
    wait();
    console::backend::write_emergency(b"(pv) this machine cannot be switched off by software; halted\n");
    halt()
}

/// Restarts the machine.
pub fn reboot() -> ! {
    if let Some((register, value)) = boot::acpi().and_then(|acpi| acpi.reset) {
        match register.space {
            1 => port_write8(low_u16(register.address), value),
            // Only addresses that boot has mapped.
            0 if register.address < 1 << 20 => {
                // SAFETY: the first MiB is in the direct map; according to the firmware, this byte
                // resets the machine.
                unsafe { (layout::direct(register.address) as *mut u8).write_volatile(value) };
            }
            _ => {}
        }
        wait();
    }
    port_write8(0xcf9, 2);
    port_write8(0xcf9, 6);
    wait();
    port_write8(0x64, 0xfe);
    wait();
    let none = DescriptorTable { limit: 0, base: 0 };
    // SAFETY: without an interrupt table the next fault resets the machine, as intended.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &raw const none, options(noreturn)) };
}

/// Stops this CPU permanently.
pub fn halt() -> ! {
    registers::halt_forever()
}

/// Waits for a device to react.
fn wait() {
    for _ in 0..100_000 {
        registers::port_read8(0x80);
    }
}
