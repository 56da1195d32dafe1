# Four processes hold different values in all sixteen vector registers (AVX where the CPU has it,
# else SSE) and in the x87 stack, and yield to each other; all values must be preserved. Exits with
# 0, or with 1 if a value was lost.

.set SYS_WRITE, 1
.set SYS_SCHED_YIELD, 24
.set SYS_FORK, 57
.set SYS_EXIT, 60
.set SYS_WAIT4, 61
.set ROUNDS, 3000

.text
.globl _start
_start:
        mov     $1, %eax
        cpuid
        # OSXSAVE and AVX.
        and     $0x18000000, %ecx
        cmp     $0x18000000, %ecx
        jne     1f
        xor     %ecx, %ecx
        xgetbv
        and     $6, %eax
        cmp     $6, %eax
        sete    has_avx(%rip)
1:      mov     $3, %r12d
2:      mov     $SYS_FORK, %eax
        syscall
        test    %rax, %rax
        js      failed
        jz      exercise
        dec     %r12d
        jnz     2b
        # The parent takes part with number 0, and then waits for its children.
        jmp     exercise
collect:
        mov     $3, %r12d
3:      mov     $SYS_WAIT4, %eax
        mov     $-1, %rdi
        lea     status(%rip), %rsi
        xor     %edx, %edx
        xor     %r10d, %r10d
        syscall
        test    %rax, %rax
        jle     failed
        cmpl    $0, status(%rip)
        jne     failed
        dec     %r12d
        jnz     3b
        mov     $SYS_WRITE, %eax
        mov     $1, %edi
        lea     sse(%rip), %rsi
        mov     $sse_length, %edx
        cmpb    $0, has_avx(%rip)
        je      4f
        lea     avx(%rip), %rsi
        mov     $avx_length, %edx
4:      syscall
        xor     %edi, %edi
        jmp     leave

# %r12 is the process's number here.
exercise:
        mov     %r12, %rax
        inc     %rax
        mov     $0x0123456789abcdef, %rbx
        imul    %rbx, %rax
        lea     values(%rip), %rdi
        mov     $64, %ecx
5:      mov     %rax, (%rdi)
        add     %rbx, %rax
        add     $8, %rdi
        dec     %ecx
        jnz     5b
        mov     %r12d, status(%rip)
        finit
        fildl   status(%rip)
        lea     values(%rip), %rbx
        lea     found(%rip), %rbp
        mov     $ROUNDS, %r13d
        cmpb    $0, has_avx(%rip)
        je      with_sse

.macro each_register do:vararg
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        \do     \n
        .endr
.endm
.macro load_ymm n
        vmovdqu 32*\n(%rbx), %ymm\n
.endm
.macro store_ymm n
        vmovdqu %ymm\n, 32*\n(%rbp)
.endm
.macro load_xmm n
        movdqu  32*\n(%rbx), %xmm\n
.endm
.macro store_xmm n
        movdqu  %xmm\n, 32*\n(%rbp)
.endm

        each_register load_ymm
6:      call    give_way
        each_register store_ymm
        lea     values(%rip), %rsi
        lea     found(%rip), %rdi
        mov     $64, %ecx
        repe cmpsq
        jne     failed
        dec     %r13d
        jnz     6b
        jmp     numbers

with_sse:
        each_register load_xmm
7:      call    give_way
        each_register store_xmm
        xor     %ecx, %ecx
8:      mov     (%rbx,%rcx), %rax
        cmp     %rax, (%rbp,%rcx)
        jne     failed
        mov     8(%rbx,%rcx), %rax
        cmp     %rax, 8(%rbp,%rcx)
        jne     failed
        add     $32, %ecx
        cmp     $512, %ecx
        jb      8b
        dec     %r13d
        jnz     7b

numbers:
        fistpl  status(%rip)
        cmp     %r12d, status(%rip)
        jne     failed
        test    %r12d, %r12d
        jz      collect
        xor     %edi, %edi
leave:  mov     $SYS_EXIT, %eax
        syscall
failed: mov     $1, %edi
        jmp     leave

# Lets others run: by a system call, and sometimes by using up its time slice.
give_way:
        mov     $SYS_SCHED_YIELD, %eax
        syscall
        test    $63, %r13d
        jnz     9f
        mov     $200000, %ecx
10:     dec     %ecx
        jnz     10b
9:      ret

.data
avx:    .ascii  "vectors: ok (avx)\n"
.set avx_length, . - avx
sse:    .ascii  "vectors: ok (sse)\n"
.set sse_length, . - sse
has_avx:
        .byte   0
.balign 64
status: .long   0
.balign 64
values: .fill   64, 8, 0
found:  .fill   64, 8, 0

.section .note.GNU-stack,"",@progbits
