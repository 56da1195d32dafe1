# A 32-bit process on a 64-bit kernel. Exits with 0 if all checks pass, else with the number of the
# check that failed. It uses both kernel entries (int 0x80, and the one of the vDSO: sysenter or
# syscall, depending on the CPU), a signal handler, fork, new memory, and descriptors in the GDT and
# the LDT.

.set SYS_EXIT, 1
.set SYS_FORK, 2
.set SYS_WRITE, 4
.set SYS_WAITPID, 7
.set SYS_GETPID, 20
.set SYS_KILL, 37
.set SYS_SIGACTION, 67
.set SYS_MUNMAP, 91
.set SYS_MODIFY_LDT, 123
.set SYS_SCHED_YIELD, 158
.set SYS_MMAP2, 192
.set SYS_SET_THREAD_AREA, 243
.set AT_SYSINFO, 32
.set SIGUSR1, 10
.set SIGTRAP, 5

.macro kernel number, first=$0, second=$0, third=$0
        mov     \third, %edx
        mov     \second, %ecx
        mov     \first, %ebx
        mov     \number, %eax
        int     $0x80
.endm

.macro check number
        movl    \number, step
.endm

.text
.globl _start
_start:
        # The auxiliary vector follows the arguments and the environment.
        mov     (%esp), %eax
        lea     8(%esp,%eax,4), %esi
1:      lodsl
        test    %eax, %eax
        jnz     1b
2:      lodsl
        mov     %eax, %ebx
        lodsl
        test    %ebx, %ebx
        jz      3f
        cmp     $AT_SYSINFO, %ebx
        jne     2b
        mov     %eax, fast_entry
3:
        # Both entries return the same process id, many times.
        check   $1
        kernel  $SYS_GETPID
        test    %eax, %eax
        jle     failed
        mov     %eax, pid
        cmpl    $0, fast_entry
        je      4f
        check   $2
        mov     $2000, %edi
5:      mov     $SYS_GETPID, %eax
        call    *fast_entry
        cmp     %eax, pid
        jne     failed
        dec     %edi
        jnz     5b
4:
        # A signal reaches its handler, and the handler returns.
        check   $3
        movl    $on_signal, action
        kernel  $SYS_SIGACTION, $SIGUSR1, $action
        test    %eax, %eax
        jnz     failed
        mov     pid, %ebp
        kernel  $SYS_KILL, %ebp, $SIGUSR1
        check   $4
        cmpl    $1, signals
        jne     failed

        # A breakpoint is a trap that the kernel turns into a signal.
        check   $5
        kernel  $SYS_SIGACTION, $SIGTRAP, $action
        int3
        check   $6
        cmpl    $2, signals
        jne     failed

        # Private memory, shared with a child until one of them writes.
        check   $7
        mov     $SYS_MMAP2, %eax
        xor     %ebx, %ebx
        mov     $0x40000, %ecx
        mov     $3, %edx
        mov     $0x22, %esi
        mov     $-1, %edi
        xor     %ebp, %ebp
        int     $0x80
        cmp     $-4096, %eax
        ja      failed
        mov     %eax, memory
        mov     %eax, %edi
        mov     $0x10000, %ecx
        mov     $0x5a5a5a5a, %eax
        rep stosl
        check   $8
        kernel  $SYS_FORK
        test    %eax, %eax
        jl      failed
        jz      child
        mov     %eax, %ebp
        kernel  $SYS_WAITPID, %ebp, $status
        check   $9
        cmp     %eax, %ebp
        jne     failed
        cmpl    $0x2a00, status
        jne     failed
        check   $10
        mov     memory, %edi
        mov     $0x10000, %ecx
        mov     $0x5a5a5a5a, %eax
        repe scasl
        jne     failed
        mov     memory, %ebp
        kernel  $SYS_MUNMAP, %ebp, $0x40000
        test    %eax, %eax
        jnz     failed

        # A thread-local segment in the GDT keeps its base across context switches.
        check   $11
        movl    $-1, area
        movl    $data, area+4
        movl    $0xfffff, area+8
        movl    $0x51, area+12
        kernel  $SYS_SET_THREAD_AREA, $area
        test    %eax, %eax
        jnz     failed
        mov     area, %eax
        lea     3(,%eax,8), %eax
        mov     %ax, %gs
        check   $12
        mov     $200, %esi
6:      kernel  $SYS_SCHED_YIELD
        cmpl    $0x12345678, %gs:0
        jne     failed
        dec     %esi
        jnz     6b

        # The same in the LDT, which a kernel may lack.
        check   $13
        movl    $3, area
        kernel  $SYS_MODIFY_LDT, $1, $area, $16
        cmp     $-38, %eax
        je      7f
        test    %eax, %eax
        jnz     failed
        mov     $0x1f, %eax
        mov     %ax, %fs
        check   $14
        mov     $200, %esi
8:      kernel  $SYS_SCHED_YIELD
        cmpl    $0x12345678, %fs:0
        jne     failed
        dec     %esi
        jnz     8b
7:
        kernel  $SYS_WRITE, $1, $message, $message_length
        kernel  $SYS_EXIT, $0

child:
        mov     memory, %edi
        mov     $0x10000, %ecx
        xor     %eax, %eax
        rep stosl
        kernel  $SYS_EXIT, $42

failed:
        mov     step, %ebp
        kernel  $SYS_EXIT, %ebp

on_signal:
        incl    signals
        ret

.data
message:
        .ascii  "compat32: ok\n"
.set message_length, . - message
data:   .long   0x12345678
step:   .long   0
pid:    .long   0
fast_entry:
        .long   0
signals:
        .long   0
status: .long   0
memory: .long   0
area:   .fill   4, 4, 0
# handler, mask, flags, restorer: without one the kernel uses the vDSO's.
action: .fill   4, 4, 0

.section .note.GNU-stack,"",@progbits
