#include <string.h>

#include "status.h"
#include "tokenizer_parts.h"

/* Markers come in pairs: one that opens a mention, one that closes it. */
static bool is_marker(const tokenizer *t, int32_t id, unsigned first)
{
    for (unsigned i = first; i < RUNNER_MARKERS; i += 2)
        if (t->settings->marker_ids[i] == id)
            return true;
    return false;
}

/* For each token how many tokens lie from it to the nearest mention, 0 within one. */
static void find_distances(const tokenizer *t, const int32_t *ids, size_t count,
                           uint32_t *distances)
{
    bool is_inside = false;
    for (size_t i = 0; i < count; i++) {
        is_inside = is_inside || is_marker(t, ids[i], 0);
        if (is_inside)
            distances[i] = 0;
        else
            distances[i] = i ? distances[i - 1] + 1 : (uint32_t)count;
        is_inside = is_inside && !is_marker(t, ids[i], 1);
    }
    for (size_t i = count - 1; i > 0; i--)
        if (distances[i] + 1 < distances[i - 1])
            distances[i - 1] = distances[i] + 1;
    if (t->settings->num_special_before + t->settings->num_special_after > 0)
        distances[0] = distances[count - 1] = 0;
}

int shorten_around_mentions(tokenizer *t, size_t max_tokens, bool *truncated)
{
    const size_t count = t->num_ids;
    *truncated = count > max_tokens;
    if (!*truncated)
        return STATUS_OK;
    /* Distances are less than twice the number of tokens; how often each occurs comes behind. */
    if (buffer_need(&t->distances, (3 * count + 1) * sizeof(uint32_t)))
        return STATUS_FAILED;
    int32_t *ids = (int32_t *)(void *)t->ids.bytes;
    uint32_t *distances = (uint32_t *)(void *)t->distances.bytes, *occurrences = distances + count;
    find_distances(t, ids, count, distances);
    memset(occurrences, 0, (2 * count + 1) * sizeof *occurrences);
    for (size_t i = 0; i < count; i++)
        occurrences[distances[i]]++;
    t->num_ids = max_tokens;
    if (occurrences[0] > max_tokens)
        return STATUS_OK; /* the mentions alone are too long: the beginning of the text is used */
    size_t nearer = 0;
    uint32_t limit = 0;
    while (nearer + occurrences[limit] <= max_tokens)
        nearer += occurrences[limit++];
    /* All that are nearer than the limit, and of those at the limit the first ones. */
    size_t at_limit = max_tokens - nearer, kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (distances[i] > limit || (distances[i] == limit && at_limit == 0))
            continue;
        at_limit -= distances[i] == limit;
        ids[kept++] = ids[i];
    }
    return STATUS_OK;
}
