#![expect(unsafe_code, reason = "takes a context out of the value that deactivates it when dropped")]
//! A vCPU's state as the hardware sees it, and the act of running it.
//!
//! A `GuestContext` at rest belongs to whoever holds the box. [`GuestContext::activate`] loads what a pCPU keeps loaded while it
//! serves one vCPU (root table, segments, extended state, descriptor windows); the `Active` value is the permission to run
//! it and to reach its memory. All that a guest may choose is made harmless on the way in, so every value may be put into
//! the registers here.

mod control;
mod short_ways;

use core::mem::ManuallyDrop;

use alloc::boxed::Box;

use abi::arch_x86_64::{FIRST_RESERVED_GDT_PAGE, flat};
use abi::xen::DomainId;

#[cfg(target_os = "none")]
pub(crate) use self::control::CONTROL4_LOADED;
#[cfg(target_os = "none")]
pub(crate) use self::short_ways::FRAME_ROOM;
pub(crate) use self::short_ways::{ShortCounts, ShortWays};
use crate::addr::{GuestVirt, Mfn};
use crate::backend::vcpu;
pub use crate::extended_state::LEGACY;
use crate::frames::{Descriptor, L4, SharedPage, TypedRef};

/// General registers and the trap frame, in the order in which the entry code and the processor push them.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// What brought the vCPU here: a vector, or one of the entry code's own numbers above 255.
    pub vector: u64,
    /// The error code of the exception, where it has one.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const _: () = assert!(size_of::<Registers>().is_multiple_of(16), "the processor aligns the stack it pushes to");

/// Data segment selectors; live in the processor while the vCPU is active.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct Selectors {
    pub ds: u16,
    pub es: u16,
    pub fs: u16,
    pub gs: u16,
}

/// Where a guest wants to be entered, and how.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Handler {
    /// Address of the handler; zero if there is none.
    pub address: u64,
    /// Code segment selector.
    pub cs: u16,
    /// Non-zero if events are masked on entry.
    pub mask_events: u8,
    /// For the trap table: the privilege level from which `int n` may reach the handler.
    pub privilege: u8,
    pub(crate) _pad: u32,
}

impl Handler {
    /// A handler at `address`.
    pub const fn new(address: u64, cs: u16, mask_events: bool, privilege: u8) -> Self {
        Self { address, cs, mask_events: mask_events as u8, privilege, _pad: 0 }
    }

    /// Whether the guest has set one.
    pub const fn is_set(&self) -> bool {
        self.address != 0
    }
}

/// All the places where a guest can be entered.
#[derive(Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the interface's callbacks")]
pub struct Handlers {
    pub traps: [Handler; 256],
    pub event: Handler,
    pub failsafe: Handler,
    pub syscall: Handler,
    pub syscall32: Handler,
    pub sysenter: Handler,
    pub nmi: Handler,
}

/// Why a guest stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The guest's kernel made a hypercall; `rax` has its number.
    Hypercall,
    /// One of the guest's processes made a 64-bit system call.
    Syscall,
    /// A system call from 32-bit code.
    Syscall32,
    /// SYSENTER.
    Sysenter,
    /// The guest's instruction raised an exception or software interrupt.
    Trap {
        /// Exception number.
        vector: u8,
        /// Error code; zero where the exception has none.
        error_code: u32,
        /// The address for page faults; zero otherwise.
        address: GuestVirt,
    },
    /// An interrupt of the pCPU's came in and has been recorded (see `cpu::take_pending`).
    Interrupt,
    /// Not all data segments could be loaded when the vCPU came to this pCPU; the others are null.
    BadSelectors,
}

/// Flags that a guest may set: carry, parity, adjust, zero, sign, trap, direction, overflow, resume, alignment check, identification.
#[cfg(target_os = "none")]
pub(crate) const FLAGS_ALLOWED: u64 = 0x0025_0dd5;
/// Interrupts on, and the bit that is always one.
#[cfg(target_os = "none")]
pub(crate) const FLAGS_FORCED: u64 = 0x202;
/// Flags that a guest's handler does not start with: trap, nested task, resume, virtual 8086, alignment check.
pub const FLAGS_CLEARED_ON_BOUNCE: u64 = 1 << 8 | 1 << 14 | 1 << 16 | 1 << 17 | 1 << 18;

/// Base address and length of a vCPU's LDT.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Ldt {
    /// Linear address of the first descriptor.
    pub base: u64,
    /// Number of descriptors, at most 8192; zero for none.
    pub entries: u16,
}

/// The pages of a guest's GDT.
type GdtPages = [Option<TypedRef<Descriptor>>; FIRST_RESERVED_GDT_PAGE];

/// The state of one vCPU that the hardware, or the entry code, looks at.
#[repr(C, align(64))]
pub struct GuestContext {
    pub(crate) registers: Registers,
    /// Paravane's stack while the guest runs; the entry code goes back to it.
    pub(crate) host_stack: u64,
    /// The value of CR2 at the last page fault.
    pub(crate) fault_address: u64,
    /// 1 while the vCPU is in its kernel, 0 in a process.
    pub(crate) in_kernel: u64,
    /// CR3 values for the two modes; the user's is zero if the guest has set none.
    pub(crate) kernel_cr3: u64,
    pub(crate) user_cr3: u64,
    /// Stack for entering the kernel from a process.
    pub(crate) kernel_stack: u64,
    /// Address of the `vcpu_info` in Paravane's direct map.
    pub(crate) vcpu_info_address: u64,
    pub(crate) short_ways: ShortWays,
    pub(crate) short_counts: ShortCounts,
    /// The handlers or the stack have changed since `short_ways` was derived.
    pub(crate) short_ways_stale: bool,
    /// Whether there may be short ways at all.
    pub(crate) short_ways_allowed: bool,
    pub(crate) fs_base: u64,
    pub(crate) gs_base_kernel: u64,
    pub(crate) gs_base_user: u64,
    pub(crate) selectors: Selectors,
    /// Some of them could not be loaded, and `run` has not said so yet.
    pub(crate) selectors_refused: bool,
    pub(crate) handlers: Handlers,
    /// CR0.TS as the guest wants it.
    pub(crate) task_switched: bool,
    /// The bits of CR4 that the guest has chosen.
    pub(crate) control4: u64,
    pub(crate) debug_registers: [u64; 8],
    pub(crate) iopl: u8,
    pub(crate) extended: vcpu::ExtendedState,
    pub(crate) kernel_root: Option<TypedRef<L4>>,
    pub(crate) user_root: Option<TypedRef<L4>>,
    pub(crate) vcpu_info: Option<(SharedPage, usize)>,
    pub(crate) gdt: GdtPages,
    pub(crate) gdt_entries: u16,
    pub(crate) ldt: Ldt,
    pub(crate) backend: vcpu::BackendState,
}

const NO_HANDLER: Handler = Handler::new(0, 0, false, 0);

impl GuestContext {
    /// The state before anything has been set: registers zero, flat selectors, in the kernel, no root table.
    pub fn new() -> Box<Self> {
        let registers = Registers {
            cs: u64::from(flat::KERNEL_CS64),
            ss: u64::from(flat::KERNEL_SS64),
            rflags: 1 << 9,
            ..Registers::default()
        };
        Box::new(Self {
            registers,
            host_stack: 0,
            fault_address: 0,
            in_kernel: 1,
            kernel_cr3: 0,
            user_cr3: 0,
            kernel_stack: 0,
            vcpu_info_address: 0,
            short_ways: ShortWays::default(),
            short_counts: ShortCounts::default(),
            short_ways_stale: true,
            short_ways_allowed: true,
            fs_base: 0,
            gs_base_kernel: 0,
            gs_base_user: 0,
            selectors: Selectors::default(),
            selectors_refused: false,
            handlers: Handlers {
                traps: [NO_HANDLER; 256],
                event: NO_HANDLER,
                failsafe: NO_HANDLER,
                syscall: NO_HANDLER,
                syscall32: NO_HANDLER,
                sysenter: NO_HANDLER,
                nmi: NO_HANDLER,
            },
            task_switched: false,
            control4: 0,
            debug_registers: control::DEBUG_REGISTERS_AT_REST,
            iopl: 0,
            extended: vcpu::ExtendedState::new(),
            kernel_root: None,
            user_root: None,
            vcpu_info: None,
            gdt: [const { None }; FIRST_RESERVED_GDT_PAGE],
            gdt_entries: 0,
            ldt: Ldt::default(),
            backend: vcpu::BackendState::default(),
        })
    }

    /// Loads the vCPU into this pCPU. `None` if it has no root table yet.
    pub fn activate(self: Box<Self>) -> Result<Active, Box<Self>> {
        if self.kernel_root.is_none() || self.vcpu_info.is_none() || (self.in_kernel == 0 && self.user_root.is_none()) {
            return Err(self);
        }
        let mut active = Active { context: ManuallyDrop::new(self) };
        vcpu::activate(active.context_mut());
        Ok(active)
    }

    /// General registers.
    pub const fn registers(&self) -> &Registers {
        &self.registers
    }

    /// General registers. Any value is allowed; what the hardware must not see is corrected on entry.
    pub const fn registers_mut(&mut self) -> &mut Registers {
        &mut self.registers
    }

    /// Data segment selectors; while active, those of the last activation.
    pub const fn selectors(&self) -> &Selectors {
        &self.selectors
    }

    /// Data segment selectors; while active, those of the last activation.
    pub const fn selectors_mut(&mut self) -> &mut Selectors {
        &mut self.selectors
    }

    /// The entry points that the guest has set.
    pub const fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    /// The entry points that the guest has set.
    pub const fn handlers_mut(&mut self) -> &mut Handlers {
        self.short_ways_stale = true;
        &mut self.handlers
    }

    /// Whether the vCPU is in its kernel (as against a process of the guest).
    pub const fn is_in_kernel(&self) -> bool {
        self.in_kernel != 0
    }

    /// Decides in which mode a vCPU at rest starts.
    pub fn start_in_kernel(&mut self, kernel: bool) {
        self.in_kernel = u64::from(kernel);
    }

    /// The stack on which the kernel is entered from a process.
    pub const fn kernel_stack(&self) -> u64 {
        self.kernel_stack
    }

    /// The I/O privilege level that the guest believes to have.
    pub const fn iopl(&self) -> u8 {
        self.iopl
    }

    /// Sets the I/O privilege level that the guest believes to have (0 to 3); it shows in the flags that the guest sees and nowhere else.
    pub const fn set_iopl(&mut self, level: u8) {
        self.iopl = level & 3;
    }

    /// Where the guest's `vcpu_info` lies: page and offset.
    pub fn vcpu_info(&self) -> Option<(&SharedPage, usize)> {
        self.vcpu_info.as_ref().map(|(page, offset)| (page, *offset))
    }

    /// Moves the `vcpu_info` to another place.
    ///
    /// # Panics
    /// If it would not lie wholly in the page (64 bytes) or not be aligned to 8.
    pub fn set_vcpu_info(&mut self, page: SharedPage, offset: usize) {
        assert!(offset.is_multiple_of(8) && offset <= 4096 - 64, "a vcpu_info does not fit at {offset}");
        self.vcpu_info_address = vcpu::shared_address(&page, offset);
        self.vcpu_info = Some((page, offset));
    }

    /// The kernel's root table.
    pub fn kernel_root(&self) -> Option<&TypedRef<L4>> {
        self.kernel_root.as_ref()
    }

    /// The processes' root table.
    pub fn user_root(&self) -> Option<&TypedRef<L4>> {
        self.user_root.as_ref()
    }

    /// Whose tables its roots are.
    pub(crate) fn owner(&self) -> DomainId {
        self.kernel_root.as_ref().expect("it has a root table").frame().owner()
    }

    /// Sets the root tables of a vCPU at rest and hands back the former ones.
    ///
    /// # Panics
    /// If they are of two domains.
    pub fn set_roots(
        &mut self,
        kernel: Option<TypedRef<L4>>,
        user: Option<TypedRef<L4>>,
    ) -> (Option<TypedRef<L4>>, Option<TypedRef<L4>>) {
        if let (Some(kernel), Some(user)) = (&kernel, &user) {
            assert_eq!(kernel.frame().owner(), user.frame().owner(), "roots of two domains");
        }
        self.kernel_cr3 = kernel.as_ref().map_or(0, |root| root.mfn().address().get());
        self.user_cr3 = user.as_ref().map_or(0, |root| root.mfn().address().get());
        (core::mem::replace(&mut self.kernel_root, kernel), core::mem::replace(&mut self.user_root, user))
    }

    /// Sets the GDT of a vCPU at rest: up to 14 pages, `entries` descriptors.
    ///
    /// # Panics
    /// If there are more pages than the guest's part of the GDT has.
    pub fn set_gdt(&mut self, pages: impl IntoIterator<Item = TypedRef<Descriptor>>, entries: u16) {
        drop(self.replace_gdt(pages, entries));
    }

    fn replace_gdt(&mut self, pages: impl IntoIterator<Item = TypedRef<Descriptor>>, entries: u16) -> GdtPages {
        let mut slots = [const { None }; FIRST_RESERVED_GDT_PAGE];
        for (index, page) in pages.into_iter().enumerate() {
            slots[index] = Some(page);
        }
        self.gdt_entries = entries;
        core::mem::replace(&mut self.gdt, slots)
    }

    /// The frames of the GDT and the number of descriptors.
    pub fn gdt(&self) -> (impl Iterator<Item = Mfn>, u16) {
        (self.gdt.iter().flatten().map(TypedRef::mfn), self.gdt_entries)
    }

    /// The LDT that the guest has set.
    pub const fn ldt(&self) -> Ldt {
        self.ldt
    }

    /// Sets the LDT of a vCPU at rest.
    pub const fn set_ldt(&mut self, ldt: Ldt) {
        self.ldt = ldt;
    }

    /// Segment bases of a vCPU at rest: FS, GS of the kernel, GS of processes. Addresses that are not canonical are taken as zero.
    pub const fn set_segment_bases(&mut self, fs: u64, gs_kernel: u64, gs_user: u64) {
        self.fs_base = canonical_or_zero(fs);
        self.gs_base_kernel = canonical_or_zero(gs_kernel);
        self.gs_base_user = canonical_or_zero(gs_user);
    }

    /// Segment bases of a vCPU at rest: FS, GS of the kernel, GS of processes.
    pub const fn segment_bases(&self) -> (u64, u64, u64) {
        (self.fs_base, self.gs_base_kernel, self.gs_base_user)
    }

    /// The extended states that this processor keeps for a vCPU; zero if it has no XSAVE.
    pub fn supported_states() -> u64 {
        vcpu::supported_states()
    }

    /// Extended state of a vCPU at rest: the enabled states and the XSAVE image of all supported ones, empty if the processor has no XSAVE.
    pub fn extended_state(&self) -> (u64, &[u8]) {
        (self.extended.xcr0(), self.extended.image())
    }

    /// Sets the extended state of a vCPU at rest. `false`, and nothing changed, if the processor would not load it.
    pub fn set_extended_state(&mut self, xcr0: u64, image: &[u8]) -> bool {
        self.extended.set_image(xcr0, image)
    }

    /// The FXSAVE image of a vCPU at rest: x87 and SSE state.
    pub fn legacy_state(&self) -> &[u8] {
        self.extended.legacy()
    }

    /// Sets x87 and SSE state of a vCPU at rest. `false`, and nothing changed, if the processor would not load it.
    pub fn set_legacy_state(&mut self, image: &[u8; LEGACY]) -> bool {
        self.extended.set_legacy(image)
    }
}

/// Whether an address can be an address at all with 48-bit translation.
pub const fn is_canonical(address: u64) -> bool {
    address.wrapping_add(1 << 47) < 1 << 48
}

const fn canonical_or_zero(address: u64) -> u64 {
    if is_canonical(address) { address } else { 0 }
}

/// A vCPU loaded into this pCPU.
///
/// Dropping it, like [`Active::deactivate`], saves the live state and leaves the guest's root table, so that the tables may be let go.
pub struct Active {
    /// Taken out when the value ends, and by nobody else.
    context: ManuallyDrop<Box<GuestContext>>,
}

impl Active {
    #[inline]
    pub(crate) fn context_mut(&mut self) -> &mut GuestContext {
        &mut self.context
    }

    /// The state at rest, readable while active; selectors, bases and extended state may be newer in the processor.
    #[inline]
    pub fn context(&self) -> &GuestContext {
        &self.context
    }

    /// Takes the vCPU off this pCPU.
    pub fn deactivate(self) -> Box<GuestContext> {
        let mut active = ManuallyDrop::new(self);
        vcpu::deactivate(&mut active.context);
        // SAFETY: `active` ends here without being dropped, so this is the only time.
        unsafe { ManuallyDrop::take(&mut active.context) }
    }

    /// Does without the guest's root table while `wait` runs: other pCPUs need not ask this one to flush meanwhile.
    pub fn leave_for(&mut self, wait: impl FnOnce()) {
        vcpu::leave_root();
        wait();
        vcpu::enter_root(self.context());
    }

    /// Takes the vCPU off this pCPU while `act` runs, with all that it has loaded there.
    pub(crate) fn set_aside_for(&mut self, act: impl FnOnce()) {
        vcpu::deactivate(self.context_mut());
        act();
        vcpu::activate(self.context_mut());
    }

    /// Runs the guest until something needs Paravane.
    pub fn run(&mut self) -> Exit {
        let context = self.context_mut();
        if context.short_ways_stale {
            context.derive_short_ways();
        }
        if core::mem::take(&mut context.selectors_refused) {
            return Exit::BadSelectors;
        }
        vcpu::run(context)
    }

    /// Whether the entry code may finish system calls, page faults and `iret` by itself. What it does then is the same as otherwise; it does not know the
    /// I/O privilege level in flags, though.
    pub fn allow_short_ways(&mut self, allow: bool) {
        let context = self.context_mut();
        context.short_ways_allowed = allow;
        context.short_ways_stale = true;
    }

    /// General registers.
    pub fn registers(&self) -> &Registers {
        &self.context().registers
    }

    /// General registers. Any value is allowed; what the hardware must not see is corrected on entry.
    pub fn registers_mut(&mut self) -> &mut Registers {
        &mut self.context_mut().registers
    }

    /// The entry points that the guest has set.
    pub fn handlers_mut(&mut self) -> &mut Handlers {
        self.context_mut().handlers_mut()
    }

    /// Moves the `vcpu_info` (see [`GuestContext::set_vcpu_info`]).
    pub fn set_vcpu_info(&mut self, page: SharedPage, offset: usize) {
        self.context_mut().set_vcpu_info(page, offset);
    }

    /// Sets the stack on which the kernel is entered from a process.
    pub fn set_kernel_stack(&mut self, stack: u64) {
        self.context_mut().set_kernel_stack(stack);
    }

    /// Sets the I/O privilege level that the guest believes to have.
    pub fn set_iopl(&mut self, level: u8) {
        self.context_mut().set_iopl(level);
    }

    /// Goes to the guest's kernel: its root table and GS base become the live ones.
    pub fn enter_kernel(&mut self) {
        let context = self.context_mut();
        if context.in_kernel == 0 {
            context.in_kernel = 1;
            vcpu::swap_mode(context);
        }
    }

    /// Goes to the guest's processes. `false`, with nothing done, if the guest has set no root table for them.
    pub fn enter_user(&mut self) -> bool {
        let context = self.context_mut();
        if context.in_kernel != 0 {
            if context.user_root.is_none() {
                return false;
            }
            context.in_kernel = 0;
            vcpu::swap_mode(context);
        }
        true
    }

    /// Gives the kernel another root table, loads it, and hands back the former one. The caller is in kernel mode.
    ///
    /// # Panics
    /// If it is another domain's.
    pub fn set_kernel_root(&mut self, root: TypedRef<L4>) -> Option<TypedRef<L4>> {
        let context = self.context_mut();
        assert_eq!(root.frame().owner(), context.owner(), "another domain's root");
        context.kernel_cr3 = root.mfn().address().get();
        let former = context.kernel_root.replace(root);
        vcpu::load_root(context);
        former
    }

    /// Gives the processes another root table, or none, and hands back the former one.
    ///
    /// # Panics
    /// If it is another domain's.
    pub fn set_user_root(&mut self, root: Option<TypedRef<L4>>) -> Option<TypedRef<L4>> {
        let context = self.context_mut();
        assert!(root.as_ref().is_none_or(|root| root.frame().owner() == context.owner()), "another domain's root");
        if root.is_none() && context.in_kernel == 0 {
            return None;
        }
        context.user_cr3 = root.as_ref().map_or(0, |root| root.mfn().address().get());
        let former = core::mem::replace(&mut context.user_root, root);
        // While the kernel runs, nothing of the former one is cached: it was dropped when the kernel's was loaded.
        if context.in_kernel == 0 {
            vcpu::load_root(context);
        }
        former
    }

    /// Sets the GDT (see [`GuestContext::set_gdt`]) and reloads the window.
    pub fn set_gdt(&mut self, pages: impl IntoIterator<Item = TypedRef<Descriptor>>, entries: u16) {
        let context = self.context_mut();
        let former = context.replace_gdt(pages, entries);
        vcpu::load_descriptor_tables(context);
        // The window shows them no longer.
        drop(former);
    }

    /// Sets the LDT and empties its window.
    pub fn set_ldt(&mut self, ldt: Ldt) {
        let context = self.context_mut();
        context.ldt = ldt;
        vcpu::load_descriptor_tables(context);
    }

    /// Shows a page of the LDT in its window, after a fault there. Page `index` counts from the LDT's base.
    pub fn map_ldt_page(&mut self, index: usize, page: TypedRef<Descriptor>) {
        vcpu::map_ldt_page(self.context_mut(), index, page);
    }

    /// The index of the LDT page that a fault at `address` asks for, if it lies in this pCPU's LDT window.
    pub fn ldt_page_of_fault(&self, address: GuestVirt) -> Option<usize> {
        vcpu::ldt_page_of_fault(address)
    }

    /// Sets the FS base; `false` if the address is not canonical.
    pub fn set_fs_base(&mut self, base: u64) -> bool {
        is_canonical(base) && {
            vcpu::set_fs_base(self.context_mut(), base);
            true
        }
    }

    /// Sets the GS base of the kernel; `false` if the address is not canonical.
    pub fn set_kernel_gs_base(&mut self, base: u64) -> bool {
        is_canonical(base) && {
            vcpu::set_gs_base(self.context_mut(), true, base);
            true
        }
    }

    /// Sets the GS base of processes; `false` if the address is not canonical.
    pub fn set_user_gs_base(&mut self, base: u64) -> bool {
        is_canonical(base) && {
            vcpu::set_gs_base(self.context_mut(), false, base);
            true
        }
    }

    /// Loads the user's GS selector (kernel mode has its own base); `false` if the processor refused it and the null selector was loaded.
    pub fn load_user_gs_selector(&mut self, selector: u16) -> bool {
        vcpu::load_user_gs_selector(self.context_mut(), selector)
    }

    /// The live data segment selectors.
    pub fn live_selectors(&self) -> Selectors {
        vcpu::live_selectors(self.context())
    }

    /// Tries once more to load the data segments of the last activation; `false` if one was refused and is null.
    pub fn reload_selectors(&mut self) -> bool {
        vcpu::load_data_segments(self.context_mut())
    }

    /// Live GS base of processes.
    pub fn live_user_gs_base(&self) -> u64 {
        vcpu::live_user_gs_base(self.context())
    }

    /// Live FS base, GS base of the kernel, GS base of processes.
    pub fn live_segment_bases(&self) -> (u64, u64, u64) {
        vcpu::live_segment_bases(self.context())
    }

    /// The enabled extended states; `false` from the setter if the processor has not got them or the combination is illegal.
    pub fn set_xcr0(&mut self, value: u64) -> bool {
        vcpu::set_xcr0(self.context_mut(), value)
    }

    /// The enabled extended states.
    pub fn xcr0(&self) -> u64 {
        self.context().extended.xcr0()
    }

    /// Forgets all translations of this vCPU's root tables on this pCPU.
    pub fn flush(&mut self) {
        crate::tlb::flush_local();
    }

    /// Forgets the translation of one page in both of this vCPU's roots on this pCPU.
    pub fn flush_page(&mut self, address: GuestVirt) {
        vcpu::flush_page(self.context_mut(), address);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        vcpu::deactivate(&mut self.context);
        // SAFETY: the value ends here, so this is the only time.
        unsafe { ManuallyDrop::drop(&mut self.context) };
    }
}
