/* A small program that is there to be compiled by the row `build`: counts the words of its own text. */
typedef unsigned long size;

struct word {
    const char *text;
    size length;
    size count;
};

/* text.c */
size text_length(const char *text);
int text_same(const char *a, const char *b, size length);
size text_number(char *to, size value);

/* table.c */
void table_add(const char *text, size length);
const struct word *table_most(void);
size table_size(void);

/* system.c */
void write_out(const char *text, size length);
void leave(int status);
