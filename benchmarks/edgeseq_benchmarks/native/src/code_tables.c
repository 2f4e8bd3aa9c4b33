#include "code_tables.h"

#include <string.h>

#include "status.h"

static int damaged(uint32_t offset)
{
    return status_fail("runner.bin: the table at %u is damaged; convert the bundle again", offset);
}

/* The two numbers that a table begins with, and how many bytes follow them. */
static const uint8_t *table_head(const uint8_t *tables, size_t size, uint32_t offset,
                                 uint32_t head[2], size_t *left)
{
    if (offset % 8 != 0 || offset > size || size - offset < 8)
        return NULL;
    memcpy(head, tables + offset, 8);
    *left = size - offset - 8;
    return tables + offset + 8;
}

int class_table_open(class_table *table, const uint8_t *tables, size_t size, uint32_t offset)
{
    uint32_t head[2];
    size_t left;
    const uint8_t *at = table_head(tables, size, offset, head, &left);
    if (!at || head[0] > CODE_BLOCKS ||
        left < CODE_BLOCKS * sizeof(uint16_t) + (size_t)head[0] * CODE_BLOCK)
        return damaged(offset);
    table->index = (const uint16_t *)(const void *)at;
    table->blocks = at + CODE_BLOCKS * sizeof(uint16_t);
    table->num_blocks = head[0];
    return STATUS_OK;
}

int code_map_open(code_map *map, const uint8_t *tables, size_t size, uint32_t offset)
{
    uint32_t head[2];
    size_t left;
    const uint8_t *at = table_head(tables, size, offset, head, &left);
    if (!at || head[0] > CODE_BLOCKS || head[1] > UINT16_MAX)
        return damaged(offset);
    const size_t num_values = CODE_BLOCKS + (size_t)head[0] * CODE_BLOCK;
    const size_t fixed = num_values * sizeof(uint16_t) + (head[1] + (size_t)1) * sizeof(uint32_t);
    if (left < fixed)
        return damaged(offset);
    map->num_blocks = head[0];
    map->num_replacements = head[1];
    map->index = (const uint16_t *)(const void *)at;
    map->blocks = map->index + CODE_BLOCKS;
    map->ends = (const uint32_t *)(const void *)(at + num_values * sizeof(uint16_t));
    map->codes = map->ends + head[1] + 1;
    map->num_codes = map->ends[head[1]];
    if ((left - fixed) / sizeof(uint32_t) < map->num_codes)
        return damaged(offset);
    return STATUS_OK;
}

int pair_table_open(pair_table *table, const uint8_t *tables, size_t size, uint32_t offset)
{
    uint32_t head[2];
    size_t left;
    const uint8_t *at = table_head(tables, size, offset, head, &left);
    if (!at || left / sizeof *table->pairs < head[0])
        return damaged(offset);
    table->pairs = (const uint32_t (*)[3])(const void *)at;
    table->count = head[0];
    return STATUS_OK;
}

const uint32_t *replacement_codes(const code_map *map, unsigned number, size_t *count)
{
    *count = 0;
    if (number == 0 || number > map->num_replacements)
        return map->codes;
    uint32_t start = map->ends[number - 1], end = map->ends[number];
    if (start > end || end > map->num_codes)
        return map->codes;
    *count = end - start;
    return map->codes + start;
}

uint32_t composed_pair(const pair_table *table, uint32_t first, uint32_t second)
{
    uint32_t low = 0, high = table->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const uint32_t *pair = table->pairs[middle];
        if (pair[0] == first && pair[1] == second)
            return pair[2];
        if (pair[0] < first || (pair[0] == first && pair[1] < second))
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}
