#include "stateful.h"

#include <stdio.h>
#include <string.h>

#include "failure.h"

static const char *const FIX = "convert the bundle again";
enum { MAX_TOKENS = 1 << 24 };

static int32_t *integers(pages *memory) { return (int32_t *)(void *)memory->bytes; }

static int refuse_signature(stateful_model *model, const char *found) {
    fail(FAILURE_BUNDLE, "does not have the signature of a language model", model->compiled.path,
         FIX);
    fail_found("%s", found);
    return fail_expected("input_ids, states and perhaps logit_positions to logits and the states "
                         "with _next");
}

static int check_type(stateful_model *model, const compiled_tensor *tensor, int element,
                      size_t rank) {
    if (tensor->type.element_type == element && tensor->type.layout.rank == rank) return 0;
    return refuse_signature(model, tensor->name);
}

// A state has a shape without an open axis, and goes out as NAME_next.
static int add_state(stateful_model *model, size_t input) {
    compiled_model *compiled = &model->compiled;
    const compiled_tensor *tensor = &compiled->inputs[input];
    char name[COMPILED_MAX_NAME + 8];
    snprintf(name, sizeof name, "%s_next", tensor->name);
    int output = compiled_find(compiled->outputs, compiled->num_outputs, name);
    if (output < 0 || check_type(model, tensor, LITERT_FLOAT32, tensor->type.layout.rank))
        return refuse_signature(model, tensor->name);
    size_t elements = 1;
    for (size_t axis = 0; axis < tensor->type.layout.rank; axis++) {
        int32_t size = tensor->type.layout.sizes[axis];
        if (size <= 0 || elements > ((size_t)1 << 40) / (size_t)size)
            return refuse_signature(model, tensor->name);
        elements *= (size_t)size;
    }
    model_state *state = &model->states[model->num_states++];
    *state = (model_state){input, (size_t)output, elements, model->bank_bytes};
    size_t bytes = elements * sizeof(float);
    model->bank_bytes += (bytes + LITERT_ALIGNMENT - 1) / LITERT_ALIGNMENT * LITERT_ALIGNMENT;
    return 0;
}

static int bind_signature(stateful_model *model) {
    compiled_model *compiled = &model->compiled;
    int ids = compiled_find(compiled->inputs, compiled->num_inputs, "input_ids");
    int positions = compiled_find(compiled->inputs, compiled->num_inputs, "logit_positions");
    int logits = compiled_find(compiled->outputs, compiled->num_outputs, "logits");
    if (ids < 0 || logits < 0) return refuse_signature(model, compiled->inputs[0].name);
    model->ids_input = (size_t)ids;
    model->logits_output = (size_t)logits;
    model->has_positions = positions >= 0;
    model->positions_input = positions >= 0 ? (size_t)positions : 0;
    if (check_type(model, &compiled->inputs[ids], LITERT_INT32, 2)) return -1;
    if (model->has_positions && check_type(model, &compiled->inputs[positions], LITERT_INT32, 1))
        return -1;
    for (size_t input = 0; input < compiled->num_inputs; input++)
        if ((int)input != ids && (int)input != positions && add_state(model, input)) return -1;
    if (compiled->num_outputs != model->num_states + 1)
        return refuse_signature(model, "other outputs");
    return 0;
}

static int wrap_states(stateful_model *model) {
    if (pages_reserve_array(&model->banks, model->bank_bytes, STATE_BANKS)) return -1;
    for (int bank = 0; bank < STATE_BANKS; bank++)
        for (size_t index = 0; index < model->num_states; index++) {
            const model_state *state = &model->states[index];
            const litert_layout *layout = &model->compiled.inputs[state->input].type.layout;
            char *bytes = model->banks.bytes + (size_t)bank * model->bank_bytes + state->offset;
            if (compiled_wrap(&model->compiled, &model->state_buffers[bank][index], LITERT_FLOAT32,
                              layout->sizes, layout->rank, bytes,
                              state->num_elements * sizeof(float)))
                return -1;
        }
    return 0;
}

int stateful_open(stateful_model *model, const char *path, const char *signature_key,
                  size_t vocabulary_size, size_t max_tokens, int threads) {
    memset(model, 0, sizeof *model);
    model->vocabulary_size = vocabulary_size;
    model->window = max_tokens < MAX_TOKENS ? max_tokens : MAX_TOKENS;
    model->held_bank = -1;
    if (compiled_open(&model->compiled, path, signature_key, threads)) return -1;
    if (bind_signature(model) || wrap_states(model)) return -1;
    stateful_reset(model);
    return 0;
}

static void clear_states(stateful_model *model) {
    model->position.num_cached = 0;
    model->position.bank = STATE_ZERO;
}

void stateful_reset(stateful_model *model) {
    model->position.num_history = 0;
    model->held_bank = -1;
    clear_states(model);
}

// The logits must be [1, num_logits, vocabulary], each state that goes out as it came in.
static int check_layouts(stateful_model *model, const litert_layout *layouts, size_t num_logits) {
    const litert_layout *logits = &layouts[model->logits_output];
    if (logits->rank != 3 || logits->sizes[0] != 1 || logits->sizes[1] != (int)num_logits ||
        logits->sizes[2] != (int)model->vocabulary_size) {
        fail(FAILURE_BUNDLE, "its logits do not have the shape of its vocabulary",
             model->compiled.path, FIX);
        fail_found("%u axes, the last of %d", logits->rank,
                   logits->rank ? logits->sizes[logits->rank - 1] : 0);
        return fail_expected("[1, %zu, %zu]", num_logits, model->vocabulary_size);
    }
    for (size_t index = 0; index < model->num_states; index++) {
        const model_state *state = &model->states[index];
        const litert_layout *in = &model->compiled.inputs[state->input].type.layout;
        const litert_layout *out = &layouts[state->output];
        bool is_same = in->rank == out->rank;
        for (size_t axis = 0; is_same && axis < in->rank; axis++)
            is_same = in->sizes[axis] == out->sizes[axis];
        if (!is_same) return refuse_signature(model, model->compiled.inputs[state->input].name);
    }
    return 0;
}

static int wrap_tokens(stateful_model *model, size_t tokens, size_t num_logits) {
    compiled_model *compiled = &model->compiled;
    int ids_shape[2] = {1, (int)tokens}, positions_shape[1] = {(int)num_logits};
    int logits_shape[3] = {1, (int)num_logits, (int)model->vocabulary_size};
    size_t row_bytes = model->vocabulary_size * sizeof(float);
    if (pages_reserve_array(&model->ids, tokens, sizeof(int32_t)) ||
        pages_reserve_array(&model->positions, num_logits, sizeof(int32_t)) ||
        pages_reserve_array(&model->logits, num_logits, row_bytes))
        return -1;
    if (compiled_wrap(compiled, &model->inputs[model->ids_input], LITERT_INT32, ids_shape, 2,
                      model->ids.bytes, tokens * sizeof(int32_t)) ||
        compiled_wrap(compiled, &model->outputs[model->logits_output], LITERT_FLOAT32,
                      logits_shape, 3, model->logits.bytes, num_logits * row_bytes))
        return -1;
    if (!model->has_positions) return 0;
    return compiled_wrap(compiled, &model->inputs[model->positions_input], LITERT_INT32,
                         positions_shape, 1, model->positions.bytes, num_logits * sizeof(int32_t));
}

int stateful_allocate(stateful_model *model, size_t tokens, size_t num_logits) {
    if (tokens == model->allocated_tokens && num_logits == model->allocated_logits) return 0;
    compiled_model *compiled = &model->compiled;
    model->allocated_tokens = model->allocated_logits = 0;
    if (tokens == 0 || num_logits == 0 || tokens > MAX_TOKENS) {
        fail(FAILURE_BUNDLE, "cannot take an input of that length", compiled->path, FIX);
        return fail_found("%zu tokens", tokens);
    }
    int ids_shape[2] = {1, (int)tokens}, positions_shape[1] = {(int)num_logits};
    litert_layout layouts[COMPILED_MAX_TENSORS];
    if (compiled_resize(compiled, model->ids_input, ids_shape, 2)) return -1;
    if (model->has_positions && compiled_resize(compiled, model->positions_input, positions_shape, 1))
        return -1;
    if (compiled_allocate(compiled, layouts) || check_layouts(model, layouts, num_logits) ||
        wrap_tokens(model, tokens, num_logits))
        return -1;
    model->allocated_tokens = tokens;
    model->allocated_logits = num_logits;
    return 0;
}

// The bank that the next states are written to: neither the present one nor the one that is held.
static int free_bank(const stateful_model *model) {
    int bank = STATE_ZERO + 1;
    while (bank == model->position.bank || bank == model->held_bank) bank++;
    return bank;
}

static int run(stateful_model *model, const int32_t *ids, size_t count, size_t num_logits,
               const float **logits) {
    if (stateful_allocate(model, count, num_logits)) return -1;
    memcpy(model->ids.bytes, ids, count * sizeof *ids);
    for (size_t row = 0; row < num_logits; row++)
        integers(&model->positions)[row] = (int32_t)(count - num_logits + row);
    int next = free_bank(model);
    for (size_t index = 0; index < model->num_states; index++) {
        const model_state *state = &model->states[index];
        model->inputs[state->input] = model->state_buffers[model->position.bank][index];
        model->outputs[state->output] = model->state_buffers[next][index];
    }
    if (compiled_run(&model->compiled, model->inputs, model->outputs)) return -1;
    model->position.bank = model->num_states ? next : STATE_ZERO;
    *logits = (const float *)(const void *)model->logits.bytes;
    return 0;
}

// Appends tokens to the history, of which the last `window` remain.
static int remember(stateful_model *model, const int32_t *ids, size_t count) {
    if (pages_reserve_array(&model->history, model->window, sizeof(int32_t))) return -1;
    int32_t *history = integers(&model->history);
    size_t *used = &model->position.num_history;
    size_t excess = *used + count > model->window ? *used + count - model->window : 0;
    if (excess) memmove(history, history + excess, (*used - excess) * sizeof *history);
    memcpy(history + *used - excess, ids, count * sizeof *ids);
    *used += count - excess;
    return 0;
}

// How many tokens of the history's end are not in the cache: the new ones, or where it has no room
// for them, also as many before them as half a window.
static size_t count_uncached(stateful_model *model, size_t num_new) {
    if (model->position.num_cached + num_new > model->window) {
        clear_states(model);
        num_new += (model->window + 1) / 2;
        if (num_new > model->window) num_new = model->window;
        if (num_new > model->position.num_history) num_new = model->position.num_history;
    }
    model->position.num_cached += num_new;
    return num_new;
}

int stateful_feed(stateful_model *model, const int32_t *ids, size_t count, size_t num_logits,
                  const float **logits) {
    if (!model->has_positions) {
        if (run(model, ids, count, count, logits)) return -1;
        *logits += (count - num_logits) * model->vocabulary_size;
        return 0;
    }
    if (count > model->window) {
        fail(FAILURE_BUNDLE, "takes fewer tokens at a time", model->compiled.path, FIX);
        fail_found("%zu tokens", count);
        return fail_expected("<= %zu", model->window);
    }
    if (remember(model, ids, count)) return -1;
    size_t num_history = model->position.num_history;
    size_t used = model->num_states ? count_uncached(model, count) : num_history;
    return run(model, integers(&model->history) + num_history - used, used, num_logits, logits);
}

static int save_history(stateful_model *model) {
    if (pages_reserve_array(&model->saved_history, model->window, sizeof(int32_t))) return -1;
    if (model->position.num_history)
        memcpy(model->saved_history.bytes, model->history.bytes,
               model->position.num_history * sizeof(int32_t));
    return 0;
}

int stateful_prefill(stateful_model *model, const int32_t *ids, size_t count) {
    const float *logits;
    stateful_reset(model);
    size_t prefix = count - 1, begin = 0;
    if (!model->has_positions) {
        for (; begin < prefix; begin += STATEFUL_CHUNK_TOKENS) {
            size_t left = prefix - begin;
            size_t size = left < STATEFUL_CHUNK_TOKENS ? left : STATEFUL_CHUNK_TOKENS;
            if (stateful_feed(model, ids + begin, size, 1, &logits)) return -1;
        }
    } else {
        begin = prefix >= model->window ? prefix + 1 - model->window : 0;
        if (remember(model, ids + begin, prefix - begin)) return -1;
        if (model->position.num_history && model->num_states) {
            size_t used = count_uncached(model, model->position.num_history);
            const int32_t *end = integers(&model->history) + model->position.num_history;
            if (run(model, end - used, used, 1, &logits)) return -1;
        }
        if (save_history(model)) return -1;
    }
    model->saved_position = model->position;
    model->held_bank = model->position.bank;
    return 0;
}

int stateful_feed_last(stateful_model *model, int32_t last, const float **logits) {
    model->position = model->saved_position;
    if (model->position.num_history)
        memcpy(model->history.bytes, model->saved_history.bytes,
               model->position.num_history * sizeof(int32_t));
    return stateful_feed(model, &last, 1, 1, logits);
}

void stateful_close(stateful_model *model) {
    for (int bank = 0; bank < STATE_BANKS; bank++)
        for (size_t index = 0; index < model->num_states; index++)
            if (model->state_buffers[bank][index])
                litert.DestroyTensorBuffer(model->state_buffers[bank][index]);
    if (model->inputs[model->ids_input]) litert.DestroyTensorBuffer(model->inputs[model->ids_input]);
    if (model->has_positions && model->inputs[model->positions_input])
        litert.DestroyTensorBuffer(model->inputs[model->positions_input]);
    if (model->outputs[model->logits_output])
        litert.DestroyTensorBuffer(model->outputs[model->logits_output]);
    compiled_close(&model->compiled);
    pages *all[] = {&model->banks,   &model->ids,           &model->positions,      &model->logits,
                    &model->history, &model->saved_history, &model->inputs_of_chunk};
    for (size_t index = 0; index < sizeof all / sizeof *all; index++) pages_release(all[index]);
}
