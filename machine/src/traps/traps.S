# The stubs of the interrupt table, 16 bytes each, and the entry from ring 0. A stub pushes its
# vector, after a zero error code if the processor pushed none. The stack is then: vector, error
# code, rip, cs, rflags, rsp, ss: the end of a `Registers`. The frame_* operands are offsets from
# the vector.
#
# Everything up to the call of host_trap may run with a restricted root (see entry.S).
.section .entry_text, "ax"
.balign 16
.global trap_stubs
trap_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
        push 0
    .endif
    push vector
    .if vector == {nmi}
        jmp trap_nmi
    .elseif vector == {double_fault} || vector == {machine_check}
        jmp trap_from_host
    .elseif vector == {debug}
        jmp trap_debug
    .else
        jmp trap_common
    .endif
    .set vector, vector + 1
.endr

.balign 16
trap_common:
    test byte ptr [rsp + {frame_cs}], {privilege_mask}
    jnz guest_trap_entry
    # A guest cannot enter virtual 8086 mode in long mode, but QEMU 7.2 lets its IRET do so. CS does
    # not contain a selector then.
    test dword ptr [rsp + {frame_rflags}], {virtual_8086}
    jnz guest_trap_entry

# Calls host_trap(&mut Registers), which may change the registers of the interrupted code. Leaves
# the stack as the processor pushed it. If a restricted root is loaded, Paravane's own root is
# loaded during the call: r12 = the root, r13 = zero if it is restricted. With IBRS at each entry,
# Paravane's SPEC_CTRL is set during the call: r14 = the former value. Traps occur before boot has
# removed features: until then, and if they are not in use, the words in CpuInfo are zero.
.macro call_host_trap
    push_registers
    cld
    mov rdi, rsp
    mov rbx, rsp
    mov rax, rsp
    and rax, {window_mask}
    mov r12, cr3
    mov r13, [rax + {restricted_roots}]
    xor r13, r12
    and r13, {restricted_roots_mask}
    jnz 30f
    mov rcx, [rax + {own_root}]
    mov cr3, rcx
30: and rsp, -16
47: cmp dword ptr [rax + {clear_history}], 0
    je 49f
    mov r8, rax
    clear_history {history_short}, {history_long}, {history_transaction}
    mov rax, r8
49: lfence
    feature_site {clear_history_site}, 47, 48
20: mov r15d, [rax + {own_spec_ctrl}]
    test r15d, r15d
    jz 32f
    mov ecx, {msr_spec_ctrl}
    rdmsr
    mov r14d, eax
    mov eax, r15d
    write_spec_ctrl {msr_spec_ctrl}
32: lfence
    feature_site {spec_ctrl}
    call {host_trap}
    test r13, r13
    jnz 31f
    mov cr3, r12
31:
20: test r15d, r15d
    jz 21f
    mov eax, r14d
    write_spec_ctrl {msr_spec_ctrl}
    feature_site {spec_ctrl}
    mov rsp, rbx
    pop_registers
    add rsp, {frame_rip}
.endm

# Moves the last \count words of a frame from this stack to the one whose top is in rax, and
# continues on that stack. \indices counts the words from zero. Entry: rax and rcx were pushed below
# the frame. Exit: both restored, rsp = the frame on the other stack.
.macro move_to_stack count, indices:vararg
.irp index, \indices
    mov rcx, [rsp + 2 * 8 + 8 * \index]
    mov [rax + 8 * \index - 8 * \count], rcx
.endr
    mov rcx, [rsp + 8]
    mov [rax - 8 * \count - 8], rcx
    mov rcx, [rsp]
    lea rsp, [rax - 8 * \count - 8]
    pop rax
.endm

# Entry: from ring 0, or from any ring on a stack of its own.
trap_from_host:
    call_host_trap
    iretq

# An NMI, on a stack of its own. The interrupted vCPU in ring 3 may have lost its code segment in
# the meantime. The processor then refuses the return and unblocks NMIs, and the next NMI would
# overwrite this stack. The return is therefore made from the active context's entry_stack, which is
# free while a guest runs, and a refusal is handled like that of any other return to a guest.
trap_nmi:
    test byte ptr [rsp + {frame_cs}], {privilege_mask}
    jz trap_from_host
    call_host_trap
    push rax
    push rcx
    mov rax, rsp
    and rax, {window_mask}
    mov rax, [rax + {context}]
    mov rax, [rax + {entry_stack}]
    move_to_stack 5, 0, 1, 2, 3, 4
1:  iretq
    exception_table_entry 1b, iret_refused

# Debug exceptions have a stack of their own, because a guest can make one hit the first instruction
# of a system-call entry, where rsp is still the guest's. One that comes from ring 3 is moved to the
# stack of other entries.
trap_debug:
    test byte ptr [rsp + {frame_cs}], {privilege_mask}
    jz trap_from_host
    push rax
    push rcx
    mov rax, rsp
    and rax, {window_mask}
    mov rax, [rax + {registers_end}]
    move_to_stack 7, 0, 1, 2, 3, 4, 5, 6
    jmp guest_trap_entry

.purgem call_host_trap
.purgem move_to_stack
purge_trap_macros
