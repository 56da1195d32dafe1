#include "count.h"

static const char text[] =
    "the quick brown fox jumps over the lazy dog and the dog sleeps on while the fox runs into the wood where the owl sits "
    "in a tree and sees the moon above the hill and the stream below and all the stars that are in the sky";

void _start(void)
{
    size start = 0, length = text_length(text);
    for (size at = 0; at <= length; at++) {
        if (text[at] != ' ' && text[at] != 0)
            continue;
        table_add(text + start, at - start);
        start = at + 1;
    }
    char line[64];
    const struct word *most = table_most();
    size end = text_number(line, table_size());
    line[end++] = ' ';
    for (size at = 0; at < most->length; at++)
        line[end++] = most->text[at];
    line[end++] = ' ';
    end += text_number(line + end, most->count);
    line[end++] = '\n';
    write_out(line, end);
    leave(0);
}
