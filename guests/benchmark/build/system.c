#include "count.h"

static long call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

void write_out(const char *text, size length)
{
    call(1, 1, (long)text, (long)length);
}

void leave(int status)
{
    for (;;)
        call(60, status, 0, 0);
}
