# Address space of a process: memory is mapped, touched and unmapped; a write to a read-only page
# raises a signal; a page that was writable becomes code; segment bases survive context switches.
# Exits with 0 if all checks pass, else with the number of the check that failed.

.set SYS_WRITE, 1
.set SYS_MMAP, 9
.set SYS_MPROTECT, 10
.set SYS_MUNMAP, 11
.set SYS_RT_SIGACTION, 13
.set SYS_RT_SIGRETURN, 15
.set SYS_SCHED_YIELD, 24
.set SYS_MREMAP, 25
.set SYS_EXIT, 60
.set SYS_ARCH_PRCTL, 158
.set ARCH_SET_GS, 0x1001
.set ARCH_SET_FS, 0x1002
.set SIGFPE, 8
.set SIGSEGV, 11
.set RIP_IN_FRAME, 168
.set PAGES, 16
.set LENGTH, PAGES * 4096

.macro check number
        movl    \number, step(%rip)
.endm

.macro map protection
        mov     $SYS_MMAP, %eax
        xor     %edi, %edi
        mov     $LENGTH, %esi
        mov     \protection, %edx
        mov     $0x22, %r10d
        mov     $-1, %r8
        xor     %r9d, %r9d
        syscall
        cmp     $-4096, %rax
        ja      failed
        mov     %rax, %rbx
.endm

.macro protect protection
        mov     $SYS_MPROTECT, %eax
        mov     %rbx, %rdi
        mov     $LENGTH, %esi
        mov     \protection, %edx
        syscall
        test    %rax, %rax
        jnz     failed
.endm

.macro handle signal, handler
        lea     \handler(%rip), %rax
        mov     %rax, action(%rip)
        mov     $SYS_RT_SIGACTION, %eax
        mov     \signal, %edi
        lea     action(%rip), %rsi
        xor     %edx, %edx
        mov     $8, %r10d
        syscall
        test    %rax, %rax
        jnz     failed
.endm

.text
.globl _start
_start:
        lea     restore(%rip), %rax
        mov     %rax, action+16(%rip)

        # Map, touch, grow and unmap many times.
        check   $1
        mov     $100, %r12d
1:      map     $3
        xor     %ecx, %ecx
2:      cmpb    $0, (%rbx,%rcx)
        jne     failed
        mov     %r12b, (%rbx,%rcx)
        add     $4096, %ecx
        cmp     $LENGTH, %ecx
        jb      2b
        check   $2
        mov     $SYS_MREMAP, %eax
        mov     %rbx, %rdi
        mov     $LENGTH, %esi
        mov     $(LENGTH * 2), %edx
        mov     $1, %r10d
        syscall
        cmp     $-4096, %rax
        ja      failed
        mov     %rax, %rbx
        cmp     %r12b, LENGTH - 4096(%rbx)
        jne     failed
        cmpb    $0, LENGTH * 2 - 4096(%rbx)
        jne     failed
        check   $3
        mov     $SYS_MUNMAP, %eax
        mov     %rbx, %rdi
        mov     $(LENGTH * 2), %esi
        syscall
        test    %rax, %rax
        jnz     failed
        dec     %r12d
        jnz     1b

        # A write to a read-only page raises a signal, whose handler skips the instruction.
        check   $4
        handle  $SIGSEGV, on_fault
        map     $3
        movb    $1, (%rbx)
        protect $1
        mov     $100, %r12d
3:      movb    $2, (%rbx)
        .set    write_length, . - 3b
        dec     %r12d
        jnz     3b
        check   $5
        cmpl    $100, faults(%rip)
        jne     failed
        cmpb    $1, (%rbx)
        jne     failed

        # A page becomes writable again, and then code: mov $42, %eax; ret.
        check   $6
        protect $3
        movl    $0x00002ab8, (%rbx)
        movw    $0xc300, 4(%rbx)
        protect $5
        call    *%rbx
        cmp     $42, %eax
        jne     failed

        # A division by zero raises its own signal.
        check   $7
        handle  $SIGFPE, on_division
        xor     %ecx, %ecx
        mov     $1, %eax
        xor     %edx, %edx
4:      div     %ecx
        .set    division_length, . - 4b
        check   $8
        cmpl    $1, divisions(%rip)
        jne     failed

        # Segment bases are preserved.
        check   $9
        lea     fs_value(%rip), %rsi
        mov     $ARCH_SET_FS, %edi
        mov     $SYS_ARCH_PRCTL, %eax
        syscall
        test    %rax, %rax
        jnz     failed
        lea     gs_value(%rip), %rsi
        mov     $ARCH_SET_GS, %edi
        mov     $SYS_ARCH_PRCTL, %eax
        syscall
        test    %rax, %rax
        jnz     failed
        check   $10
        mov     $1000, %r12d
5:      mov     $SYS_SCHED_YIELD, %eax
        syscall
        cmpq    $0x1111, %fs:0
        jne     failed
        cmpq    $0x2222, %gs:0
        jne     failed
        dec     %r12d
        jnz     5b

        mov     $SYS_WRITE, %eax
        mov     $1, %edi
        lea     message(%rip), %rsi
        mov     $message_length, %edx
        syscall
        xor     %edi, %edi
leave:  mov     $SYS_EXIT, %eax
        syscall
failed: mov     step(%rip), %edi
        jmp     leave

# The third argument points to the interrupted state.
on_fault:
        addq    $write_length, RIP_IN_FRAME(%rdx)
        incl    faults(%rip)
        ret
on_division:
        addq    $division_length, RIP_IN_FRAME(%rdx)
        incl    divisions(%rip)
        ret
restore:
        mov     $SYS_RT_SIGRETURN, %eax
        syscall

.data
message:
        .ascii  "memory: ok\n"
.set message_length, . - message
step:   .long   0
faults: .long   0
divisions:
        .long   0
.balign 8
fs_value:
        .quad   0x1111
gs_value:
        .quad   0x2222
# handler, SA_SIGINFO | SA_RESTORER, restorer, mask
action: .quad   0, 0x04000004, 0, 0

.section .note.GNU-stack,"",@progbits
