/* Prints the token ids of texts that end with a NUL on stdin, one line each: a test of the
   tokenizer on a computer. It is not part of the firmware. */
#include <stdio.h>

#include "tokenizer.h"
#include "vocabulary.h"

enum { TEXT_LIMIT_BYTES = 1 << 20 };

static char text[TEXT_LIMIT_BYTES];

int main(void)
{
    size_t size = 0;
    for (int byte; (byte = getchar()) != EOF;) {
        if (byte != '\0') {
            if (size < sizeof text) text[size++] = (char)byte;
            continue;
        }
        int32_t ids[MAX_TOKENS];
        size_t count = tokenize(text, size, ids);
        for (size_t index = 0; index < count; index++)
            printf("%s%d", index ? " " : "", (int)ids[index]);
        putchar('\n');
        size = 0;
    }
    return 0;
}
