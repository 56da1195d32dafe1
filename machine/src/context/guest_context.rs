//! The state of one vCPU, and its accessors while it is inactive.

use alloc::boxed::Box;

use abi::arch_x86_64::{FIRST_RESERVED_GDT_PAGE, flat};
use abi::xen::DomainId;

use super::active::Active;
use super::debug_registers::DEBUG_REGISTERS_AT_REST;
use super::extended_state::LEGACY;
use super::fast_path::{FastPath, FastPathCounts};
use super::handlers::{Handler, Handlers};
use super::registers::{Registers, Selectors, canonical_or_zero};
use super::vcpu;
use crate::addr::{Mfn, PAGE_SIZE};
use crate::frames::{Descriptor, L4, SharedPage, TypedRef};

/// Base address and length of a vCPU's LDT.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Ldt {
    /// Linear address of the first descriptor.
    pub base: u64,
    /// Number of descriptors, at most 8192; zero for none.
    pub entries: u16,
}

/// Indices of the two modes in arrays.
pub(crate) const USER: usize = 0;
/// See [`USER`].
pub(crate) const KERNEL: usize = 1;

/// The defences that differ between domains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainDefences {
    /// Its vCPUs run with restricted roots.
    pub split_roots: bool,
    /// Each exit to Rust code discards branch predictions (IBPB).
    pub barrier_at_entry: bool,
    /// Each exit to Rust code clears the history of branches (BHI).
    pub clear_history: bool,
    /// Its page-table entries that are not present must not name memory (L1TF).
    pub refuses_absent_entries: bool,
}

/// The pages of a guest's GDT.
type GdtPages = [Option<TypedRef<Descriptor>>; FIRST_RESERVED_GDT_PAGE];

/// The state of one vCPU that the hardware or the entry code accesses.
///
/// The fields before `handlers` are in the first page, which restricted roots map. The rest of that
/// page is the guest's state, too.
#[repr(C, align(4096))]
pub struct GuestContext {
    pub(crate) registers: Registers,
    /// Paravane's stack pointer while the guest runs; the entry code restores it.
    pub(crate) host_stack: u64,
    /// The stack pointer of the entry code.
    pub(crate) entry_stack: u64,
    /// The address of this context for the entry code.
    pub(crate) entry_address: u64,
    /// The value of CR2 at the last page fault.
    pub(crate) fault_address: u64,
    /// 1 in kernel mode, 0 in user mode.
    pub(crate) in_kernel: u64,
    /// CR3 values for Rust code while the vCPU is active, by mode (see `roots`). That of user mode
    /// is zero if the guest has set none.
    pub(crate) full_roots: [u64; 2],
    /// CR3 values with which the guest runs, by mode.
    pub(crate) guest_roots: [u64; 2],
    /// Stack for entering the kernel from a process.
    pub(crate) kernel_stack: u64,
    /// Address of the `vcpu_info` for the entry code.
    pub(crate) vcpu_info_address: u64,
    pub(crate) fast_path: FastPath,
    pub(crate) fast_path_counts: FastPathCounts,
    /// The handlers or the stack have changed since `fast_path` was derived.
    pub(crate) fast_path_stale: bool,
    /// Whether the fast path may be enabled at all.
    pub(crate) fast_path_allowed: bool,
    /// Whether the guest runs with restricted roots.
    pub(crate) split_roots: bool,
    /// Whether each exit to Rust code discards branch predictions.
    pub(crate) barrier_at_entry: bool,
    /// Whether each exit to Rust code clears the history of branches.
    pub(crate) clear_history: bool,
    /// The value of SPEC_CTRL while the guest runs.
    pub(crate) running_spec_ctrl: u64,
    pub(crate) fs_base: u64,
    pub(crate) gs_base_kernel: u64,
    pub(crate) gs_base_user: u64,
    pub(crate) selectors: Selectors,
    /// Some selectors could not be loaded, and `run` has not reported it yet.
    pub(crate) selectors_refused: bool,
    pub(crate) handlers: Handlers,
    /// Whether the roots are mirrors (`frames::dirty_log`).
    pub(crate) mirrored: bool,
    /// SPEC_CTRL as the guest has set it.
    pub(crate) spec_ctrl: u64,
    /// CR0.TS as set by the guest.
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

const _: () = assert!(core::mem::offset_of!(GuestContext, handlers) <= PAGE_SIZE);

const NO_HANDLER: Handler = Handler::new(0, 0, false, 0);

impl GuestContext {
    /// The initial state: registers zero, flat selectors, kernel mode, no root table.
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
            entry_stack: 0,
            entry_address: 0,
            fault_address: 0,
            in_kernel: 1,
            full_roots: [0; 2],
            guest_roots: [0; 2],
            kernel_stack: 0,
            vcpu_info_address: 0,
            fast_path: FastPath::default(),
            fast_path_counts: FastPathCounts::default(),
            fast_path_stale: true,
            fast_path_allowed: true,
            split_roots: false,
            barrier_at_entry: false,
            clear_history: false,
            running_spec_ctrl: 0,
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
            mirrored: false,
            spec_ctrl: 0,
            task_switched: false,
            control4: 0,
            debug_registers: DEBUG_REGISTERS_AT_REST,
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

    /// Loads the vCPU into this pCPU. Returns the context if it lacks a root table or a
    /// `vcpu_info`.
    pub fn activate(self: Box<Self>) -> Result<Active, Box<Self>> {
        if self.kernel_root.is_none() || self.vcpu_info.is_none() || (self.in_kernel == 0 && self.user_root.is_none()) {
            return Err(self);
        }
        Ok(Active::load(self))
    }

    /// General registers.
    pub const fn registers(&self) -> &Registers {
        &self.registers
    }

    /// General registers. Any value is allowed; values that would be unsafe are corrected on entry.
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
        self.fast_path_stale = true;
        &mut self.handlers
    }

    /// Sets the defences of an inactive vCPU.
    pub const fn set_defences(&mut self, defences: DomainDefences) {
        self.split_roots = defences.split_roots;
        self.barrier_at_entry = defences.barrier_at_entry;
        self.clear_history = defences.clear_history;
    }

    /// Whether the vCPU is in kernel mode, as opposed to user mode.
    pub const fn is_in_kernel(&self) -> bool {
        self.in_kernel != 0
    }

    /// Sets the mode in which an inactive vCPU starts.
    pub fn start_in_kernel(&mut self, kernel: bool) {
        self.in_kernel = u64::from(kernel);
    }

    /// The stack on which the kernel is entered from a process.
    pub const fn kernel_stack(&self) -> u64 {
        self.kernel_stack
    }

    /// The virtual I/O privilege level.
    pub const fn iopl(&self) -> u8 {
        self.iopl
    }

    /// Sets the virtual I/O privilege level (0 to 3). It is shown in the flags that the guest sees,
    /// and has no other effect here.
    pub const fn set_iopl(&mut self, level: u8) {
        self.iopl = level & 3;
    }

    /// Location of the guest's `vcpu_info`: page and offset.
    pub fn vcpu_info(&self) -> Option<(&SharedPage, usize)> {
        self.vcpu_info.as_ref().map(|(page, offset)| (page, *offset))
    }

    /// Moves the `vcpu_info`.
    ///
    /// # Panics
    /// If it would not be completely in the page (64 bytes) or not be aligned to 8.
    pub fn set_vcpu_info(&mut self, page: SharedPage, offset: usize) {
        assert!(offset.is_multiple_of(8) && offset <= 4096 - 64, "a vcpu_info does not fit at {offset}");
        self.vcpu_info = Some((page, offset));
    }

    /// The kernel's root table.
    pub fn kernel_root(&self) -> Option<&TypedRef<L4>> {
        self.kernel_root.as_ref()
    }

    /// The root table of user mode.
    pub fn user_root(&self) -> Option<&TypedRef<L4>> {
        self.user_root.as_ref()
    }

    /// The domain that owns the root tables.
    pub(crate) fn owner(&self) -> DomainId {
        self.kernel_root.as_ref().expect("it has a root table").frame().owner()
    }

    /// Sets the root tables of an inactive vCPU and returns the former ones.
    ///
    /// # Panics
    /// If they belong to two domains.
    pub fn set_roots(
        &mut self,
        kernel: Option<TypedRef<L4>>,
        user: Option<TypedRef<L4>>,
    ) -> (Option<TypedRef<L4>>, Option<TypedRef<L4>>) {
        if let (Some(kernel), Some(user)) = (&kernel, &user) {
            assert_eq!(kernel.frame().owner(), user.frame().owner(), "roots of two domains");
        }
        (core::mem::replace(&mut self.kernel_root, kernel), core::mem::replace(&mut self.user_root, user))
    }

    /// Sets the GDT of an inactive vCPU: up to 14 pages, `entries` descriptors.
    ///
    /// # Panics
    /// If there are more pages than the guest's part of the GDT has.
    pub fn set_gdt(&mut self, pages: impl IntoIterator<Item = TypedRef<Descriptor>>, entries: u16) {
        drop(self.replace_gdt(pages, entries));
    }

    pub(super) fn replace_gdt(
        &mut self,
        pages: impl IntoIterator<Item = TypedRef<Descriptor>>,
        entries: u16,
    ) -> GdtPages {
        let mut slots = [const { None }; FIRST_RESERVED_GDT_PAGE];
        for (slot, page) in slots.iter_mut().zip(pages) {
            *slot = Some(page);
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

    /// Sets the LDT of an inactive vCPU.
    pub const fn set_ldt(&mut self, ldt: Ldt) {
        self.ldt = ldt;
    }

    /// Sets the segment bases of an inactive vCPU: FS, GS of kernel mode, GS of user mode.
    /// Addresses that are not canonical are replaced by zero.
    pub const fn set_segment_bases(&mut self, fs: u64, gs_kernel: u64, gs_user: u64) {
        self.fs_base = canonical_or_zero(fs);
        self.gs_base_kernel = canonical_or_zero(gs_kernel);
        self.gs_base_user = canonical_or_zero(gs_user);
    }

    /// Segment bases of an inactive vCPU: FS, GS of kernel mode, GS of user mode.
    pub const fn segment_bases(&self) -> (u64, u64, u64) {
        (self.fs_base, self.gs_base_kernel, self.gs_base_user)
    }

    /// The extended states that are saved for a vCPU on this processor; zero without XSAVE.
    pub fn supported_states() -> u64 {
        vcpu::supported_states()
    }

    /// Extended state of an inactive vCPU: the enabled states and the XSAVE image of all supported
    /// ones, empty if the processor has no XSAVE.
    pub fn extended_state(&self) -> (u64, &[u8]) {
        (self.extended.xcr0(), self.extended.image())
    }

    /// Sets the extended state of an inactive vCPU. Returns `false` without a change if the
    /// processor would refuse it.
    pub fn set_extended_state(&mut self, xcr0: u64, image: &[u8]) -> bool {
        self.extended.set_image(xcr0, image)
    }

    /// The FXSAVE image of an inactive vCPU: x87 and SSE state.
    pub fn legacy_state(&self) -> &[u8] {
        self.extended.legacy()
    }

    /// Sets x87 and SSE state of an inactive vCPU. Returns `false` without a change if the
    /// processor would refuse it.
    pub fn set_legacy_state(&mut self, image: &[u8; LEGACY]) -> bool {
        self.extended.set_legacy(image)
    }
}
