# Entry from a Multiboot loader: 32-bit protected mode, flat segments, paging off, interrupts off;
# eax = loader magic, ebx = physical address of the boot information.
# Builds boot page tables (2 MiB pages; the first 4 GiB at 0 and at the direct map, the first GiB at
# the image's address), enters long mode and calls start_boot_cpu(magic, information) on the boot
# stack at the image's high address.
.set OFFSET, {image_offset}
.set CR4_PAE, 0x20
.set CR0_LONG_MODE, 0x80010011          # PG, WP, ET, PE
.set EFER_LONG_MODE, 0x100
.set EFER_NO_EXECUTE, 0x800
.set MB1_FLAGS, 0x00010003              # page-aligned modules, memory map, address fields
.set MB2_LENGTH, multiboot2_end - multiboot2_start

.section .boot.header, "a", @progbits
.balign 8
multiboot1_start:
    .long 0x1badb002
    .long MB1_FLAGS
    .long -(0x1badb002 + MB1_FLAGS)
    .long multiboot1_start - OFFSET     # header address
    .long __image_start - OFFSET        # load address
    .long __file_end - OFFSET           # end of loaded bytes
    .long __image_end - OFFSET          # end of zeroed memory
    .long boot_entry - OFFSET           # entry
.balign 8
multiboot2_start:
    .long 0xe85250d6
    .long 0                             # 32-bit protected mode
    .long MB2_LENGTH
    .long -(0xe85250d6 + MB2_LENGTH)
.balign 8                               # address tag
    .short 2, 0
    .long 24
    .long multiboot2_start - OFFSET
    .long __image_start - OFFSET
    .long __file_end - OFFSET
    .long __image_end - OFFSET
.balign 8                               # entry address tag
    .short 3, 0
    .long 12
    .long boot_entry - OFFSET
.balign 8                               # modules page aligned
    .short 6, 0
    .long 8
.balign 8                               # console: EGA text is supported (bit 1); optional
    .short 4, 1
    .long 12
    .long 2
.balign 8                               # framebuffer: of any size and depth; optional
    .short 5, 1
    .long 20
    .long 0, 0, 0
.balign 8                               # end
    .short 0, 0
    .long 8
multiboot2_end:

# Symbols have high addresses. Until paging is on, code uses these low ones.
.set low_bss_start, __bss_start - OFFSET
.set low_bss_end, __bss_end - OFFSET
.set low_boot_l2, boot_l2 - OFFSET
.set low_boot_l3, boot_l3 - OFFSET
.set low_boot_l4, boot_l4 - OFFSET
.set low_ap_entry, ap_entry - OFFSET
.set low_boot_cpuid_81, boot_cpuid_81 - OFFSET
.set low_boot_gdt_pointer, boot_gdt_pointer - OFFSET
.set trampoline_efer_offset, trampoline_efer - trampoline_start
.set trampoline_gdt_offset, trampoline_gdt - trampoline_start
.set low_long_mode, long_mode - OFFSET

# Null selectors in all data segments. Clobbers eax.
.macro clear_segments
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
.endm

.section .boot.text, "ax", @progbits
.code32
.global boot_entry
boot_entry:
    cli
    cld
    mov ebp, eax                        # magic
    mov esi, ebx                        # information

    mov edi, offset low_bss_start
    mov ecx, offset low_bss_end
    sub ecx, edi
    shr ecx, 2
    xor eax, eax
    rep stosd

    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb 9f
    mov eax, 0x80000001
    cpuid
    mov dword ptr [low_boot_cpuid_81], edx   # long mode is bit 29, no-execute bit 20
    bt edx, 29
    jnc 9f

    # four page directories: 2048 pages of 2 MiB, present, writable, large
    mov edi, offset low_boot_l2
    mov eax, 0x83
    mov ecx, 2048
1:  mov dword ptr [edi], eax
    add eax, 0x200000
    add edi, 8
    loop 1b
    mov edi, offset low_boot_l3
    mov eax, offset low_boot_l2 + 3
    mov ecx, 4
2:  mov dword ptr [edi], eax
    add eax, 0x1000
    add edi, 8
    loop 2b
    mov eax, offset low_boot_l3 + 3
    mov dword ptr [low_boot_l4], eax
    mov dword ptr [low_boot_l4 + {image_slot} * 8], eax
    mov dword ptr [low_boot_l4 + {direct_map_slot} * 8], eax

    mov eax, CR4_PAE
    mov cr4, eax
    mov eax, offset low_boot_l4
    mov cr3, eax
    mov ecx, {msr_efer}                 # long mode, and no-execute if supported
    rdmsr
    or eax, EFER_LONG_MODE
    bt dword ptr [low_boot_cpuid_81], 20
    jnc 3f
    or eax, EFER_NO_EXECUTE
3:  wrmsr
    mov eax, CR0_LONG_MODE
    mov cr0, eax
    lgdt [low_boot_gdt_pointer]
    ljmp 8, offset low_long_mode
9:  # no long mode: show "64!" on the screen and stop
    mov dword ptr [0xb8000], 0x4f214f36 # "6!"
    mov dword ptr [0xb8004], 0x4f344f34
    hlt
    jmp 9b

.code64
long_mode:
    movabs rax, offset high_long_mode
    jmp rax
high_long_mode:
    clear_segments
    lea rsp, [rip + boot_stack_top]
    mov edi, ebp
    mov esi, esi
    xor ebp, ebp
    call {start}
    ud2

# Entry of the other CPUs. This code is copied to a page below 1 MiB, whose number is in the
# start-up IPI. It starts in real mode with cs = that page, enters long mode directly with the boot
# tables, and continues at the high address.
.section .rodata.trampoline, "a", @progbits
.code16
.global trampoline_start
trampoline_start:
    cli
    cld
    mov ax, cs
    mov ds, ax
    mov eax, CR4_PAE
    mov cr4, eax
    mov eax, offset low_boot_l4
    mov cr3, eax
    mov ecx, {msr_efer}
    rdmsr
    or eax, dword ptr [trampoline_efer_offset]
    wrmsr
    mov eax, CR0_LONG_MODE
    mov cr0, eax
    lgdtd [trampoline_gdt_offset]
    .byte 0x66, 0xea                    # far jump with 32 bits of offset
    .long low_ap_entry
    .short 8
.balign 8
trampoline_gdt:
    .short boot_gdt_end - boot_gdt - 1
    .long boot_gdt - OFFSET
    .short 0
.global trampoline_efer
trampoline_efer:
    .long EFER_LONG_MODE                # in the copy, with no-execute if supported
.global trampoline_end
trampoline_end:

.section .boot.text, "ax", @progbits
.code64
# Runs at its low address with the boot tables, then at the high address with the final tables and
# its own main stack.
ap_entry:
    movabs rax, offset high_ap_entry
    jmp rax
high_ap_entry:
    mov rax, [rip + {ap_root}]
    mov cr3, rax
    mov rsp, [rip + {ap_stack}]
    clear_segments
    xor ebp, ebp
    call {start_ap}
    ud2

.purgem clear_segments

.section .rodata.boot, "a", @progbits
.balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff            # 64-bit code
    .quad 0x00cf93000000ffff            # data
boot_gdt_end:
boot_gdt_pointer:
    .short boot_gdt_end - boot_gdt - 1
    .quad boot_gdt - OFFSET

.section .bss.boot, "aw", @nobits
.balign 4096
boot_l4: .skip 4096
boot_l3: .skip 4096
boot_l2: .skip 4 * 4096
boot_stack: .skip 512 * 1024
boot_stack_top:
boot_cpuid_81: .skip 4
.text
