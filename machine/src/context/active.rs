#![expect(unsafe_code, reason = "moves a context out of the value that deactivates it when dropped")]
//! A vCPU that is loaded into this pCPU.

use alloc::boxed::Box;
use core::mem::ManuallyDrop;

use super::exit::Exit;
use super::guest_context::{GuestContext, Ldt};
use super::handlers::Handlers;
use super::registers::{Registers, Selectors, is_canonical};
use super::{roots, vcpu};
use crate::addr::GuestVirt;
use crate::frames::dirty_log::{Access, Resolution};
use crate::frames::{Descriptor, L4, SharedPage, TypedRef};
use crate::tlb;
use crate::vectors::page_fault;

/// A vCPU loaded into this pCPU.
///
/// Dropping it, like [`Active::deactivate`], saves the live state and unloads the guest's root
/// table, so that the tables may be released.
pub struct Active {
    /// Moved out only when this value ends.
    context: ManuallyDrop<Box<GuestContext>>,
}

impl Active {
    /// Loads the vCPU into this pCPU.
    #[inline]
    pub(super) fn load(context: Box<GuestContext>) -> Self {
        let mut active = Self { context: ManuallyDrop::new(context) };
        active.load_again();
        active
    }

    fn load_again(&mut self) {
        roots::choose(self.context_mut());
        vcpu::activate(self.context_mut());
    }

    fn unload(&mut self) {
        vcpu::deactivate(self.context_mut());
        roots::leave(self.context());
    }

    #[inline]
    pub(crate) fn context_mut(&mut self) -> &mut GuestContext {
        &mut self.context
    }

    /// The saved state, readable while active. Selectors, bases and extended state may be newer in
    /// the processor.
    #[inline]
    pub fn context(&self) -> &GuestContext {
        &self.context
    }

    /// Unloads the vCPU from this pCPU.
    pub fn deactivate(self) -> Box<GuestContext> {
        let mut active = ManuallyDrop::new(self);
        active.unload();
        // SAFETY: `active` ends here without being dropped, so the context is taken only once.
        unsafe { ManuallyDrop::take(&mut active.context) }
    }

    /// Unloads the guest's root table while `wait` runs, so that other pCPUs need not request
    /// flushes from this one.
    pub fn leave_for(&mut self, wait: impl FnOnce()) {
        vcpu::leave_root();
        wait();
        vcpu::enter_root(self.context());
    }

    /// Unloads the vCPU from this pCPU while `act` runs, and loads it again.
    pub(crate) fn set_aside_for(&mut self, act: impl FnOnce()) {
        self.unload();
        act();
        self.load_again();
    }

    /// Runs the guest until an exit.
    pub fn run(&mut self) -> Exit {
        let context = self.context_mut();
        if context.fast_path_stale {
            context.derive_fast_path();
        }
        if core::mem::take(&mut context.selectors_refused) {
            return Exit::BadSelectors;
        }
        roots::refresh(context);
        vcpu::run(context)
    }

    /// Handles a page fault on a mirror table. Returns `None` if the guest retries the access, and
    /// otherwise the error code that the guest's own tables give.
    pub fn resolve_fault(&self, address: GuestVirt, error_code: u32) -> Option<u32> {
        let access = match error_code {
            code if code & page_fault::WRITE != 0 => Access::Write,
            code if code & page_fault::FETCH != 0 => Access::Fetch,
            _ => Access::Read,
        };
        match self.context().resolve(address, access) {
            Some(Resolution::Retry) => None,
            Some(Resolution::Denied { present: true }) => Some(error_code | page_fault::PRESENT),
            Some(Resolution::Denied { present: false }) => Some(error_code & !page_fault::PRESENT),
            None => Some(error_code),
        }
    }

    /// Enables or disables the fast path, in which the entry code completes system calls, page
    /// faults and `iret`. The results are the same, except that the fast path does not show the I/O
    /// privilege level in the flags.
    pub fn allow_fast_path(&mut self, allow: bool) {
        let context = self.context_mut();
        context.fast_path_allowed = allow;
        context.fast_path_stale = true;
    }

    /// General registers.
    pub fn registers(&self) -> &Registers {
        &self.context().registers
    }

    /// General registers. Any value is allowed; values that would be unsafe are corrected on entry.
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
        vcpu::show_vcpu_info(self.context_mut());
    }

    /// Sets the stack on which the kernel is entered from a process.
    pub fn set_kernel_stack(&mut self, stack: u64) {
        self.context_mut().set_kernel_stack(stack);
    }

    /// Sets the virtual I/O privilege level.
    pub fn set_iopl(&mut self, level: u8) {
        self.context_mut().set_iopl(level);
    }

    /// Switches to kernel mode: loads the kernel's root table and GS base.
    pub fn enter_kernel(&mut self) {
        let context = self.context_mut();
        if context.in_kernel == 0 {
            context.in_kernel = 1;
            vcpu::swap_mode(context);
        }
    }

    /// Switches to user mode. Returns `false` without a change if the guest has set no root table
    /// for user mode.
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

    /// Sets and loads the kernel's root table, and returns the former one. The vCPU must be in
    /// kernel mode.
    ///
    /// # Panics
    /// If the root belongs to another domain.
    pub fn set_kernel_root(&mut self, root: TypedRef<L4>) -> Option<TypedRef<L4>> {
        let context = self.context_mut();
        assert_eq!(root.frame().owner(), context.owner(), "another domain's root");
        let former = context.kernel_root.replace(root);
        roots::change(context);
        former
    }

    /// Sets the root table of user mode, or none, and returns the former one.
    ///
    /// # Panics
    /// If the root belongs to another domain.
    pub fn set_user_root(&mut self, root: Option<TypedRef<L4>>) -> Option<TypedRef<L4>> {
        let context = self.context_mut();
        assert!(root.as_ref().is_none_or(|root| root.frame().owner() == context.owner()), "another domain's root");
        if root.is_none() && context.in_kernel == 0 {
            return None;
        }
        let former = core::mem::replace(&mut context.user_root, root);
        if context.in_kernel == 0 || context.mirrored {
            roots::change(context);
        } else {
            // No translation of the former root is cached: loading the kernel's root flushed them.
            roots::choose(context);
        }
        former
    }

    /// Sets the GDT (see [`GuestContext::set_gdt`]) and reloads the window.
    pub fn set_gdt(&mut self, pages: impl IntoIterator<Item = TypedRef<Descriptor>>, entries: u16) {
        let context = self.context_mut();
        let former = context.replace_gdt(pages, entries);
        vcpu::load_descriptor_tables(context);
        // The window maps them no longer.
        drop(former);
    }

    /// Sets the LDT and clears its window.
    pub fn set_ldt(&mut self, ldt: Ldt) {
        let context = self.context_mut();
        context.ldt = ldt;
        vcpu::load_descriptor_tables(context);
    }

    /// Maps a page of the LDT in its window after a fault there. `index` counts pages from the
    /// LDT's base.
    pub fn map_ldt_page(&mut self, index: usize, page: TypedRef<Descriptor>) {
        vcpu::map_ldt_page(self.context_mut(), index, page);
    }

    /// The index of the LDT page for a fault at `address`, if the address is in this pCPU's LDT
    /// window.
    pub fn ldt_page_of_fault(&self, address: GuestVirt) -> Option<usize> {
        vcpu::ldt_page_of_fault(address)
    }

    /// Sets the FS base; returns `false` if the address is not canonical.
    pub fn set_fs_base(&mut self, base: u64) -> bool {
        is_canonical(base) && {
            vcpu::set_fs_base(self.context_mut(), base);
            true
        }
    }

    /// Sets the GS base of kernel mode; returns `false` if the address is not canonical.
    pub fn set_kernel_gs_base(&mut self, base: u64) -> bool {
        is_canonical(base) && {
            vcpu::set_gs_base(self.context_mut(), true, base);
            true
        }
    }

    /// Sets the GS base of user mode; returns `false` if the address is not canonical.
    pub fn set_user_gs_base(&mut self, base: u64) -> bool {
        is_canonical(base) && {
            vcpu::set_gs_base(self.context_mut(), false, base);
            true
        }
    }

    /// Loads the GS selector of user mode (kernel mode has its own base). Returns `false` if the
    /// processor refused it, in which case the null selector is loaded.
    pub fn load_user_gs_selector(&mut self, selector: u16) -> bool {
        vcpu::load_user_gs_selector(self.context_mut(), selector)
    }

    /// The live data segment selectors.
    pub fn live_selectors(&self) -> Selectors {
        vcpu::live_selectors(self.context())
    }

    /// Retries loading the data segments of the last activation. Returns `false` if one was refused
    /// and is null.
    pub fn reload_selectors(&mut self) -> bool {
        vcpu::load_data_segments(self.context_mut())
    }

    /// Live GS base of user mode.
    pub fn live_user_gs_base(&self) -> u64 {
        vcpu::live_user_gs_base(self.context())
    }

    /// Live FS base, GS base of kernel mode, GS base of user mode.
    pub fn live_segment_bases(&self) -> (u64, u64, u64) {
        vcpu::live_segment_bases(self.context())
    }

    /// Sets the enabled extended states. Returns `false` if the processor does not support them or
    /// the combination is illegal.
    pub fn set_xcr0(&mut self, value: u64) -> bool {
        vcpu::set_xcr0(self.context_mut(), value)
    }

    /// The enabled extended states.
    pub fn xcr0(&self) -> u64 {
        self.context().extended.xcr0()
    }

    /// Flushes all translations of this vCPU's root tables on this pCPU.
    pub fn flush(&mut self) {
        tlb::flush_local();
    }

    /// Flushes the translation of one page in both of this vCPU's roots on this pCPU.
    pub fn flush_page(&mut self, address: GuestVirt) {
        vcpu::flush_page(self.context_mut(), address);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.unload();
        // SAFETY: the value ends here, so the context is dropped only once.
        unsafe { ManuallyDrop::drop(&mut self.context) };
    }
}
