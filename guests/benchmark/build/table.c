#include "count.h"

#define SLOTS 256

static struct word slots[SLOTS];
static size used;

static size slot_of(const char *text, size length)
{
    size hash = 5381;
    for (size at = 0; at < length; at++)
        hash = hash * 33 + (unsigned char)text[at];
    return hash % SLOTS;
}

void table_add(const char *text, size length)
{
    size slot = slot_of(text, length);
    while (slots[slot].text) {
        struct word *word = &slots[slot];
        if (word->length == length && text_same(word->text, text, length)) {
            word->count++;
            return;
        }
        slot = (slot + 1) % SLOTS;
    }
    slots[slot].text = text;
    slots[slot].length = length;
    slots[slot].count = 1;
    used++;
}

const struct word *table_most(void)
{
    const struct word *most = slots;
    for (size slot = 1; slot < SLOTS; slot++)
        if (slots[slot].count > most->count)
            most = &slots[slot];
    return most;
}

size table_size(void)
{
    return used;
}
