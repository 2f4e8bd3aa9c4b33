/* The rows of words from stdin; for tests, which compare with Python.

   `word_features_program ROWS`; a request is a line with the size of a word in bytes, the word, and a
   newline. A line per word: its three rows. */
#include <stdio.h>
#include <stdlib.h>

#include "word_features.h"

int main(int count, char **arguments)
{
    static char bytes[1 << 16];
    size_t size;
    if (count != 2)
        return 1;
    uint32_t num_rows = (uint32_t)atoi(arguments[1]);
    while (scanf("%zu", &size) == 1) {
        char *word = malloc(size ? size : 1); /* as long as it is, for the sanitizer */
        if (getchar() != '\n' || size > sizeof bytes || !word || fread(word, 1, size, stdin) != size)
            return 1;
        int32_t rows[WORD_FEATURES];
        word_features_rows((text_span){word, size}, num_rows, rows);
        printf("%d %d %d\n", (int)rows[0], (int)rows[1], (int)rows[2]);
        free(word);
    }
    return 0;
}
