#![expect(unsafe_code, reason = "walks stacks by frame pointers")]
//! The panic path: message, registers, backtrace of every CPU, then halt or restart. It takes no
//! lock that another CPU may hold, and does not use the heap.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::addr::{CpuId, MAX_CPUS, PerCpu};
use crate::address_space::windows;
use crate::console::backend as console;
use crate::context::Registers;
use crate::processor::registers;
use crate::{apic, boot, layout, per_cpu, power, symbols, time};

/// Seconds during which a message stays on the screen before the restart.
const READING_SECONDS: u64 = 5;

/// One more than the number of the CPU that stops the host; zero in normal operation.
static ENDING: AtomicU32 = AtomicU32::new(0);

/// The state of a CPU when it was stopped.
struct Stopped {
    /// 0 not stopped, 1 in Paravane, 2 in a guest.
    state: AtomicU32,
    instruction: AtomicU64,
    frame: AtomicU64,
    stack: AtomicU64,
}

static STOPPED: PerCpu<Stopped> = PerCpu::new(
    [const {
        Stopped {
            state: AtomicU32::new(0),
            instruction: AtomicU64::new(0),
            frame: AtomicU64::new(0),
            stack: AtomicU64::new(0),
        }
    }; MAX_CPUS],
);

struct Emergency;

impl Write for Emergency {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::write_emergency(text.as_bytes());
        Ok(())
    }
}

macro_rules! print {
    ($($part:tt)*) => {{
        let _ = writeln!(Emergency, "(pv) {}", format_args!($($part)*));
    }};
}

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    begin();
    let cpu = per_cpu::current().index();
    let trace = || backtrace(0, registers::frame_pointer());
    match info.location() {
        Some(at) => stop(format_args!("panic on CPU {cpu} at {}:{}: {}", at.file(), at.line(), info.message()), trace),
        None => stop(format_args!("panic on CPU {cpu}: {}", info.message()), trace),
    }
}

/// A trap in Paravane without an entry in the exception table.
pub(crate) fn on_trap(registers: &Registers) -> ! {
    begin();
    let reason = format_args!(
        "fatal trap {} on CPU {} at {}: error code {:#x}, address {:#x}",
        registers.vector,
        per_cpu::current().index(),
        Place(registers.rip),
        registers.error_code,
        registers::read_cr2()
    );
    stop(reason, || {
        print_registers(registers);
        if registers.cs & 3 == 0 {
            backtrace(registers.rip, registers.rbp);
        }
    })
}

/// An NMI. If another CPU stops the host, this CPU stops; any other NMI is ignored.
pub(crate) fn on_nmi(registers: &Registers) {
    if ENDING.load(Ordering::SeqCst) == 0 {
        return;
    }
    let stopped = &STOPPED[per_cpu::current()];
    stopped.instruction.store(registers.rip, Ordering::Relaxed);
    stopped.frame.store(registers.rbp, Ordering::Relaxed);
    stopped.stack.store(registers.rsp, Ordering::Relaxed);
    let state = if registers.cs & 3 == 0 { 1 } else { 2 };
    stopped.state.store(state, Ordering::Release);
    registers::halt_forever();
}

/// Makes this CPU the one that stops the host. A second CPU waits to be stopped; a panic inside the
/// panic halts immediately.
fn begin() {
    let here = per_cpu::current().number() + 1;
    match ENDING.compare_exchange(0, here, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {
            console::begin_emergency();
            // The message starts on a new line.
            console::write_emergency(b"\n");
        }
        Err(other) if other == here => end(format_args!("panic inside a panic")),
        Err(_) => registers::halt_forever(),
    }
}

/// Prints registers in lines that fit a row of VGA text.
fn print_registers(r: &Registers) {
    print!("rip {:016x} cs {:04x} rflags {:08x} rsp {:016x} ss {:04x}", r.rip, r.cs, r.rflags, r.rsp, r.ss);
    for [a, b, c] in [
        [("rax", r.rax), ("rbx", r.rbx), ("rcx", r.rcx)],
        [("rdx", r.rdx), ("rsi", r.rsi), ("rdi", r.rdi)],
        [("rbp", r.rbp), ("r8 ", r.r8), ("r9 ", r.r9)],
        [("r10", r.r10), ("r11", r.r11), ("r12", r.r12)],
        [("r13", r.r13), ("r14", r.r14), ("r15", r.r15)],
        [("cr0", registers::read_cr0()), ("cr2", registers::read_cr2()), ("cr3", registers::read_cr3())],
    ] {
        print!("{} {:016x} {} {:016x} {} {:016x}", a.0, a.1, b.0, b.1, c.0, c.1);
    }
    print!("cr4 {:016x}", registers::read_cr4());
}

/// An address of code, printed with the symbol before it.
struct Place(u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)?;
        match symbols::lookup(windows::address_in_image(self.0)) {
            Some((name, offset)) => write!(f, " {name}+{offset:#x}"),
            None => Ok(()),
        }
    }
}

/// Prints the return addresses of a chain of frame pointers, as long as it stays on stacks and
/// ascends.
fn backtrace(instruction: u64, mut frame: u64) {
    if instruction != 0 {
        print!("  {}", Place(instruction));
    }
    for _ in 0..64 {
        let on_stack = |address: u64| windows::is_stack(address) || layout::is_boot_stack(address);
        if !frame.is_multiple_of(8) || !on_stack(frame) || !on_stack(frame + 8) {
            return;
        }
        // SAFETY: two words on a mapped stack, as checked above.
        let [next, address] = unsafe { (frame as *const [u64; 2]).read_volatile() };
        if !(layout::image_start()..layout::text_end()).contains(&address) {
            return;
        }
        print!("  {}", Place(address));
        if next <= frame {
            return;
        }
        frame = next;
    }
    print!("  ...");
}

fn print_running(cpu: CpuId) {
    if let Some((domain, vcpu)) = per_cpu::running(cpu) {
        print!("CPU {} runs d{domain}v{vcpu}", cpu.index());
    }
}

/// Prints the reason and the state of this CPU, stops the other CPUs and prints their state, then
/// halts or restarts.
fn stop(reason: fmt::Arguments<'_>, state: impl FnOnce()) -> ! {
    print!("{reason}");
    state();
    let here = per_cpu::current();
    let others = || per_cpu::all_online().filter(|&cpu| cpu != here);
    others().for_each(|cpu| apic::send_nmi(per_cpu::apic_id(cpu)));
    for cpu in others() {
        let stopped = &STOPPED[cpu];
        let mut patience = 50_000_000;
        while stopped.state.load(Ordering::Acquire) == 0 && patience > 0 {
            core::hint::spin_loop();
            patience -= 1;
        }
        let instruction = stopped.instruction.load(Ordering::Relaxed);
        print_running(cpu);
        match stopped.state.load(Ordering::Relaxed) {
            0 => print!("CPU {} does not answer", cpu.index()),
            1 => {
                print!("CPU {} in Paravane, rsp {:#x}:", cpu.index(), stopped.stack.load(Ordering::Relaxed));
                backtrace(instruction, stopped.frame.load(Ordering::Relaxed));
            }
            _ => print!("CPU {} in a guest at {instruction:#x}", cpu.index()),
        }
    }
    end(reason)
}

/// Prints the reason once more, since its first line may have left a small screen, and what this
/// CPU runs.
fn end(reason: fmt::Arguments<'_>) -> ! {
    print!("{reason}");
    print_running(per_cpu::current());
    if boot::try_options().is_some_and(|options| options.no_reboot) {
        print!("halted");
        registers::halt_forever();
    }
    if console::screen::is_console() {
        print!("restarting in {READING_SECONDS} seconds");
        let end = time::now() + READING_SECONDS * 1_000_000_000;
        while (1..end).contains(&time::now()) {
            core::hint::spin_loop();
        }
    }
    print!("restarting");
    power::reboot()
}
