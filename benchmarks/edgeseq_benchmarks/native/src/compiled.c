#include "compiled.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"
#include "process_memory.h"

static const char *const FIX = "convert the bundle again";

// A failure of the runtime, with what it says itself where it says something.
static int runtime_failure(compiled_model *model, const char *what, int status) {
    fail(FAILURE_BUNDLE, what, model->path, FIX);
    fail_found("%s", litert_status_name(status));
    char *messages = NULL;
    if (model->compiled &&
        litert.CompiledModelGetErrorMessages(model->compiled, &messages) == 0 && messages) {
        if (messages[0]) fail_found("%s", messages);
        free(messages); // the library's, by its documentation to be freed by the caller
        litert.CompiledModelClearErrors(model->compiled);
    }
    return -1;
}

// The text of an option is static: the library calls this when it has no more use for it.
static void keep_text(void *text) { (void)text; }

static int add_options(litert_handle options, const char *identifier, char *text) {
    litert_handle opaque = NULL;
    int status = litert.CreateOpaqueOptions(identifier, text, keep_text, &opaque);
    return status ? status : litert.AddOpaqueOptions(options, opaque);
}

static int compile(compiled_model *model, int threads) {
    static char cpu[48], runtime[] = "error_reporter_mode = 2\n"; // messages go into a buffer
    snprintf(cpu, sizeof cpu, "num_threads = %d\n", threads);
    litert_handle options = NULL;
    int status = litert.CreateOptions(&options);
    if (!status) status = litert.SetOptionsHardwareAccelerators(options, LITERT_CPU);
    if (!status) status = add_options(options, "xnnpack", cpu);
    if (!status) status = add_options(options, "runtime_options_string", runtime);
    if (!status)
        status = litert.CreateCompiledModel(model->environment, model->model, options,
                                            &model->compiled);
    if (options) litert.DestroyOptions(options);
    if (status)
        return runtime_failure(model, "is not a TFLite model that this runtime can load", status);
    return 0;
}

static int find_signature(compiled_model *model, const char *key, litert_handle *signature) {
    size_t count = 0;
    int status = litert.GetNumModelSignatures(model->model, &count);
    for (size_t index = 0; !status && index < count; index++) {
        const char *name = NULL;
        status = litert.GetModelSignature(model->model, index, signature);
        if (!status) status = litert.GetSignatureKey(*signature, &name);
        if (!status && name && strcmp(name, key) == 0) {
            model->signature = index;
            return 0;
        }
    }
    fail(FAILURE_BUNDLE, "does not have the expected signature", model->path, FIX);
    fail_found("%zu other signatures", count);
    return fail_expected("%s", key);
}

typedef int (*count_function)(litert_handle, size_t *);
typedef int (*name_function)(litert_handle, size_t, const char **);
typedef int (*by_name_function)(litert_handle, const char *, litert_handle *);
typedef int (*by_index_function)(litert_handle, size_t, litert_handle *);

// One side of a signature: names are the signature's, the order is the subgraph's, since buffers
// are passed in that order.
typedef struct {
    const char *side;
    count_function count, subgraph_count;
    name_function name;
    by_name_function tensor;
    by_index_function subgraph_tensor;
} side_functions;

static int read_tensor(compiled_model *model, const side_functions *side, litert_handle signature,
                       size_t index, litert_handle *handle, compiled_tensor *tensor) {
    const char *name = NULL;
    int status = side->name(signature, index, &name);
    if (status || !name || strlen(name) >= sizeof tensor->name) {
        fail(FAILURE_BUNDLE, "has a tensor whose name cannot be used", model->path, FIX);
        return fail_expected("fewer than %zu characters", sizeof tensor->name);
    }
    memcpy(tensor->name, name, strlen(name) + 1);
    status = side->tensor(signature, name, handle);
    int kind = 0;
    if (!status) status = litert.GetTensorTypeId(*handle, &kind);
    if (!status && kind == 0) // 0: ranked
        status = litert.GetRankedTensorType(*handle, &tensor->type);
    else
        memset(&tensor->type, 0, sizeof tensor->type);
    if (status) return runtime_failure(model, "has a tensor that cannot be read", status);
    if (tensor->type.layout.rank > LITERT_MAX_RANK) tensor->type.layout.rank = LITERT_MAX_RANK;
    return 0;
}

static int read_side(compiled_model *model, const side_functions *side, litert_handle signature,
                     litert_handle subgraph, compiled_tensor *tensors, size_t *count) {
    size_t num_names = 0, num_tensors = 0;
    int status = side->count(signature, &num_names);
    if (!status) status = side->subgraph_count(subgraph, &num_tensors);
    if (status) return runtime_failure(model, "has a signature that cannot be read", status);
    if (num_names != num_tensors || num_names > COMPILED_MAX_TENSORS || num_names == 0) {
        fail(FAILURE_BUNDLE, "has a signature that does not name its graph's tensors", model->path,
             FIX);
        fail_found("%zu names of %zu %s", num_names, num_tensors, side->side);
        return fail_expected("1 to %d", COMPILED_MAX_TENSORS);
    }
    bool is_set[COMPILED_MAX_TENSORS] = {false};
    for (size_t index = 0; index < num_names; index++) {
        compiled_tensor tensor;
        litert_handle named = NULL;
        if (read_tensor(model, side, signature, index, &named, &tensor)) return -1;
        for (size_t position = 0; position < num_tensors; position++) {
            litert_handle placed = NULL;
            status = side->subgraph_tensor(subgraph, position, &placed);
            if (status || placed != named || is_set[position]) continue;
            tensors[position] = tensor;
            is_set[position] = true;
            break;
        }
    }
    for (size_t position = 0; position < num_tensors; position++)
        if (!is_set[position]) {
            fail(FAILURE_BUNDLE, "has a signature that does not name its graph's tensors",
                 model->path, FIX);
            return fail_found("%s %zu has no name", side->side, position);
        }
    *count = num_tensors;
    return 0;
}

static bool keeps_state(int operator) {
    // LSTM, RNN, SVDF, and the sequence operators of one and two directions.
    static const int CODES[] = {16, 24, 27, 35, 44, 46, 52};
    for (size_t index = 0; index < sizeof CODES / sizeof *CODES; index++)
        if (CODES[index] == operator) return true;
    return false;
}

static int refuse_variables(const compiled_model *model) {
    fail(FAILURE_BUNDLE, "keeps its state in variable tensors, which the native runner cannot reset",
         model->path, "measure it with --runner python, or convert it with another lowering");
    return fail_found("a fused recurrent operator");
}

// A later LiteRT may load what 2.3 refuses: then each text would begin with the last one's state.
static int check_operators(compiled_model *model) {
    size_t num_subgraphs = 0;
    int status = litert.GetNumModelSubgraphs(model->model, &num_subgraphs);
    for (size_t index = 0; !status && index < num_subgraphs; index++) {
        litert_handle subgraph = NULL;
        size_t num_operators = 0;
        status = litert.GetModelSubgraph(model->model, index, &subgraph);
        if (!status) status = litert.GetNumSubgraphOps(subgraph, &num_operators);
        for (size_t number = 0; !status && number < num_operators; number++) {
            litert_handle operator = NULL;
            int code = -1;
            status = litert.GetSubgraphOp(subgraph, number, &operator);
            if (!status) status = litert.GetOpCode(operator, &code);
            if (!status && keeps_state(code)) return refuse_variables(model);
        }
    }
    return status ? runtime_failure(model, "has a graph that cannot be read", status) : 0;
}

static int read_signature(compiled_model *model, const char *key) {
    side_functions inputs = {
        "inputs",
        litert.GetNumSignatureInputs,
        litert.GetNumSubgraphInputs,
        litert.GetSignatureInputName,
        litert.GetSignatureInputTensor,
        litert.GetSubgraphInput,
    };
    side_functions outputs = {
        "outputs",
        litert.GetNumSignatureOutputs,
        litert.GetNumSubgraphOutputs,
        litert.GetSignatureOutputName,
        litert.GetSignatureOutputTensor,
        litert.GetSubgraphOutput,
    };
    litert_handle signature = NULL, subgraph = NULL;
    if (find_signature(model, key, &signature)) return -1;
    int status = litert.GetSignatureSubgraph(signature, &subgraph);
    if (status) return runtime_failure(model, "has a signature that cannot be read", status);
    if (read_side(model, &inputs, signature, subgraph, model->inputs, &model->num_inputs))
        return -1;
    if (read_side(model, &outputs, signature, subgraph, model->outputs, &model->num_outputs))
        return -1;
    return check_operators(model);
}

int compiled_open(compiled_model *model, const char *path, const char *key, int threads) {
    memset(model, 0, sizeof *model);
    model->path = path;
    // Errors only, and no search for graphics processors: it would load more libraries.
    const litert_environment_option options[] = {{25, {2, 3}}, {24, {2, LITERT_CPU}}};
    int status = litert.CreateEnvironment(2, options, &model->environment);
    if (status) {
        fail(FAILURE_DEVICE, "LiteRT cannot begin", path, "reinstall ai-edge-litert");
        return fail_found("%s", litert_status_name(status));
    }
    // By path, so that the file is mapped: its pages can be dropped and read again.
    status = litert.CreateModelFromFile(model->environment, path, &model->model);
    if (status == LITERT_UNSUPPORTED) return refuse_variables(model);
    if (status)
        return runtime_failure(model, "is not a TFLite model that this runtime can load", status);
    if (read_signature(model, key) || compile(model, threads)) return -1;
    // The weights are packed by now; rows of an embedding table are mapped again when they are read.
    memory_release_mapping(path);
    // Most of what ran until now was for loading, and never runs again.
    litert_release_code();
    return 0;
}

int compiled_find(const compiled_tensor *tensors, size_t count, const char *name) {
    for (size_t index = 0; index < count; index++)
        if (strcmp(tensors[index].name, name) == 0) return (int)index;
    return -1;
}

static int resize(compiled_model *model, size_t input, const int *sizes, size_t rank) {
    int status = litert.CompiledModelResizeInputTensor(model->compiled, model->signature, input,
                                                       sizes, rank);
    if (!status) return 0;
    runtime_failure(model, "cannot take an input of that length", status);
    return fail_expected("fewer than %d tokens", sizes[rank > 1 ? 1 : 0]);
}

int compiled_resize(compiled_model *model, size_t input, const int *sizes, size_t rank) {
    // A model of a fixed length is not resized: its own length would be refused.
    bool is_open = false;
    const litert_layout *layout = &model->inputs[input].type.layout;
    for (size_t axis = 0; axis < layout->rank; axis++) is_open |= layout->sizes[axis] < 0;
    return is_open ? resize(model, input, sizes, rank) : 0;
}

int compiled_allocate(compiled_model *model, litert_layout *layouts) {
    int status = litert.GetCompiledModelOutputTensorLayouts(model->compiled, model->signature,
                                                            model->num_outputs, layouts, true);
    return status ? runtime_failure(model, "its tensors cannot be allocated", status) : 0;
}

int compiled_wrap(compiled_model *model, litert_handle *buffer, int element, const int *sizes,
                  size_t rank, void *bytes, size_t size) {
    if (*buffer) litert.DestroyTensorBuffer(*buffer);
    *buffer = NULL;
    litert_tensor_type type = {.element_type = element};
    type.layout.rank = (unsigned int)rank & 0x7f;
    for (size_t axis = 0; axis < rank; axis++) type.layout.sizes[axis] = sizes[axis];
    int status = litert.CreateTensorBufferFromHostMemory(&type, bytes, size, NULL, buffer);
    return status ? runtime_failure(model, "its tensors cannot be allocated", status) : 0;
}

int compiled_run(compiled_model *model, litert_handle *inputs, litert_handle *outputs) {
    int status = litert.RunCompiledModel(model->compiled, model->signature, model->num_inputs,
                                         inputs, model->num_outputs, outputs);
    return status ? runtime_failure(model, "inference failed", status) : 0;
}

void compiled_close(compiled_model *model) {
    if (model->compiled) litert.DestroyCompiledModel(model->compiled);
    if (model->model) litert.DestroyModel(model->model);
    if (model->environment) litert.DestroyEnvironment(model->environment);
    model->compiled = model->model = model->environment = NULL;
}
