# Access to guest memory and to the guest's segments for Rust code, which runs with a full root.
    .text

# extern "C" fn guest_copy(to, from, length) -> usize
# Copies between Paravane's memory and the guest's. Returns the number of bytes that were not copied
# because an address faulted. The caller has enabled access to user pages.
    .global guest_copy
guest_copy:
    # Requests of mmu_update and copies of instructions have this size. If a word faults, the copy
    # below copies as much as possible.
    cmp rdx, 16
    jne 3f
    guest_access 3f, mov rax, [rsi]
    guest_access 3f, mov rcx, [rsi + 8]
    guest_access 3f, mov [rdi], rax
    guest_access 3f, mov [rdi + 8], rcx
    xor eax, eax
    return_from {plain_return}
3:  mov rcx, rdx
    shr rcx, 3
    and edx, 7
4:  rep movsq
    mov rcx, rdx
5:  rep movsb
    xor eax, eax
    return_from {plain_return}
6:  lea rax, [rdx + rcx*8]
    return_from {plain_return}
7:  mov rax, rcx
    return_from {plain_return}
    exception_table_entry 4b, 6b
    exception_table_entry 5b, 7b

# extern "C" fn load_selectors(selectors: *const Selectors) -> u32
# Loads ds, es, fs and gs; a selector that faults is replaced by null. Returns how many faulted.
.macro load_selector register, offset
8:  mov \register, word ptr [rdi + \offset]
9:
    .pushsection .text.fixup, "ax"
10: xor ecx, ecx
    mov \register, cx
    inc eax
    jmp 9b
    .popsection
    exception_table_entry 8b, 10b
.endm
    .global load_selectors
load_selectors:
    xor eax, eax
    load_selector ds, {ds}
    load_selector es, {es}
    load_selector fs, {fs}
    load_selector gs, {gs}
    return_from {plain_return}

purge_trap_macros
