// A model file in LiteRT, its one signature, and the tensors of that by name.
#ifndef EDGESEQ_COMPILED_H
#define EDGESEQ_COMPILED_H

#include <stddef.h>

#include "litert.h"

// A model of 48 layers with a KV cache has two states a layer, the ids, positions and a length.
enum { COMPILED_MAX_TENSORS = 128, COMPILED_MAX_NAME = 64 };

typedef struct {
    char name[COMPILED_MAX_NAME];
    litert_tensor_type type; // an open axis has a negative size
} compiled_tensor;

typedef struct {
    const char *path; // for messages; the caller's
    litert_handle environment, model, compiled;
    size_t signature; // its index in the model
    // In the order in which buffers are passed.
    compiled_tensor inputs[COMPILED_MAX_TENSORS], outputs[COMPILED_MAX_TENSORS];
    size_t num_inputs, num_outputs;
} compiled_model;

// Maps the file at `path` and compiles it for the CPU with `threads` threads; the signature must
// be called `key`. Returns -1 with a failure when the file is not such a model, or keeps state in
// variable tensors (fused recurrent operators): LiteRT 2.3 does not load such a file through its C
// interface, and nothing there could reset the state between two texts.
int compiled_open(compiled_model *model, const char *path, const char *key, int threads);

// The index of a tensor by name, or -1.
int compiled_find(const compiled_tensor *tensors, size_t count, const char *name);

// Sets the shape of an input; `compiled_allocate` must follow.
int compiled_resize(compiled_model *model, size_t input, const int *sizes, size_t rank);

// Allocates the tensors and writes the shapes of all outputs to `layouts`.
int compiled_allocate(compiled_model *model, litert_layout *layouts);

// A tensor buffer over `size` bytes of the caller's at an address that is a multiple of
// LITERT_ALIGNMENT; destroys what `*buffer` held before.
int compiled_wrap(compiled_model *model, litert_handle *buffer, int element, const int *sizes,
                  size_t rank, void *bytes, size_t size);

// Runs the model once.
int compiled_run(compiled_model *model, litert_handle *inputs, litert_handle *outputs);

void compiled_close(compiled_model *model);

#endif
