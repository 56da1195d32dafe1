# A Multiboot image that prints `cost entry TICKS`, in hexadecimal, as soon as the loader enters it,
# and ends QEMU: the start time for measuring a hypervisor's boot. It uses no stack and no memory.
.set COM1, 0x3f8
.set DEBUG_EXIT, 0xf4

    .intel_syntax noprefix
    .text
    .balign 4
    .long 0x1badb002, 0, -0x1badb002
    .globl _start
_start:
    rdtsc
    mov ebx, eax
    mov ebp, edx
    mov esi, offset text
    mov dx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  mov ecx, 16
3:  mov eax, ebp
    shr eax, 28
    cmp al, 10
    jb 4f
    add al, 'a' - '0' - 10
4:  add al, '0'
    out dx, al
    shld ebp, ebx, 4
    shl ebx, 4
    loop 3b
    mov al, '\n'
    out dx, al
    out DEBUG_EXIT, al
5:  hlt
    jmp 5b

text:
    .asciz "cost entry "
