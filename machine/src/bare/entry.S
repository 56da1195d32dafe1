# Ways into Paravane from ring 3, and the way back.
#
# While a guest runs, TSS.RSP0 and CpuInfo.registers_end point just past the registers of its GuestContext, so the frame
# that the processor (or the system-call entry below) pushes is the context's own. Interrupts are off on every entry.

# --- The entry page: mapped at the start of each CPU's window, CpuInfo in the page behind it. --------------------------
    .section .entry_page, "ax"
    .balign 4096
entry_page_start:

.macro cpu_info_push field
    push [rip + entry_page_start + {cpu_info} + \field]
.endm

# SYSCALL leaves: rcx = return address, r11 = flags, rsp = the guest's, everything else the guest's.
# Ends at guest_trap_entry with the frame that an exception would have left.
.macro system_call_entry name, code_selector, reason
    .global \name
\name:
    mov [rip + entry_page_start + {cpu_info} + {scratch}], rsp
    mov rsp, [rip + entry_page_start + {cpu_info} + {registers_end}]
    push {flat_ss}
    cpu_info_push {scratch}
    push r11
    push \code_selector
    push rcx
    push 0
    push \reason
    jmp [rip + entry_page_start + {cpu_info} + {trap_entry}]
.endm

system_call_entry entry_syscall, {flat_cs64}, {reason_syscall}
system_call_entry entry_syscall32, {flat_cs32}, {reason_syscall32}

# SYSENTER saves nothing: rsp was loaded from its MSR (registers_end is used instead), flags are the guest's but for IF and VM.
# The interface gives the guest's handler a frame without return address; flags are reported with IF set.
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
    jmp [rip + entry_page_start + {cpu_info} + {trap_entry}]
    .balign 4096

# --- In the image -------------------------------------------------------------------------------------------------------
    .text

# Entry: ring 0, interrupts off, root table the guest's; stack: vector, error code, rip, cs, rflags, rsp, ss at the end of the
# active context's registers. All other registers are the guest's.
# Exit: returns from guest_enter on Paravane's stack, the registers saved in the context.
    .global guest_trap_entry
guest_trap_entry:
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
    mov rbx, rsp
    mov rsp, [rbx + {host_stack}]
    # Paravane's flags: direction, alignment check, trap and nested task clear whatever the guest had.
    push 2
    popfq
    cmp dword ptr [rbx + {vector}], 14
    jne guest_exit
    mov rax, cr2
    mov [rbx + {fault_address}], rax

# Entry: rbx = context, rsp = its host_stack. Returns from guest_enter.
guest_exit:
    xor eax, eax
guest_exit_with_status:
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# extern "C" fn guest_enter(context: *mut GuestContext) -> u32
# Runs the guest of the active context; returns 0 when the guest was left again, 1 if the processor refused the frame.
    .global guest_enter
guest_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rdi + {host_stack}], rsp
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
1:  iretq
2:
    .pushsection .ex_table, "a"
    .long 1b - .
    .long 3f - .
    .popsection
# The processor refused the frame: nothing has left ring 0, the registers in the context are still right.
3:  mov rbx, rsp
    and rbx, {window_mask}
    mov rbx, [rbx + {cpu_info} + {context}]
    mov rsp, [rbx + {host_stack}]
    mov eax, 1
    jmp guest_exit_with_status

# extern "C" fn guest_copy(to, from, length) -> usize
# Copies between Paravane's memory and the guest's; returns how many bytes were not copied because an address faulted.
# The caller has allowed access to user pages.
    .global guest_copy
guest_copy:
    mov rcx, rdx
    shr rcx, 3
    and edx, 7
4:  rep movsq
    mov rcx, rdx
5:  rep movsb
    xor eax, eax
    ret
6:  lea rax, [rdx + rcx*8]
    ret
7:  mov rax, rcx
    ret
    .pushsection .ex_table, "a"
    .long 4b - .
    .long 6b - .
    .long 5b - .
    .long 7b - .
    .popsection

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
    .pushsection .ex_table, "a"
    .long 8b - .
    .long 10b - .
    .popsection
.endm
    .global load_selectors
load_selectors:
    xor eax, eax
    load_selector ds, {ds}
    load_selector es, {es}
    load_selector fs, {fs}
    load_selector gs, {gs}
    ret
