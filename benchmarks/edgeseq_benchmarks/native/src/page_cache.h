// Files in the page cache: `evict` drops them before a limited run reads them again.
#ifndef EDGESEQ_PAGE_CACHE_H
#define EDGESEQ_PAGE_CACHE_H

#include <stdint.h>

// Asks the kernel to drop a file's clean, unmapped pages; does nothing when it may not.
void page_cache_evict(const char *path);

// How much of a file is in the page cache, and its size; 0 where the kernel does not tell.
int64_t page_cache_resident_bytes(const char *path, int64_t *size_bytes);

// `edgeseq-runner evict FILE…`: drops all and prints one JSON object with what is left.
int page_cache_main(int count, char **paths);

#endif
