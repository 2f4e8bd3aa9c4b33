#define _GNU_SOURCE
#include "litert.h"

#include <dlfcn.h>

#include "failure.h"
#include "process_memory.h"

litert_functions litert;

static const char *const VERSION = "VERS_1.0";
static const char *const FIX = "name the libLiteRt.so of the package ai-edge-litert 2.1 or newer";

// dlsym returns an object pointer and the table holds function pointers; POSIX makes them
// convertible, ISO C does not: hence the copy of bytes.
static int find(void *library, const char *path, const char *name, void *slot) {
    void *symbol = dlvsym(library, name, VERSION);
    if (!symbol) {
        const char *what = dlsym(library, name) ? "is another version of LiteRT's C library"
                                                : "lacks a function of LiteRT's C library";
        fail(FAILURE_DEVICE, what, path, FIX);
        fail_expected("%s, symbol version %s", name, VERSION);
        return -1;
    }
    *(void **)slot = symbol;
    return 0;
}

static const char *opened_path;

int litert_open(const char *path) {
    if (opened_path) return 0;
    // Functions are bound at their first call: fewer pages of the library are touched at start.
    void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        fail(FAILURE_DEVICE, "cannot load LiteRT's C library", path, FIX);
        return fail_found("%s", reason ? reason : "no reason");
    }
#define FIND(name, ...)                                                                            \
    if (find(library, path, "LiteRt" #name, &litert.name)) return -1;
    LITERT_FUNCTIONS(FIND)
    LITERT_RELEASES(FIND)
#undef FIND
    opened_path = path;
    return 0;
}

void litert_release_code(void) {
    if (opened_path) memory_release_code(opened_path);
}

const char *litert_status_name(int status) {
    switch (status) {
        case 1: return "invalid argument";
        case 2: return "memory allocation failure";
        case 3: return "runtime failure";
        case 4: return "missing input tensor";
        case 5: return "unsupported";
        case 6: return "not found";
        case 8: return "wrong version";
        case 500: return "file input or output";
        case 501: return "invalid flatbuffer";
        case 504: return "compilation";
        case 1000: return "index out of bounds";
        default: return "unknown failure";
    }
}
