// The model in TensorFlow Lite Micro, token by token.
#ifndef EDGESEQ_CLASSIFIER_H
#define EDGESEQ_CLASSIFIER_H

#include <cstddef>
#include <cstdint>

#include "model_settings.h"

// Allocates the model's tensors in the arena, once. False when it is too small, or the model is
// not one that this runtime runs; the runtime logs the reason.
bool ClassifierBegin();

// Bytes of the arena that are used, after ClassifierBegin.
size_t ClassifierArenaBytes();

// The logits [kNumLabels] of the text with these token ids, from a fresh state; the ids are cut and
// padded here as the model was trained. The logits belong to the model until the next call. nullptr
// when the runtime fails, there is nothing to read, or an id is not in the vocabulary.
const float* Classify(const int32_t* ids, size_t count);

// The index of the largest logit, which kLabels names.
int LargestLogit(const float* logits);

#endif
