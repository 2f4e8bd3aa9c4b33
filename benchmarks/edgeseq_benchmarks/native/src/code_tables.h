/* Tables over all code points in two stages, as
   edgeseq/formats/runner_file/code_point_tables.py has them. */
#ifndef EDGESEQ_CODE_TABLES_H
#define EDGESEQ_CODE_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CODE_BLOCK = 128, CODE_BLOCKS = 0x110000 / CODE_BLOCK };

typedef struct {
    const uint16_t *index;
    const uint8_t *blocks;
    uint32_t num_blocks;
} class_table;

typedef struct {
    const uint16_t *index, *blocks;
    const uint32_t *ends, *codes;
    uint32_t num_blocks, num_replacements, num_codes;
} code_map;

typedef struct {
    const uint32_t (*pairs)[3];
    uint32_t count;
} pair_table;

/* `tables` is the section; each fails where a table does not lie within it. */
int class_table_open(class_table *table, const uint8_t *tables, size_t size, uint32_t offset);
int code_map_open(code_map *map, const uint8_t *tables, size_t size, uint32_t offset);
int pair_table_open(pair_table *table, const uint8_t *tables, size_t size, uint32_t offset);

/* The class of a code point <= 0x10FFFF; 0 where the table is damaged. */
static inline unsigned class_of(const class_table *table, uint32_t code)
{
    uint32_t block = table->index[code / CODE_BLOCK];
    return block < table->num_blocks ? table->blocks[block * CODE_BLOCK + code % CODE_BLOCK] : 0;
}

/* The number of a code point's replacement, 0 where it stays. */
static inline unsigned replacement_of(const code_map *map, uint32_t code)
{
    uint32_t block = map->index[code / CODE_BLOCK];
    return block < map->num_blocks ? map->blocks[block * CODE_BLOCK + code % CODE_BLOCK] : 0;
}

/* The codes of a replacement and their number; NONE (layout.h) among them is the code itself. */
const uint32_t *replacement_codes(const code_map *map, unsigned number, size_t *count);

/* What a pair composes to, 0 where it does not. */
uint32_t composed_pair(const pair_table *table, uint32_t first, uint32_t second);

#endif
