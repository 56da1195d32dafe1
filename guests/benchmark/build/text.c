#include "count.h"

size text_length(const char *text)
{
    size length = 0;
    while (text[length])
        length++;
    return length;
}

int text_same(const char *a, const char *b, size length)
{
    for (size at = 0; at < length; at++)
        if (a[at] != b[at])
            return 0;
    return 1;
}

size text_number(char *to, size value)
{
    char digits[20];
    size count = 0, at = 0;
    do {
        digits[count++] = '0' + value % 10;
        value /= 10;
    } while (value);
    while (count)
        to[at++] = digits[--count];
    return at;
}
