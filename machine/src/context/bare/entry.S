# Entry into Paravane from ring 3, and the return.
#
# While a guest runs, TSS.RSP0 and CpuInfo.registers_end point to the end of the registers in its
# GuestContext. So the frame that the processor (or the system-call entry below) pushes is stored in
# the context itself. Interrupts are off on every entry.
#
# This code runs with the root table that is loaded for the guest, which may be a restricted one. It
# touches only what such a root maps: itself, the interrupt table, this CPU's window without the
# main stack, the first page of the active context and its vcpu_info (by their addresses in the
# window), and guest memory. The full root, which Rust code needs, is loaded in guest_exit.

# System calls enter at the start of this CPU's window, where all entry code is mapped once more, so
# that it reaches CpuInfo by the instruction pointer. Such code jumps within the window; it refers
# to nothing else by the instruction pointer. Exceptions and interrupts enter in the image. There is
# no indirect branch before guest_exit has restricted their prediction.
    .section .entry_page, "ax"
    .balign 4096
entry_page_start:

.macro cpu_info_push field
    push [rip + entry_page_start + {cpu_info} + \field]
.endm

# SYSCALL leaves: rcx = return address, r11 = flags; rsp and all other registers are the guest's.
# Ends at guest_trap_entry with the frame that an exception would have pushed.
.macro record_system_call code_selector, reason
    push {flat_ss}
    cpu_info_push {scratch}
    push r11
    push \code_selector
    push rcx
    push 0
    push \reason
    jmp guest_trap_entry
.endm

# Jumps to \target with rdx saved in the context and the guest's stack pointer in rdx.
.macro leave_entry_page target
    mov [rsp - {registers_size} + {rdx}], rdx
    mov rdx, [rip + entry_page_start + {cpu_info} + {scratch}]
    jmp \target
.endm

# 64-bit system calls of processes and hypercalls continue in the fast path below.
    .global entry_syscall
entry_syscall:
    mov [rip + entry_page_start + {cpu_info} + {scratch}], rsp
    mov rsp, [rip + entry_page_start + {cpu_info} + {registers_end}]
    cmp qword ptr [rsp - {registers_size} + {in_kernel}], 0
    jne 1f
    leave_entry_page system_call_of_process
1:  cmp eax, {iret}
    jne 2f
    leave_entry_page iret_hypercall
2:  leave_entry_page hypercall_of_kernel

    .global entry_syscall32
entry_syscall32:
    mov [rip + entry_page_start + {cpu_info} + {scratch}], rsp
    mov rsp, [rip + entry_page_start + {cpu_info} + {registers_end}]
    record_system_call {flat_cs32}, {reason_syscall32}

# SYSENTER saves nothing: rsp was loaded from its MSR (registers_end is used instead), and flags are
# the guest's except for IF and VM. The interface gives the guest's handler a frame without a return
# address, and with IF set in the flags.
    .global entry_sysenter
entry_sysenter:
    mov rsp, [rip + entry_page_start + {cpu_info} + {registers_end}]
    push {flat_ss}
    push 0
    pushfq
    push 3
    push 0
    push 0
    push {reason_sysenter}
    jmp guest_trap_entry
    .balign 4096

    .section .entry_text, "ax"

# Enables and disables access of ring 0 to user pages.
.macro user_access_begin
20: stac
    feature_site {user_access}
.endm
.macro user_access_end
20: clac
    feature_site {user_access}
.endm

# Loads the root table \wanted of the current mode if \current is another one. Entry: \context = the
# context. Clobbers rcx and rdx.
.macro switch_root context, current, wanted
20: mov rdx, [\context + {in_kernel}]
    mov rcx, [\context + rdx * 8 + \wanted]
    cmp rcx, [\context + rdx * 8 + \current]
    je 21f
    mov cr3, rcx
    inc qword ptr [\context + {count_root_switch}]
    feature_site {split_roots}
.endm

# The last instruction before each return to the guest, but for the return itself: overwrites the
# buffers of which data could be left (MDS and similar flaws). The selector is a writable segment.
.macro clear_buffers
20: verw word ptr [rip + data_selector]
    feature_site {clear_buffers}
.endm

# Overwrites the return stack buffer, so that no return is predicted from a guest's call. Clobbers
# rcx. Entry: rbx = the context. Uses 256 bytes of stack.
.macro fill_return_stack
20: overwrite_return_stack
    inc qword ptr [rbx + {count_return_stack}]
    feature_site {return_stack}
.endm

# Discards the branch predictions that the guest has made, if its domain has the barrier at entry.
# Speculation does not skip it. Entry: rbx = the context. Clobbers rcx, rdx and r8.
.macro barrier_at_entry
20: cmp byte ptr [rbx + {barrier_at_entry}], 0
    je 22f
    mov r8d, eax
    mov ecx, {msr_prediction_command}
    mov eax, {prediction_barrier}
    xor edx, edx
    wrmsr
    mov eax, r8d
    inc qword ptr [rbx + {count_barrier}]
22: lfence
    feature_site {barrier_at_entry_site}
.endm

# Clears the history of branches, if its domain has this at entry. Speculation does not skip it.
# Entry: rbx = the context. Clobbers rcx, rdx and r8.
.macro clear_history_at_entry
47: cmp byte ptr [rbx + {clear_history}], 0
    je 49f
    mov r8d, eax
    clear_history {history_short}, {history_long}, {history_transaction}
    mov eax, r8d
    inc qword ptr [rbx + {count_history}]
49: lfence
    feature_site {clear_history_site}, 47, 48
.endm

# Sets Paravane's SPEC_CTRL, if it differs from the guest's by IBRS. Entry: rbx = the context, rsp =
# the main stack. Clobbers rcx, rdx and r8.
.macro set_own_spec_ctrl
20: mov r8d, eax
    mov rax, rsp
    and rax, {window_mask}
    mov eax, [rax + {cpu_info} + {own_spec_ctrl}]
    write_spec_ctrl {msr_spec_ctrl}
    mov eax, r8d
    inc qword ptr [rbx + {count_spec_ctrl}]
    feature_site {spec_ctrl}
.endm

# Sets the guest's SPEC_CTRL again. From here on, no indirect branch is executed. Entry: rdi = the
# context. Clobbers rax, rcx and rdx.
.macro set_guest_spec_ctrl
20: mov eax, [rdi + {running_spec_ctrl}]
    write_spec_ctrl {msr_spec_ctrl}
    inc qword ptr [rdi + {count_spec_ctrl}]
    feature_site {spec_ctrl}
.endm

# Divides, so that the divider holds the result of no other division (AMD Zen 1). Clobbers rax, rcx
# and rdx.
.macro overwrite_quotient
20: xor edx, edx
    mov eax, 1
    mov ecx, 1
    div ecx
    feature_site {overwrite_quotient}
.endm

    .balign 2
data_selector:
    .word {data_selector}

# Saves the registers that the fast path does not change: all except rax, rbx, rdx and, where they
# have been used, rcx and r11.
.macro save_rest
    mov [rbx + {rdi}], rdi
    mov [rbx + {rsi}], rsi
    mov [rbx + {r8}], r8
    mov [rbx + {r9}], r9
    mov [rbx + {r10}], r10
    mov [rbx + {rbp}], rbp
    mov [rbx + {r12}], r12
    mov [rbx + {r13}], r13
    mov [rbx + {r14}], r14
    mov [rbx + {r15}], r15
.endm

# The prologue of a system call, after leave_entry_page: rbx = the context, rsp = its entry_stack,
# rbx and the guest's stack pointer saved.
.macro enter_context
    mov [rsp - {registers_size} + {rbx}], rbx
    lea rbx, [rsp - {registers_size}]
    mov rsp, [rbx + {entry_stack}]
    mov [rbx + {rsp}], rdx
.endm

# Loads the root table and GS base of the guest's other mode. Clobbers \scratch.
.macro switch_mode in_kernel, cr3, scratch
    mov qword ptr [rbx + {in_kernel}], \in_kernel
    swapgs
    mov \scratch, [rbx + \cr3]
    mov cr3, \scratch
.endm

# A process made a 64-bit system call: enters the guest kernel's handler as `trap::bounce` would.
# Entry: rsp = end of the context's registers, rdx = the process's stack, rcx and r11 as left by
# SYSCALL; rdx is saved.
# Exit: in the handler, or in guest_exit with the process's registers.
    .balign 64
system_call_of_process:
    mov [rsp - {registers_size} + {rax}], rax
    enter_context
    mov rdx, [rbx + {vcpu_info}]
    cmp byte ptr [rdx + {upcall_mask}], 0
    jne system_call_slowly
    mov rax, [rbx + {fast_syscall_stack}]
    test rax, rax
    jz system_call_slowly
    switch_mode 1, {kernel_cr3}, rdx
    user_access_begin
    guest_access system_call_fault, mov qword ptr [rax + {bounce_ss}], {flat_ss}
    mov rdx, [rbx + {rsp}]
    guest_access system_call_fault, mov [rax + {bounce_rsp}], rdx
    guest_access system_call_fault, mov [rax + {bounce_rflags}], r11
    guest_access system_call_fault, mov qword ptr [rax + {bounce_cs}], {flat_cs64}
    guest_access system_call_fault, mov [rax + {bounce_rip}], rcx
    guest_access system_call_fault, mov [rax + {syscall_r11}], r11
    guest_access system_call_fault, mov [rax + {syscall_rcx}], rcx
    user_access_end
    inc qword ptr [rbx + {count_system_call}]
    mov rdx, [rbx + {vcpu_info}]
    mov byte ptr [rdx + {upcall_mask}], 1
    mov rcx, [rbx + {syscall_handler}]
    and r11, {flags_kept}
    lea rsp, [rax + {syscall_rcx}]
    mov rdx, [rbx + {rdx}]
    mov rax, [rbx + {rax}]
    mov rbx, [rbx + {rbx}]
    clear_buffers
    sysretq

system_call_fault:
    user_access_end
    switch_mode 0, {user_cr3}, rdx
system_call_slowly:
    mov [rbx + {rcx}], rcx
    mov [rbx + {r11}], r11
    mov [rbx + {rip}], rcx
    mov [rbx + {rflags}], r11
    mov qword ptr [rbx + {cs}], {flat_cs64}
    mov qword ptr [rbx + {ss}], {flat_ss}
    mov qword ptr [rbx + {vector}], {reason_syscall}
    mov qword ptr [rbx + {error_code}], 0
    save_rest
    jmp guest_exit

# The fast path needs a return address that SYSRET accepts. After an instruction in the upper half,
# where kernels are, it is canonical; after the last instruction of the lower half it is not.
.macro need_canonical_return
    test rcx, rcx
    jns system_call_slowly
.endm

# Returns from a hypercall that is complete, with the result 0.
.macro hypercall_done
    xor eax, eax
    mov rdx, [rbx + {rdx}]
    mov rsp, [rbx + {rsp}]
    mov rbx, [rbx + {rbx}]
    clear_buffers
    sysretq
.endm

# The guest's kernel made a hypercall: completes the shortest of the most frequent ones here.
# Entry: rsp = end of the context's registers, rdx = the kernel's stack; rdx is saved; all other
# registers as left by SYSCALL.
# Exit: after the hypercall, or in guest_exit for the slow path.
    .balign 64
hypercall_of_kernel:
    mov [rsp - {registers_size} + {rax}], rax
    enter_context
    cmp qword ptr [rbx + {fast_irets}], 0
    je system_call_slowly
    cmp rax, {mmuext_op}
    je mmuext_hypercall
    cmp rax, {stack_switch}
    je stack_switch_hypercall
    cmp rax, {set_segment_base}
    jne system_call_slowly

# Sets the user GS base, which is in KERNEL_GS_BASE while the kernel runs.
    cmp edi, {segment_gs_user}
    jne system_call_slowly
    mov rax, rsi
    shl rax, 16
    sar rax, 16
    cmp rax, rsi
    jne system_call_slowly
    need_canonical_return
    mov [rbx + {gs_base_user}], rsi
    mov [rbx + {rcx}], rcx
    mov ecx, {msr_kernel_gs_base}
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
    wrmsr
    mov rcx, [rbx + {rcx}]
    inc qword ptr [rbx + {count_segment_base}]
    hypercall_done

# Sets the kernel stack, as `GuestContext::set_kernel_stack`.
stack_switch_hypercall:
    cmp qword ptr [rbx + {fast_syscall_stack}], 0
    je system_call_slowly
    cmp qword ptr [rbx + {fast_bounce_stack}], 0
    je system_call_slowly
    movabs rax, {hypervisor_end} + {frame_room} + 16
    cmp rsi, rax
    jb system_call_slowly
    need_canonical_return
    mov [rbx + {kernel_stack}], rsi
    mov rax, rsi
    and rax, -16
    mov [rbx + {fast_syscall_stack}], rax
    mov [rbx + {fast_bounce_stack}], rax
    inc qword ptr [rbx + {count_stack_switch}]
    hypercall_done

# Flushes the translation of one page.
mmuext_hypercall:
    # Only one operation, without a count of completed ones, on the calling domain.
    cmp esi, 1
    jne system_call_slowly
    cmp qword ptr [rbx + {rdx}], 0
    jne system_call_slowly
    cmp r10d, {domid_self}
    jne system_call_slowly
    # The list is in guest memory; an address that is not canonical faults.
    mov rax, rdi
    shr rax, {hypervisor_shift}
    cmp eax, {hypervisor_top_bits}
    je system_call_slowly
    # On a mispredicted path the context is read instead.
    cmove rdi, rbx
    need_canonical_return
    user_access_begin
    guest_access mmuext_otherwise, cmp dword ptr [rdi + {mmuext_command}], {invlpg_local}
    jne mmuext_otherwise
    guest_access mmuext_otherwise, mov rax, [rdi + {mmuext_argument}]
    user_access_end
    invlpg [rax]
    inc qword ptr [rbx + {count_page_flush}]
    hypercall_done

mmuext_otherwise:
    user_access_end
    jmp system_call_slowly

# Pushes the frame for iretq from the `iret_context` at rdx, and loads rax, rcx and r11 from there.
# Entry: ecx = CS, r11 = flags of the frame, access to user pages allowed. Exit: access forbidden.
.macro build_iret_frame
    guest_access iret_fault, movzx eax, word ptr [rdx + {iret_ss}]
    or eax, {privilege_mask}
    push rax
    guest_access iret_fault, push [rdx + {iret_rsp}]
    push r11
    push rcx
    guest_access iret_fault, push [rdx + {iret_rip}]
    guest_access iret_fault, mov rcx, [rdx + {iret_rcx}]
    guest_access iret_fault, mov r11, [rdx + {iret_r11}]
    guest_access iret_fault, mov rax, [rdx + {iret_rax}]
    user_access_end
.endm

# The guest's kernel made the iret hypercall: continues at the frame on its stack as `trap::iret`
# would, unless an event is pending that the new mask allows.
# Entry: rsp = end of the context's registers, rdx = the kernel's stack with an `iret_context`; rdx
# is saved; rax, rcx and r11 are free.
# Exit: at the frame's address, or in guest_exit for the slow path.
    .balign 64
iret_hypercall:
    enter_context
    cmp qword ptr [rbx + {fast_irets}], 0
    je iret_slowly
    movabs rax, {hypervisor_end}
    cmp rdx, rax
    jb iret_slowly
    # On a mispredicted path the guest's lowest upper page is read instead of Paravane's memory.
    cmovb rdx, rax
    user_access_begin
    guest_access iret_fault, movzx ecx, word ptr [rdx + {iret_cs}]
    guest_access iret_fault, mov r11, [rdx + {iret_rflags}]
    mov eax, ecx
    and eax, {privilege_mask}
    cmp eax, {privilege_mask}
    jne iret_to_kernel
    cmp qword ptr [rbx + {user_cr3}], 0
    je iret_fault
    bt r11d, {interrupt_flag_bit}
    jnc iret_fault
    mov rax, [rbx + {vcpu_info}]
    cmp byte ptr [rax + {upcall_pending}], 0
    jne iret_fault
    and r11d, {flags_allowed}
    or r11d, {flags_forced}
    guest_access iret_fault, test word ptr [rdx + {iret_flags}], {in_syscall}
    jz 1f
    # The end of a system call: the process expects rcx and r11 as left by SYSRET.
    cmp ecx, {flat_cs32}
    je iret_fault
    guest_access iret_fault, mov rcx, [rdx + {iret_rip}]
    mov rax, rcx
    shr rax, 47
    jnz iret_fault
    guest_access iret_fault, mov rax, [rdx + {iret_rax}]
    mov [rbx + {rax}], rax
    guest_access iret_fault, mov rdx, [rdx + {iret_rsp}]
    user_access_end
    inc qword ptr [rbx + {count_return}]
    mov rax, [rbx + {vcpu_info}]
    mov byte ptr [rax + {upcall_mask}], 0
    switch_mode 0, {user_cr3}, rax
    mov rsp, rdx
    mov rdx, [rbx + {rdx}]
    mov rax, [rbx + {rax}]
    mov rbx, [rbx + {rbx}]
    clear_buffers
    sysretq
    # The end of an exception or interrupt.
1:  build_iret_frame
    inc qword ptr [rbx + {count_return}]
    mov rdx, [rbx + {vcpu_info}]
    mov byte ptr [rdx + {upcall_mask}], 0
    switch_mode 0, {user_cr3}, rdx
    mov rdx, [rbx + {rdx}]
    mov rbx, [rbx + {rbx}]
    clear_buffers
    guest_access iret_refused, iretq

# Entry: from iret_hypercall; ecx = CS, r11 = flags of the frame.
iret_to_kernel:
    # The new mask, stored in r11's slot: events are unmasked if IF is set; then none may be
    # pending.
    mov qword ptr [rbx + {r11}], 1
    bt r11d, {interrupt_flag_bit}
    jnc 2f
    mov rax, [rbx + {vcpu_info}]
    cmp byte ptr [rax + {upcall_pending}], 0
    jne iret_fault
    mov qword ptr [rbx + {r11}], 0
2:  and r11d, {flags_allowed}
    or r11d, {flags_forced}
    or ecx, {privilege_mask}
    build_iret_frame
    inc qword ptr [rbx + {count_kernel_return}]
    mov [rbx + {rax}], rax
    mov rdx, [rbx + {vcpu_info}]
    mov al, [rbx + {r11}]
    mov [rdx + {upcall_mask}], al
    mov rax, [rbx + {rax}]
    mov rdx, [rbx + {rdx}]
    mov rbx, [rbx + {rbx}]
    clear_buffers
    guest_access iret_refused, iretq

# The processor refused the frame on Paravane's stack. It is still in ring 0, and all other
# registers are the guest's already. Saves both in the context.
    .global iret_refused
iret_refused:
    push rbx
    mov rbx, rsp
    and rbx, {window_mask}
    mov rbx, [rbx + {cpu_info} + {context}]
    pop [rbx + {rbx}]
    pop [rbx + {rip}]
    pop [rbx + {cs}]
    pop [rbx + {rflags}]
    pop [rbx + {rsp}]
    pop [rbx + {ss}]
    mov [rbx + {rax}], rax
    mov [rbx + {rcx}], rcx
    mov [rbx + {rdx}], rdx
    mov [rbx + {r11}], r11
    save_rest
    mov eax, 1
    jmp guest_exit_with_status

iret_fault:
    user_access_end
iret_slowly:
    mov qword ptr [rbx + {rax}], {iret}
    mov qword ptr [rbx + {rcx}], 0
    mov qword ptr [rbx + {r11}], 0
    mov qword ptr [rbx + {rip}], 0
    mov qword ptr [rbx + {rflags}], {flags_forced}
    mov qword ptr [rbx + {cs}], {flat_cs64}
    mov qword ptr [rbx + {ss}], {flat_ss}
    mov qword ptr [rbx + {vector}], {reason_syscall}
    mov qword ptr [rbx + {error_code}], 0
    save_rest
    jmp guest_exit

# Entry: ring 0, interrupts off, root table the guest's; stack: vector, error code, rip, cs, rflags,
# rsp, ss at the end of the active context's registers. All other registers are the guest's.
# Exit: returns from guest_enter on Paravane's stack, with the registers saved in the context; or,
# for a page fault that the guest kernel must handle, in its handler.
    .balign 64
    .global guest_trap_entry
guest_trap_entry:
    cmp dword ptr [rsp], {page_fault}
    je guest_page_fault
    push_registers
    mov rbx, rsp
    mov rsp, [rbx + {entry_stack}]
    # Paravane's flags: direction, alignment check, trap and nested task are cleared, whatever the
    # guest's values.
    push 2
    popfq

# Entry: rbx = context, whose registers are saved. Loads the full root and returns from guest_enter.
guest_exit:
    xor eax, eax
guest_exit_with_status:
    # With a restricted root this stack is not mapped; no instruction uses it before the full root.
    mov rsp, [rbx + {host_stack}]
    # Before any return or indirect branch.
27: switch_root rbx, {guest_roots}, {full_roots}
37: barrier_at_entry
    set_own_spec_ctrl
    clear_history_at_entry
    fill_return_stack
    feature_site {branches_at_exit}, 37, 38
    feature_site {any_at_exit}, 27, 28
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    return_from {plain_return}, entry_return_thunk

# The other thunk cannot be reached from the window.
    .balign 64
    .skip 63, 0xcc
entry_return_thunk:
    ret
    int3

# Enters the guest's page fault handler as `trap::bounce` would, unless Paravane may have to handle
# the fault: at an address of its own, or after a write by the guest's kernel to a present page,
# which may be a page table.
guest_page_fault:
    mov [rsp - {vector} + {rbx}], rbx
    lea rbx, [rsp - {vector}]
    mov [rbx + {rax}], rax
    mov [rbx + {rcx}], rcx
    mov [rbx + {rdx}], rdx
    mov rsp, [rbx + {entry_stack}]
    push 2
    popfq
    mov rdx, cr2
    mov [rbx + {fault_address}], rdx
    cmp qword ptr [rbx + {fast_fault_handler}], 0
    je page_fault_slowly
    shr rdx, {hypervisor_shift}
    cmp edx, {hypervisor_top_bits}
    je page_fault_slowly
    mov edx, [rbx + {error_code}]
    test edx, {fault_reserved}
    jnz page_fault_slowly
    cmp qword ptr [rbx + {in_kernel}], 0
    jne 3f
    mov rax, [rbx + {fast_bounce_stack}]
    test rax, rax
    jz page_fault_slowly
    switch_mode 1, {kernel_cr3}, rcx
    or edx, {fault_user}
    mov ecx, 0xffff
    user_access_begin
    guest_access page_fault_of_process, mov [rax + {fault_error_code}], rdx
    inc qword ptr [rbx + {count_fault}]
    mov rdx, [rbx + {vcpu_info}]
    and ecx, [rbx + {cs}]
    jmp 4f
3:  mov eax, edx
    and eax, {fault_write_to_present}
    cmp eax, {fault_write_to_present}
    je page_fault_slowly
    mov rax, [rbx + {rsp}]
    and rax, -16
    movabs rcx, {hypervisor_end} + {frame_room}
    cmp rax, rcx
    jb page_fault_slowly
    cmovb rax, rcx
    and edx, ~{fault_user}
    user_access_begin
    guest_access page_fault_of_kernel, mov [rax + {fault_error_code}], rdx
    inc qword ptr [rbx + {count_kernel_fault}]
    mov rdx, [rbx + {vcpu_info}]
    mov ecx, 0xfffc
    and ecx, [rbx + {cs}]
    # rax = stack, ecx = CS as the handler sees it, rdx = vcpu_info, the mode is the kernel's
4:  mov [rbx + {vector}], rcx
    movzx ecx, byte ptr [rdx + {upcall_mask}]
    shl rcx, 32
    or [rbx + {vector}], rcx
    neg rcx
    sbb ecx, ecx
    # ecx = -1 if events are masked: then the handler sees IF clear.
    and ecx, 1 << {interrupt_flag_bit}
    not ecx
    and ecx, [rbx + {rflags}]
    guest_access page_fault_in_handler, mov [rax + {bounce_rflags}], rcx
    mov rcx, [rbx + {ss}]
    and ecx, 0xffff
    guest_access page_fault_in_handler, mov [rax + {bounce_ss}], rcx
    mov rcx, [rbx + {rsp}]
    guest_access page_fault_in_handler, mov [rax + {bounce_rsp}], rcx
    mov rcx, [rbx + {vector}]
    guest_access page_fault_in_handler, mov [rax + {bounce_cs}], rcx
    mov rcx, [rbx + {rip}]
    guest_access page_fault_in_handler, mov [rax + {bounce_rip}], rcx
    guest_access page_fault_in_handler, mov [rax + {fault_r11}], r11
    mov rcx, [rbx + {rcx}]
    guest_access page_fault_in_handler, mov [rax + {fault_rcx}], rcx
    user_access_end
    mov rcx, [rbx + {fault_address}]
    mov [rdx + {guest_cr2}], rcx
    mov byte ptr [rdx + {upcall_mask}], 1
    mov r11, [rbx + {rflags}]
    and r11, {flags_kept}
    mov rcx, [rbx + {fast_fault_handler}]
    mov rdx, [rbx + {rdx}]
    lea rsp, [rax + {fault_rcx}]
    mov rax, [rbx + {rax}]
    mov rbx, [rbx + {rbx}]
    clear_buffers
    sysretq

# The handler's stack is not writable. The RPL of the CS in `vector` is the mode of the fault: a
# kernel's CS has RPL 0 there.
page_fault_in_handler:
    test byte ptr [rbx + {vector}], {privilege_mask}
    jz page_fault_of_kernel
page_fault_of_process:
    switch_mode 0, {user_cr3}, rdx
page_fault_of_kernel:
    user_access_end
page_fault_slowly:
    mov qword ptr [rbx + {vector}], {page_fault}
    mov [rbx + {r11}], r11
    save_rest
    jmp guest_exit

# extern "C" fn guest_enter(context: *mut GuestContext) -> u32
# Runs the guest of the active context. Returns 0 after an exit of the guest, 1 if the processor
# refused the frame.
    .global guest_enter
guest_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov rdi, [rdi + {entry_address}]
    mov [rdi + {host_stack}], rsp
    mov rsp, [rdi + {entry_stack}]
27: switch_root rdi, {full_roots}, {guest_roots}
37: set_guest_spec_ctrl
    overwrite_quotient
    feature_site {rare_at_enter}, 37, 38
20: inc qword ptr [rdi + {count_buffer_clear}]
    feature_site {clear_buffers}
    feature_site {any_at_enter}, 27, 28
    push [rdi + {ss}]
    push [rdi + {rsp}]
    push [rdi + {rflags}]
    push [rdi + {cs}]
    push [rdi + {rip}]
    mov r15, [rdi + {r15}]
    mov r14, [rdi + {r14}]
    mov r13, [rdi + {r13}]
    mov r12, [rdi + {r12}]
    mov rbp, [rdi + {rbp}]
    mov rbx, [rdi + {rbx}]
    mov r11, [rdi + {r11}]
    mov r10, [rdi + {r10}]
    mov r9, [rdi + {r9}]
    mov r8, [rdi + {r8}]
    mov rax, [rdi + {rax}]
    mov rcx, [rdi + {rcx}]
    mov rdx, [rdi + {rdx}]
    mov rsi, [rdi + {rsi}]
    mov rdi, [rdi + {rdi}]
    clear_buffers
    guest_access 3f, iretq
# The processor refused the frame. It is still in ring 0, and the registers in the context are
# unchanged.
3:  mov rbx, rsp
    and rbx, {window_mask}
    mov rbx, [rbx + {cpu_info} + {context}]
    mov eax, 1
    jmp guest_exit_with_status

purge_trap_macros
