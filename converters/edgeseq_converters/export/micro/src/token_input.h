// What the model reads of a text's token ids: cut and padded as it was trained.
#ifndef EDGESEQ_TOKEN_INPUT_H
#define EDGESEQ_TOKEN_INPUT_H

#include <cstddef>
#include <cstdint>

#include "model_settings.h"

// How many ids the model reads of a text with `count`.
inline size_t NumInputs(size_t count) {
  const bool is_padded = kPadding != Padding::kNone;
  return is_padded || count > kMaxTokens ? kMaxTokens : count;
}

// The id that it reads at `position`, which is smaller than NumInputs(count).
inline int32_t InputAt(const int32_t* ids, size_t count, size_t position) {
  const size_t kept = count < kMaxTokens ? count : kMaxTokens;
  const size_t skipped = kCutsBeginning ? count - kept : 0;
  const size_t first = kPadding == Padding::kPre ? kMaxTokens - kept : 0;
  const bool is_text = position >= first && position - first < kept;
  return is_text ? ids[skipped + position - first] : kPadId;
}

#endif
