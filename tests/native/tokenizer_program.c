/* Tokenizes what comes on stdin with a runner.bin; for tests, which compare with Python.

   A request is a line, then texts: `text MAX SIZE`, `exact MAX SIZE` and the bytes of one text, or
   `words COUNT` and for each word `SIZE` and its bytes; a newline follows each text. The answer is
   a line: `truncated unknown_only id …`, for words `unknown_only id:word …`, or `error: …`. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner_file.h"
#include "status.h"
#include "tokenizer.h"

enum { WORDS_LIMIT = 1 << 20 };

static char texts[2 * TEXT_LIMIT_BYTES + 2];
static text_span words[WORDS_LIMIT];

static void stop(const char *reason)
{
    fprintf(stderr, "%s\n", reason);
    exit(1);
}

static size_t read_text(char *at, size_t size)
{
    if (size > (size_t)(texts + sizeof texts - at) - 1 || fread(at, 1, size + 1, stdin) != size + 1 ||
        at[size] != '\n')
        stop("a text is cut");
    return size;
}

static void print_ids(const encoding *out)
{
    if (!out->words)
        printf("%d %d", out->truncated, out->unknown_only);
    else
        printf("%d", out->unknown_only);
    for (size_t i = 0; i < out->count; i++) {
        printf(" %d", (int)out->ids[i]);
        if (out->words)
            printf(":%d", (int)out->words[i]);
    }
    putchar('\n');
}

static int read_words(tokenizer *t, size_t count, encoding *out)
{
    char *at = texts;
    if (count > WORDS_LIMIT)
        stop("too many words");
    for (size_t i = 0; i < count; i++) {
        size_t size;
        if (scanf("%zu", &size) != 1 || getchar() != '\n')
            stop("a word has no size");
        words[i] = (text_span){at, read_text(at, size)};
        at += size;
    }
    return tokenizer_encode_words(t, words, count, out);
}

int main(int argc, char **argv)
{
    runner_file *file;
    tokenizer *t;
    if (argc != 2)
        stop("usage: tokenizer_program RUNNER_BIN");
    if (runner_file_open(&file, argv[1]) || tokenizer_open(&t, file)) {
        printf("error: %s\n", status_message());
        return 2;
    }
    char kind[16];
    size_t first, size;
    while (scanf("%15s %zu", kind, &first) == 2) {
        encoding out;
        int failed;
        if (strcmp(kind, "words") == 0) {
            if (getchar() != '\n')
                stop("a request is cut");
            failed = read_words(t, first, &out);
        } else if (strcmp(kind, "token") == 0) {
            text_span token = tokenizer_token(t, (int32_t)first);
            printf("%.*s\n", (int)token.size, token.bytes ? token.bytes : "");
            continue;
        } else {
            if (scanf("%zu", &size) != 1 || getchar() != '\n')
                stop("a request is cut");
            const text_span text = {texts, read_text(texts, size)};
            failed = strcmp(kind, "exact") == 0 ? tokenizer_encode_exact(t, text, first, &out)
                                                : tokenizer_encode(t, text, first, &out);
        }
        if (failed)
            printf("error: %s\n", status_message());
        else
            print_ids(&out);
    }
    tokenizer_close(t);
    runner_file_close(file);
    return 0;
}
