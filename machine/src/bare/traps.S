# The interrupt table's stubs, 16 bytes each, and the entry from ring 0. A stub pushes an error code where the processor
# did not, and its vector; so the stack is: vector, error code, rip, cs, rflags, rsp, ss.
.text
.balign 16
.global trap_stubs
trap_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
        pushq $0
    .endif
    pushq $vector
    .if vector == 2
        jmp trap_nmi
    .elseif vector == 8 || vector == 18
        jmp trap_from_host
    .elseif vector == 1
        jmp trap_debug
    .else
        jmp trap_common
    .endif
    .set vector, vector + 1
.endr

.balign 16
trap_common:
    testb $3, 24(%rsp)
    jnz guest_trap_entry
    # A guest cannot get into virtual 8086 mode in long mode, but QEMU 7.2 lets its IRET do so; its CS is no selector then.
    testl $0x20000, 32(%rsp)
    jnz guest_trap_entry

# Calls host_trap(&mut Registers), which may change the registers of what was interrupted. Leaves the stack as the processor
# pushed it.
.macro call_host_trap
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rax
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    movq %rsp, %rbx
    andq $-16, %rsp
    call {host_trap}
    movq %rbx, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rax
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    addq $16, %rsp
.endm

# Entry: from ring 0, or on a stack of its own from anywhere.
trap_from_host:
    call_host_trap
    iretq

# An NMI, on a stack of its own. What it has interrupted in ring 3 may have lost its code segment meanwhile: the processor
# refuses the return then and lets NMIs in again, the next of which would overwrite this stack. So that return is made from
# the active context's host_stack, which is free while a guest runs, and a refusal ends as that of any other return to a guest.
trap_nmi:
    testb $3, 24(%rsp)
    jz trap_from_host
    call_host_trap
    pushq %rax
    pushq %rcx
    movq %rsp, %rax
    andq ${window_mask}, %rax
    movq {context}(%rax), %rax
    movq {host_stack}(%rax), %rax
.irp word, 0, 1, 2, 3, 4
    movq 16 + 8 * \word(%rsp), %rcx
    movq %rcx, 8 * \word - 40(%rax)
.endr
    movq 8(%rsp), %rcx
    movq %rcx, -48(%rax)
    movq (%rsp), %rcx
    leaq -48(%rax), %rsp
    popq %rax
1:  iretq
    .pushsection .ex_table, "a"
    .long 1b - .
    .long iret_refused - .
    .popsection

# Debug exceptions have a stack of their own, because a guest can make one hit the first instruction of a system-call entry,
# which still has the guest's stack pointer. One that really comes from ring 3 moves to where other entries begin.
trap_debug:
    testb $3, 24(%rsp)
    jz trap_from_host
    pushq %rax
    pushq %rcx
    movq %rsp, %rax
    andq ${window_mask}, %rax
    movq {registers_end}(%rax), %rax
.irp word, 0, 1, 2, 3, 4, 5, 6
    movq 16 + 8 * \word(%rsp), %rcx
    movq %rcx, 8 * \word - 56(%rax)
.endr
    movq 8(%rsp), %rcx
    movq %rcx, -64(%rax)
    movq (%rsp), %rcx
    leaq -64(%rax), %rsp
    popq %rax
    jmp guest_trap_entry
