#include "model.h"

#include <stdio.h>
#include <string.h>

#include "failure.h"
#include "word_features.h"

static const char *const FIX = "convert the bundle again";
enum { MAX_TOKENS = 1 << 24 };

static void describe_shape(const litert_layout *layout, char *text, size_t size) {
    size_t used = 0;
    for (size_t axis = 0; axis < layout->rank && used + 16 < size; axis++)
        used += (size_t)snprintf(text + used, size - used, "%s%d", axis ? ", " : "",
                                 layout->sizes[axis]);
    text[used] = '\0';
}

static int refuse_shape(const model *model, const char *what, const litert_tensor_type *type) {
    char shape[128];
    describe_shape(&type->layout, shape, sizeof shape);
    fail(FAILURE_BUNDLE, what, model->compiled.path, FIX);
    return fail_found("%s [%s]", type->element_type == LITERT_INT32     ? "int32"
                                 : type->element_type == LITERT_FLOAT32 ? "float32"
                                                                        : "another type",
                      shape);
}

static int check_number_input(model *model) {
    const litert_tensor_type *type = &model->compiled.inputs[model->id_input].type;
    const litert_layout *layout = &type->layout;
    if (type->element_type != LITERT_FLOAT32 || layout->rank != 3 || layout->sizes[0] != 1 ||
        layout->sizes[1] == 0 || layout->sizes[1] > MAX_TOKENS ||
        layout->sizes[2] != (int)model->features) {
        refuse_shape(model, "its input is not that of numeric sequences", type);
        return fail_expected("float32 [1, -1, %zu]", model->features);
    }
    model->fixed_length = layout->sizes[1] > 0 ? (size_t)layout->sizes[1] : 0;
    return 0;
}

static int check_input(model *model) {
    if (model->features) return check_number_input(model);
    const litert_tensor_type *type = &model->compiled.inputs[model->id_input].type;
    const litert_layout *layout = &type->layout;
    if (type->element_type != LITERT_INT32 || layout->rank != 2 || layout->sizes[0] != 1 ||
        layout->sizes[1] == 0 || layout->sizes[1] > MAX_TOKENS) {
        refuse_shape(model, "its input is not that of a text classifier", type);
        return fail_expected("int32 [1, -1]");
    }
    model->fixed_length = layout->sizes[1] > 0 ? (size_t)layout->sizes[1] : 0;
    if (!model->has_word_features) return 0;
    int length = layout->sizes[1];
    type = &model->compiled.inputs[model->row_input].type;
    layout = &type->layout;
    bool has_length = layout->rank == 3 && (layout->sizes[1] == length ||
                                            (length < 0 && layout->sizes[1] < 0));
    if (type->element_type == LITERT_INT32 && has_length && layout->sizes[0] == 1 &&
        layout->sizes[2] == WORD_FEATURES)
        return 0;
    refuse_shape(model, "its input of word features has another shape", type);
    return fail_expected("int32 [1, %d, %d]", length, WORD_FEATURES);
}

// An output's shape is often left unknown; `model_allocate` checks the actual one.
static int check_output(model *model) {
    const litert_tensor_type *type = &model->compiled.outputs[0].type;
    const litert_layout *layout = &type->layout;
    int rank = model->by_token ? 3 : 2;
    bool is_open = (int)layout->rank != rank;
    for (size_t axis = 0; axis < layout->rank; axis++) is_open |= layout->sizes[axis] < 0;
    bool fits = layout->sizes[0] == 1 && layout->sizes[rank - 1] == (int)model->num_labels;
    if (model->by_token) fits = fits && layout->sizes[1] == (int)model->fixed_length;
    if (type->element_type == LITERT_FLOAT32 && (is_open || fits)) return 0;
    refuse_shape(model, "its output is not that of a text classifier", type);
    return fail_expected(model->by_token ? "float32 [1, -1, %zu]" : "float32 [1, %zu]",
                         model->num_labels);
}

int model_open(model *model, const model_settings *settings) {
    memset(model, 0, sizeof *model);
    model->num_labels = settings->num_labels;
    model->by_token = settings->by_token;
    model->features = settings->features;
    compiled_model *compiled = &model->compiled;
    if (compiled_open(compiled, settings->path, settings->signature_key, settings->threads))
        return -1;
    int ids = compiled_find(compiled->inputs, compiled->num_inputs, settings->input_name);
    int rows = compiled_find(compiled->inputs, compiled->num_inputs, "word_features");
    model->has_word_features = settings->has_word_features;
    if (compiled->num_inputs != 1u + settings->has_word_features || compiled->num_outputs != 1 ||
        ids < 0 || (settings->has_word_features && rows < 0) || ids == rows ||
        strcmp(compiled->outputs[0].name, settings->output_name) != 0) {
        fail(FAILURE_BUNDLE, "does not have the expected signature", compiled->path, FIX);
        fail_found("%zu inputs (%s), %zu outputs (%s)", compiled->num_inputs,
                   compiled->inputs[0].name, compiled->num_outputs, compiled->outputs[0].name);
        return fail_expected("%s with input %s%s and output %s", settings->signature_key,
                             settings->input_name,
                             settings->has_word_features ? ", word_features" : "",
                             settings->output_name);
    }
    model->id_input = (size_t)ids;
    model->row_input = (size_t)(rows < 0 ? 0 : rows);
    return check_input(model) || check_output(model) ? -1 : 0;
}

static int check_layout(model *model, const litert_layout *layout, size_t tokens) {
    int expected[3] = {1, (int)tokens, (int)model->num_labels};
    size_t rank = model->by_token ? 3 : 2;
    if (!model->by_token) expected[1] = expected[2];
    bool fits = layout->rank == rank;
    for (size_t axis = 0; fits && axis < rank; axis++) fits = layout->sizes[axis] == expected[axis];
    if (fits) return 0;
    litert_tensor_type type = {LITERT_FLOAT32, *layout};
    refuse_shape(model, "its output does not have the expected shape", &type);
    return model->by_token ? fail_expected("[1, %zu, %zu]", tokens, model->num_labels)
                           : fail_expected("[1, %zu]", model->num_labels);
}

// The buffer of the word features of `shape` [1, tokens, WORD_FEATURES].
static int wrap_rows(model *model, const int *shape) {
    if (!model->has_word_features) return 0;
    size_t count = (size_t)shape[1] * WORD_FEATURES;
    return pages_reserve_array(&model->rows, count, sizeof(int32_t)) ||
                   compiled_wrap(&model->compiled, &model->inputs[model->row_input], LITERT_INT32,
                                 shape, 3, model->rows.bytes, count * sizeof(int32_t))
               ? -1
               : 0;
}

int model_allocate(model *model, size_t tokens) {
    if (model->fixed_length) tokens = model->fixed_length;
    if (tokens == model->allocated) return 0;
    model->allocated = 0;
    compiled_model *compiled = &model->compiled;
    if (tokens == 0 || tokens > MAX_TOKENS) {
        fail(FAILURE_BUNDLE, "cannot take an input of that length", compiled->path, FIX);
        return fail_found("%zu tokens", tokens);
    }
    size_t width = model->features ? model->features : 1;
    size_t rank = model->features ? 3 : 2;
    int element = model->features ? LITERT_FLOAT32 : LITERT_INT32;
    int shape[3] = {1, (int)tokens, model->features ? (int)model->features : WORD_FEATURES};
    litert_layout layout;
    if (compiled_resize(compiled, model->id_input, shape, rank) ||
        (model->has_word_features && compiled_resize(compiled, model->row_input, shape, 3)) ||
        compiled_allocate(compiled, &layout))
        return -1;
    if (check_layout(model, &layout, tokens)) return -1;
    size_t rows = model->by_token ? tokens : 1, columns = model->num_labels;
    if (pages_reserve_array(&model->ids, tokens * width, sizeof(int32_t)) ||
        wrap_rows(model, shape))
        return -1;
    if (pages_reserve_array(&model->logits, rows * columns, sizeof(float))) return -1;
    int output_shape[3] = {1, (int)rows, (int)columns};
    if (!model->by_token) output_shape[1] = (int)columns;
    if (compiled_wrap(compiled, &model->inputs[model->id_input], element, shape, rank,
                      model->ids.bytes, tokens * width * sizeof(int32_t)) ||
        compiled_wrap(compiled, &model->output, LITERT_FLOAT32, output_shape,
                      model->by_token ? 3 : 2, model->logits.bytes,
                      rows * columns * sizeof(float)))
        return -1;
    model->allocated = tokens;
    return 0;
}

int model_infer(model *model, const int32_t *ids, const int32_t *word_rows, size_t count,
                const float **logits, size_t *rows) {
    if (model_allocate(model, count)) return -1;
    compiled_model *compiled = &model->compiled;
    int32_t *input = (int32_t *)(void *)model->ids.bytes;
    size_t used = count < model->allocated ? count : model->allocated;
    memcpy(input, ids, used * sizeof *ids);
    for (size_t index = used; index < model->allocated; index++) input[index] = MODEL_PADDING_ID;
    if (model->has_word_features) {
        size_t row_size = WORD_FEATURES * sizeof(int32_t);
        memset(model->rows.bytes, 0, model->allocated * row_size); // no word's
        if (word_rows) memcpy(model->rows.bytes, word_rows, used * row_size);
    }
    if (compiled_run(compiled, model->inputs, &model->output)) {
        model->allocated = 0;
        return -1;
    }
    *logits = (const float *)(const void *)model->logits.bytes;
    *rows = model->by_token ? used : 1;
    return 0;
}

int model_infer_numbers(model *model, const float *numbers, size_t steps, const float **logits) {
    if (model->fixed_length && steps != model->fixed_length) {
        fail(FAILURE_BUNDLE, "cannot take an input of that length", model->compiled.path, FIX);
        fail_found("%zu steps", steps);
        return fail_expected("%zu", model->fixed_length);
    }
    if (model_allocate(model, steps)) return -1;
    memcpy(model->ids.bytes, numbers, steps * model->features * sizeof *numbers);
    if (compiled_run(&model->compiled, model->inputs, &model->output)) {
        model->allocated = 0;
        return -1;
    }
    *logits = (const float *)(const void *)model->logits.bytes;
    return 0;
}

void model_close(model *model) {
    for (size_t index = 0; index < sizeof model->inputs / sizeof *model->inputs; index++)
        if (model->inputs[index]) litert.DestroyTensorBuffer(model->inputs[index]);
    if (model->output) litert.DestroyTensorBuffer(model->output);
    compiled_close(&model->compiled);
    pages_release(&model->ids);
    pages_release(&model->rows);
    pages_release(&model->logits);
}
