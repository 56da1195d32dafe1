# Macros of the entry code. Each file that includes them ends with `purge_trap_macros`, since all
# assembly of the image shares one name space.

# Completes a frame that begins with a vector to the registers of a `Registers`.
.macro push_registers
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
.endm

# Undoes push_registers.
.macro pop_registers
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
.endm

# Execution continues at \fixup if the instruction at \instruction faults.
.macro exception_table_entry instruction, fixup
    .pushsection .ex_table, "a"
    .long \instruction - .
    .long \fixup - .
    .popsection
.endm

# Ends a sequence of instructions that began at label \start, for a feature. Boot replaces the
# sequence by a no-op, or by a jump to \end, if the feature is not in use.
.macro feature_site feature, start=20, end=21
\end:
    .pushsection .feature_sites, "a"
    .long \start\()b - .
    .word \end\()b - \start\()b
    .byte \feature, 0
    .popsection
.endm

# Writes SPEC_CTRL. Entry: eax = the value. Clobbers rcx and rdx.
.macro write_spec_ctrl number
    mov ecx, \number
    xor edx, edx
    wrmsr
.endm

# Clears the history of branches (BHI), by the sequence whose feature is in use: calls and jumps
# that are all taken, or a transaction that is aborted. No return is executed. Clobbers rax, rcx and
# rdx. Uses 8 bytes of stack.
.macro clear_history short, long, transaction
20: take_branches 5, 5
    feature_site \short
20: take_branches 12, 7
    feature_site \long
20: xbegin 22f
    xabort 0
22:
    feature_site \transaction
.endm

.macro take_branches outer, inner
    mov ecx, \outer
22: call 24f
23: pause
    lfence
    jmp 23b
24: mov edx, \inner
25: jmp 26f
    nop
26: dec edx
    jnz 25b
    add rsp, 8
    dec ecx
    jnz 22b
.endm

# Overwrites the return stack buffer. Clobbers ecx. Uses 256 bytes of stack.
.macro overwrite_return_stack
    mov ecx, 16
22: call 24f
23: pause
    lfence
    jmp 23b
24: call 26f
25: pause
    lfence
    jmp 25b
26: dec ecx
    jnz 22b
    add rsp, 2 * 16 * 8
.endm

# An access to guest memory that continues at \fixup if it faults.
.macro guest_access fixup, instruction:vararg
20: \instruction
    exception_table_entry 20b, \fixup
.endm

# A return. If the feature of plain returns is not in use, it is made from \thunk, where ITS cannot
# use it.
.macro return_from feature, thunk=__x86_return_thunk
20: ret
    int3
    int3
    feature_site \feature
    jmp \thunk
.endm

.macro purge_trap_macros
    .purgem push_registers
    .purgem pop_registers
    .purgem exception_table_entry
    .purgem feature_site
    .purgem write_spec_ctrl
    .purgem clear_history
    .purgem take_branches
    .purgem overwrite_return_stack
    .purgem guest_access
    .purgem return_from
    .purgem purge_trap_macros
.endm
