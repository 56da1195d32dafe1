# Halting a CPU, with what has to be done before its core's resources are another thread's.

    .section .text.idle, "ax"

# Returns in eax what has been done: bit 0 if the return stack buffer has been overwritten, bit 1 if
# the buffers have been. VERW comes last, so that what runs after it is as little as possible.
# Clobbers rcx. Uses 256 bytes of stack.
.macro before_idle
    xor eax, eax
20: overwrite_return_stack
    or eax, {return_stack_bit}
    feature_site {return_stack_before_idle}
20: or eax, {buffers_bit}
    verw word ptr [rip + idle_selector]
    feature_site {buffers_before_idle}
.endm

# extern "C" fn halt() -> u32
# Enables interrupts, halts until one has been handled, and disables them. The interrupt shadow of
# STI closes the race before HLT, unless an NMI comes in between: it ends the shadow, and a pending
# interrupt is accepted before HLT. See `skip_halt`.
    .global idle_halt
idle_halt:
    before_idle
    sti
    .global halt_instruction
halt_instruction:
    hlt
    cli
    return_from {plain_return}

# extern "C" fn park() -> !
# Halts forever, with interrupts off. An NMI or a machine check may end a halt.
    .global idle_park
idle_park:
    before_idle
    hlt
    jmp idle_park

    .balign 2
idle_selector:
    .word {data_selector}

    .purgem before_idle
purge_trap_macros
