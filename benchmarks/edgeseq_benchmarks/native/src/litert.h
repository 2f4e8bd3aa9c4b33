// LiteRT's C library, opened at run time: the runner is built without it and says in one line when
// it is missing or another version. Declared here is what the runner calls (LiteRT 2.x, symbol
// version VERS_1.0), written from the documentation of the library's interface.
#ifndef EDGESEQ_LITERT_H
#define EDGESEQ_LITERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LITERT_MAX_RANK = 8, LITERT_INT32 = 2, LITERT_FLOAT32 = 1, LITERT_CPU = 1 };
// The status of a file with variable tensors.
enum { LITERT_UNSUPPORTED = 5 };
// Buffers in host memory must begin at a multiple of this.
enum { LITERT_ALIGNMENT = 64 };

typedef void *litert_handle;

typedef struct {
    unsigned int rank : 7;
    unsigned int has_strides : 1;
    int32_t sizes[LITERT_MAX_RANK];
    uint32_t strides[LITERT_MAX_RANK];
} litert_layout;

typedef struct {
    int element_type;
    litert_layout layout;
} litert_tensor_type;

typedef struct {
    int type; // 2: an integer
    int64_t integer;
} litert_any;

typedef struct {
    int tag;
    litert_any value;
} litert_environment_option;

_Static_assert(sizeof(litert_layout) == 68, "the library's layout of 68 bytes");
_Static_assert(sizeof(litert_tensor_type) == 72, "the library's tensor type of 72 bytes");
_Static_assert(sizeof(void *) != 8 || sizeof(litert_environment_option) == 24,
               "the library's option of 24 bytes");

// NAME(arguments) of every function that is called; all return a status, 0 for success, but for
// the ones in LITERT_RELEASES.
#define LITERT_FUNCTIONS(F)                                                                        \
    F(CreateEnvironment, (int count, const litert_environment_option *, litert_handle *))          \
    F(CreateModelFromFile, (litert_handle environment, const char *path, litert_handle *))         \
    F(CreateOptions, (litert_handle *))                                                            \
    F(SetOptionsHardwareAccelerators, (litert_handle options, int accelerators))                   \
    F(CreateOpaqueOptions,                                                                         \
      (const char *identifier, void *payload, void (*release)(void *), litert_handle *))           \
    F(AddOpaqueOptions, (litert_handle options, litert_handle opaque))                             \
    F(CreateCompiledModel,                                                                         \
      (litert_handle environment, litert_handle model, litert_handle options, litert_handle *))    \
    F(GetNumModelSignatures, (litert_handle model, size_t *))                                      \
    F(GetModelSignature, (litert_handle model, size_t index, litert_handle *))                     \
    F(GetSignatureKey, (litert_handle signature, const char **))                                   \
    F(GetSignatureSubgraph, (litert_handle signature, litert_handle *))                            \
    F(GetNumSignatureInputs, (litert_handle signature, size_t *))                                  \
    F(GetNumSignatureOutputs, (litert_handle signature, size_t *))                                 \
    F(GetSignatureInputName, (litert_handle signature, size_t index, const char **))               \
    F(GetSignatureOutputName, (litert_handle signature, size_t index, const char **))              \
    F(GetSignatureInputTensor, (litert_handle signature, const char *name, litert_handle *))       \
    F(GetSignatureOutputTensor, (litert_handle signature, const char *name, litert_handle *))      \
    F(GetNumModelSubgraphs, (litert_handle model, size_t *))                                       \
    F(GetModelSubgraph, (litert_handle model, size_t index, litert_handle *))                      \
    F(GetNumSubgraphInputs, (litert_handle subgraph, size_t *))                                    \
    F(GetNumSubgraphOutputs, (litert_handle subgraph, size_t *))                                   \
    F(GetSubgraphInput, (litert_handle subgraph, size_t index, litert_handle *))                   \
    F(GetSubgraphOutput, (litert_handle subgraph, size_t index, litert_handle *))                  \
    F(GetNumSubgraphOps, (litert_handle subgraph, size_t *))                                       \
    F(GetSubgraphOp, (litert_handle subgraph, size_t index, litert_handle *))                      \
    F(GetOpCode, (litert_handle op, int *))                                                        \
    F(GetTensorTypeId, (litert_handle tensor, int *))                                              \
    F(GetRankedTensorType, (litert_handle tensor, litert_tensor_type *))                           \
    F(CreateTensorBufferFromHostMemory, (const litert_tensor_type *, void *bytes, size_t size,     \
                                         void (*release)(void *), litert_handle *))                \
    F(CompiledModelResizeInputTensor,                                                              \
      (litert_handle model, size_t signature, size_t input, const int *sizes, size_t rank))        \
    F(GetCompiledModelOutputTensorLayouts,                                                         \
      (litert_handle model, size_t signature, size_t count, litert_layout *, bool allocate))       \
    F(RunCompiledModel, (litert_handle model, size_t signature, size_t num_inputs,                 \
                         litert_handle *inputs, size_t num_outputs, litert_handle *outputs))       \
    F(CompiledModelGetErrorMessages, (litert_handle model, char **))                               \
    F(CompiledModelClearErrors, (litert_handle model))

#define LITERT_RELEASES(F)                                                                         \
    F(DestroyTensorBuffer)                                                                         \
    F(DestroyCompiledModel)                                                                        \
    F(DestroyOptions)                                                                              \
    F(DestroyModel)                                                                                \
    F(DestroyEnvironment)

// The library's functions by name: `litert.CreateOptions(…)`.
typedef struct {
#define DECLARE(name, arguments) int(*name) arguments;
    LITERT_FUNCTIONS(DECLARE)
#undef DECLARE
#define DECLARE(name) void (*name)(litert_handle);
    LITERT_RELEASES(DECLARE)
#undef DECLARE
} litert_functions;

extern litert_functions litert;

// Opens the library at `path` and finds all functions. Returns -1 with a failure that names the
// file and what it lacks. A second call does nothing.
int litert_open(const char *path);

// Releases the pages of the library that hold code; what runs again is mapped again.
void litert_release_code(void);

// The name of a status code, for messages.
const char *litert_status_name(int status);

#endif
