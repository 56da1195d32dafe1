# The thunks through which compiled code makes all indirect calls and jumps, and its returns where
# boot leaves those (processor/returns.rs). Their branches are in the upper halves of cache lines,
# where ITS cannot use them.

    .section .text, "ax"

# The target is in r11. Boot leaves the form of the plan (docs/defences.md): a direct jump, a jump
# after LFENCE, or a retpoline, whose speculative path is a loop.
    .balign 64
    .skip 32, 0xcc
    .global __x86_indirect_thunk_r11
__x86_indirect_thunk_r11:
20: jmp r11
    feature_site {plain_branch}
20: lfence
    jmp r11
    feature_site {fenced_branch}
    call 2f
1:  pause
    lfence
    jmp 1b
2:  mov [rsp], r11
    ret
    int3

    .balign 64
    .skip 63, 0xcc
    .global __x86_return_thunk
__x86_return_thunk:
    ret
    int3

# extern "C" fn overwrite_return_stack_buffer()
    .global overwrite_return_stack_buffer
overwrite_return_stack_buffer:
    overwrite_return_stack
    return_from {plain_return}

purge_trap_macros
