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

# An access to guest memory that continues at \fixup if it faults.
.macro guest_access fixup, instruction:vararg
20: \instruction
    exception_table_entry 20b, \fixup
.endm

# Ends a sequence of instructions that began at label \start, for a feature. Boot replaces the
# sequence by a no-op, or by a jump to \end, if the feature is not in use.
.macro feature_site feature, start=20, end=21
\end:
    .pushsection .feature_sites, "a"
    .long \start\()b - .
    .byte \end\()b - \start\()b, \feature
    .balign 8
    .popsection
.endm

# A return, from where ITS cannot use it if the feature of plain returns is not in use.
.macro return_from feature
20: ret
    int3
    int3
    feature_site \feature
    jmp __x86_return_thunk
.endm

.macro purge_trap_macros
    .purgem push_registers
    .purgem pop_registers
    .purgem exception_table_entry
    .purgem guest_access
    .purgem feature_site
    .purgem return_from
    .purgem purge_trap_macros
.endm
