# Entry from a Multiboot loader: 32-bit protected mode, flat segments, paging off, interrupts off; eax = loader magic,
# ebx = physical address of the boot information. Builds boot page tables (2 MiB pages, first 4 GiB at 0, at the direct
# map, and the first GiB at the image's address), goes to long mode and calls start_boot_cpu(magic, information) on the
# boot stack at the image's high address.
#
# Symbols have high addresses; until paging is on, each use takes IMAGE_OFFSET off.

.set OFFSET, {image_offset}
.set MB1_FLAGS, 0x00010003              # modules page aligned, memory information, address fields valid
.set MB2_LENGTH, multiboot2_end - multiboot2_start

.section .boot.header, "a", @progbits
.balign 8
multiboot1_start:
    .long 0x1badb002
    .long MB1_FLAGS
    .long -(0x1badb002 + MB1_FLAGS)
    .long multiboot1_start - OFFSET     # header address
    .long __image_start - OFFSET        # load address
    .long __file_end - OFFSET           # end of what is loaded
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
.balign 8                               # consoles: EGA text will do (bit 1), and none need be there; optional
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

.section .boot.text, "ax", @progbits
.code32
.global boot_entry
boot_entry:
    cli
    cld
    movl %eax, %ebp                     # magic
    movl %ebx, %esi                     # information

    movl $(__bss_start - OFFSET), %edi
    movl $(__bss_end - OFFSET), %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl

    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb 9f
    movl $0x80000001, %eax
    cpuid
    movl %edx, boot_cpuid_81 - OFFSET   # long mode is bit 29, no-execute bit 20
    btl $29, %edx
    jnc 9f

    # four page directories: 2048 pages of 2 MiB, present, writable, large
    movl $(boot_l2 - OFFSET), %edi
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl $(boot_l3 - OFFSET), %edi
    movl $(boot_l2 - OFFSET + 3), %eax
    movl $4, %ecx
2:  movl %eax, (%edi)
    addl $0x1000, %eax
    addl $8, %edi
    loop 2b
    movl $(boot_l3 - OFFSET + 3), %eax
    movl %eax, boot_l4 - OFFSET
    movl %eax, boot_l4 - OFFSET + {image_slot} * 8
    movl %eax, boot_l4 - OFFSET + {direct_map_slot} * 8

    movl $0x20, %eax                    # PAE
    movl %eax, %cr4
    movl $(boot_l4 - OFFSET), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER: long mode, and no-execute where there is such a thing
    rdmsr
    orl $0x100, %eax
    btl $20, boot_cpuid_81 - OFFSET
    jnc 3f
    orl $0x800, %eax
3:  wrmsr
    movl $0x80010011, %eax              # PG, WP, ET, PE
    movl %eax, %cr0
    lgdt boot_gdt_pointer - OFFSET
    ljmp $8, $(4f - OFFSET)
9:  # no long mode: say so on the screen and stop
    movl $0x4f214f36, 0xb8000           # "6!"
    movl $0x4f344f34, 0xb8004
    hlt
    jmp 9b

.code64
4:  movabsq $5f, %rax
    jmp *%rax
5:  xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    leaq boot_stack_top(%rip), %rsp
    movl %ebp, %edi
    movl %esi, %esi
    xorl %ebp, %ebp
    call {start}
    ud2

# Entry of the other CPUs. This part is copied to a page below 1 MiB, whose number the start-up IPI carries; it begins in
# real mode with cs = that page. It goes straight to long mode on the boot tables and from there to the high address.
.section .rodata.trampoline, "a", @progbits
.code16
.global trampoline_start
trampoline_start:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    movl $0x20, %eax
    movl %eax, %cr4
    movl $(boot_l4 - OFFSET), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl trampoline_efer - trampoline_start, %eax
    wrmsr
    movl $0x80010011, %eax
    movl %eax, %cr0
    lgdtl trampoline_gdt - trampoline_start
    ljmpl $8, $(ap_entry - OFFSET)
.balign 8
trampoline_gdt:
    .short boot_gdt_end - boot_gdt - 1
    .long boot_gdt - OFFSET
    .short 0
.global trampoline_efer
trampoline_efer:
    .long 0x100                         # filled in the copy: with no-execute where there is such a thing
.global trampoline_end
trampoline_end:

.section .boot.text, "ax", @progbits
.code64
# Runs at its low address first, on the boot tables; then at the high one, on the final tables and its own main stack.
ap_entry:
    movabsq $6f, %rax
    jmp *%rax
6:  movq {ap_root}(%rip), %rax
    movq %rax, %cr3
    movq {ap_stack}(%rip), %rsp
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    xorl %ebp, %ebp
    call {start_ap}
    ud2

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
