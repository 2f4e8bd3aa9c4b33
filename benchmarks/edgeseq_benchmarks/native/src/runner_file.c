#define _DEFAULT_SOURCE /* mmap(2), O_CLOEXEC */

#include "runner_file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layout.h"
#include "status.h"

enum { FILE_LIMIT_BYTES = 1 << 30, TENSOR_LIMIT = 1024, LABEL_LIMIT = 1 << 20 };
enum { MAX_TOKENS_LIMIT = 1 << 24 };

struct runner_file {
    const uint8_t *bytes;
    size_t size;
    bool is_mapped;
    section_record sections[SECTION_COUNT];
    runner_settings settings;
};

const void *runner_file_section(const runner_file *file, unsigned section, size_t *size)
{
    *size = (size_t)file->sections[section].size;
    return file->bytes + file->sections[section].offset;
}

static int check_frame(runner_file *file)
{
    header_record header;
    const size_t frame = sizeof header + sizeof file->sections;
    if (file->size < frame)
        return status_fail("runner.bin: is too short: found %zu bytes, expected at least %zu",
                           file->size, frame);
    memcpy(&header, file->bytes, sizeof header);
    if (memcmp(header.magic, "edgeseqR", 8) != 0)
        return status_fail("runner.bin: is not a runner file; convert the bundle again");
    if (header.version != FORMAT_VERSION || header.num_sections != SECTION_COUNT)
        return status_fail("runner.bin: has another format: found version %u, expected %d; "
                           "convert the bundle again", header.version, FORMAT_VERSION);
    if (header.size != file->size)
        return status_fail("runner.bin: is cut: found %zu bytes, expected %llu; copy it again",
                           file->size, (unsigned long long)header.size);
    memcpy(file->sections, file->bytes + sizeof header, sizeof file->sections);
    for (unsigned i = 0; i < SECTION_COUNT; i++) {
        const section_record *section = &file->sections[i];
        if (section->offset % 8 != 0 || section->offset < frame || section->offset > file->size ||
            section->size > file->size - section->offset)
            return status_fail("runner.bin: section %u lies outside of the file", i);
    }
    return STATUS_OK;
}

static const char *string_at(const runner_file *file, uint32_t offset)
{
    size_t size;
    const char *strings = runner_file_section(file, SECTION_STRINGS, &size);
    return offset < size ? strings + offset : NULL;
}

static int check_tensors(const runner_file *file, const settings_record *record)
{
    size_t size;
    const tensor_record *tensors = runner_file_section(file, SECTION_TENSORS, &size);
    if (record->num_inputs < 1 || record->num_inputs > TENSOR_LIMIT || record->num_outputs < 1 ||
        record->num_outputs > TENSOR_LIMIT ||
        size != (record->num_inputs + record->num_outputs) * sizeof *tensors)
        return status_fail("runner.bin: the signature's tensors are damaged");
    for (uint32_t i = 0; i < record->num_inputs + record->num_outputs; i++) {
        bool is_valid = string_at(file, tensors[i].name) && tensors[i].is_float <= 1 &&
                        tensors[i].num_axes <= RUNNER_TENSOR_AXES;
        for (unsigned axis = 0; axis < RUNNER_TENSOR_AXES; axis++)
            is_valid = is_valid && tensors[i].shape[axis] >= -1;
        if (!is_valid)
            return status_fail("runner.bin: tensor %u of the signature is damaged", i);
    }
    return STATUS_OK;
}

/* Behind the labels of a multilabel classifier. */
static const float *thresholds_of(const runner_file *file, const settings_record *record)
{
    size_t size;
    const uint8_t *labels = runner_file_section(file, SECTION_LABELS, &size);
    if (record->head != HEAD_MULTILABEL_CLASSIFICATION)
        return NULL;
    return (const float *)(const void *)(labels + record->num_labels * sizeof(uint32_t));
}

static int check_labels(const runner_file *file, const settings_record *record)
{
    size_t size, label_size = sizeof(uint32_t);
    const uint32_t *labels = runner_file_section(file, SECTION_LABELS, &size);
    if (record->head == HEAD_MULTILABEL_CLASSIFICATION)
        label_size += sizeof(float);
    if (record->num_labels > LABEL_LIMIT || size != record->num_labels * label_size)
        return status_fail("runner.bin: the labels are damaged");
    const float *thresholds = thresholds_of(file, record);
    for (uint32_t i = 0; thresholds && i < record->num_labels; i++)
        if (!isfinite(thresholds[i]))
            return status_fail("runner.bin: the threshold of label %u is damaged", i);
    for (uint32_t i = 0; i < record->num_labels; i++)
        if (!string_at(file, labels[i]))
            return status_fail("runner.bin: label %u is damaged", i);
    return STATUS_OK;
}

static const float *transitions_of(const runner_file *file)
{
    size_t size;
    const float *scores = runner_file_section(file, SECTION_TRANSITIONS, &size);
    return size ? scores : NULL;
}

static int check_transitions(const runner_file *file, const settings_record *record)
{
    size_t size, count = record->num_labels;
    const float *scores = runner_file_section(file, SECTION_TRANSITIONS, &size);
    bool is_valid = size == 0 || (record->head == HEAD_TOKEN_CLASSIFICATION &&
                                  size == (count + 2) * count * sizeof *scores);
    for (size_t i = 0; is_valid && i < size / sizeof *scores; i++)
        is_valid = isfinite(scores[i]);
    if (!is_valid)
        return status_fail("runner.bin: the transitions between labels are damaged");
    return STATUS_OK;
}

static bool is_token(int32_t id, const settings_record *record)
{
    return id >= 0 && (uint32_t)id < record->vocabulary_size;
}

static int check_ids(const runner_file *file, const settings_record *record)
{
    size_t size;
    const int32_t *ids = runner_file_section(file, SECTION_SPECIAL_IDS, &size);
    bool is_valid = record->num_before <= MAX_TOKENS_LIMIT &&
                    record->num_after <= MAX_TOKENS_LIMIT &&
                    size == ((size_t)record->num_before + record->num_after) * sizeof *ids &&
                    (record->unknown_id == -1 || is_token(record->unknown_id, record));
    for (size_t i = 0; is_valid && i < size / sizeof *ids; i++)
        is_valid = is_token(ids[i], record);
    for (unsigned i = 0; is_valid && record->has_markers && i < RUNNER_MARKERS; i++)
        is_valid = is_token(record->marker_ids[i], record);
    if (!is_valid)
        return status_fail("runner.bin: the special tokens are damaged");
    return STATUS_OK;
}

static int read_settings(runner_file *file)
{
    size_t size, strings_size;
    const settings_record *record = runner_file_section(file, SECTION_SETTINGS, &size);
    const char *strings = runner_file_section(file, SECTION_STRINGS, &strings_size);
    if (size != sizeof *record || strings_size == 0 || strings[strings_size - 1] != '\0')
        return status_fail("runner.bin: the settings are damaged");
    if (record->head > HEAD_MULTILABEL_CLASSIFICATION || record->max_tokens < 1 ||
        record->max_tokens > MAX_TOKENS_LIMIT || record->num_logits < 1 ||
        record->num_logits > MAX_TOKENS_LIMIT || record->span_labels > 1 ||
        record->has_markers > 1 || record->vocabulary_size < 1 ||
        record->vocabulary_size > INT32_MAX ||
        (record->num_labels != record->num_logits && record->head != HEAD_LANGUAGE_MODELING) ||
        record->padding > PADDING_POST || record->cuts_beginning > 1 ||
        record->word_feature_rows > RUNNER_MAX_FEATURE_ROWS ||
        (record->word_feature_rows && record->head != HEAD_TOKEN_CLASSIFICATION) ||
        !is_token(record->pad_id, record) || !string_at(file, record->name) ||
        !string_at(file, record->task) || !string_at(file, record->signature_key))
        return status_fail("runner.bin: a setting is out of range; convert the bundle again");
    if (check_tensors(file, record) || check_labels(file, record) ||
        check_transitions(file, record) || check_ids(file, record))
        return STATUS_FAILED;
    runner_settings *settings = &file->settings;
    settings->head = (runner_head)record->head;
    settings->max_tokens = record->max_tokens;
    settings->vocabulary_size = record->vocabulary_size;
    settings->num_logits = record->num_logits;
    settings->num_labels = record->num_labels;
    settings->thresholds = thresholds_of(file, record);
    settings->word_feature_rows = record->word_feature_rows;
    settings->transitions = transitions_of(file);
    settings->span_labels = record->span_labels != 0;
    settings->has_markers = record->has_markers != 0;
    memcpy(settings->marker_ids, record->marker_ids, sizeof settings->marker_ids);
    settings->unknown_id = record->unknown_id;
    settings->padding = (runner_padding)record->padding;
    settings->pad_id = record->pad_id;
    settings->cuts_beginning = record->cuts_beginning != 0;
    settings->num_special_before = record->num_before;
    settings->num_special_after = record->num_after;
    settings->special_ids = runner_file_section(file, SECTION_SPECIAL_IDS, &size);
    settings->bundle_name = string_at(file, record->name);
    settings->task = string_at(file, record->task);
    settings->signature_key = string_at(file, record->signature_key);
    settings->num_inputs = record->num_inputs;
    settings->num_outputs = record->num_outputs;
    return STATUS_OK;
}

static int open_bytes(runner_file **out, const void *bytes, size_t size, bool is_mapped)
{
    runner_file *file = calloc(1, sizeof *file);
    if (!file) {
        if (is_mapped)
            munmap((void *)bytes, size);
        return status_fail("runner.bin: no memory to open it");
    }
    file->bytes = bytes;
    file->size = size;
    file->is_mapped = is_mapped;
    if (check_frame(file) || read_settings(file)) {
        runner_file_close(file);
        return STATUS_FAILED;
    }
    *out = file;
    return STATUS_OK;
}

int runner_file_open(runner_file **out, const char *path)
{
    *out = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return status_fail("%s: cannot be opened: %s", path, strerror(errno));
    struct stat status;
    void *bytes = MAP_FAILED;
    if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
        status.st_size <= FILE_LIMIT_BYTES)
        bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    close(descriptor);
    if (bytes == MAP_FAILED)
        return status_fail("%s: is not an ordinary file of at most 1 GiB that can be mapped", path);
    return open_bytes(out, bytes, (size_t)status.st_size, true);
}

int runner_file_from_memory(runner_file **out, const void *bytes, size_t size)
{
    *out = NULL;
    return open_bytes(out, bytes, size, false);
}

void runner_file_close(runner_file *file)
{
    if (!file)
        return;
    if (file->is_mapped)
        munmap((void *)file->bytes, file->size);
    free(file);
}

const runner_settings *runner_file_settings(const runner_file *file)
{
    return &file->settings;
}

const char *runner_file_label(const runner_file *file, uint32_t index)
{
    size_t size;
    const uint32_t *labels = runner_file_section(file, SECTION_LABELS, &size);
    return index < file->settings.num_labels ? string_at(file, labels[index]) : NULL;
}

static runner_tensor tensor_at(const runner_file *file, uint32_t index)
{
    size_t size;
    const tensor_record *record = runner_file_section(file, SECTION_TENSORS, &size);
    runner_tensor tensor = {0};
    record += index;
    tensor.name = string_at(file, record->name);
    tensor.is_float = record->is_float != 0;
    tensor.num_axes = record->num_axes;
    memcpy(tensor.shape, record->shape, sizeof tensor.shape);
    return tensor;
}

runner_tensor runner_file_input(const runner_file *file, uint32_t index)
{
    if (index >= file->settings.num_inputs)
        return (runner_tensor){0};
    return tensor_at(file, index);
}

runner_tensor runner_file_output(const runner_file *file, uint32_t index)
{
    if (index >= file->settings.num_outputs)
        return (runner_tensor){0};
    return tensor_at(file, file->settings.num_inputs + index);
}
