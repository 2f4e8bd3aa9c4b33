// Classifies the golden texts and compares the logits with those of LiteRT on a computer.
#include <cmath>
#include <cstdio>
#include <cstring>

#include "classifier.h"
#include "golden_texts.h"
#if HAS_TOKENIZER
#include "tokenizer.h"
#include "vocabulary.h"
#endif

int main() {
  if (!ClassifierBegin()) return 2;
  std::printf("arena: %u of %u bytes\n", static_cast<unsigned>(ClassifierArenaBytes()),
              static_cast<unsigned>(kTensorArenaBytes));
  int failures = 0;
  for (const GoldenText& golden : kGoldenTexts) {
    const int32_t* token_ids = golden.ids;
    size_t count = golden.count;
#if HAS_TOKENIZER
    int32_t ids[MAX_TOKENS];
    if (golden.is_ascii) {  // where the tokenizer in C is exact
      count = tokenize(golden.text, std::strlen(golden.text), ids);
      token_ids = ids;
    }
#endif
    const float* logits = Classify(token_ids, count);
    if (logits == nullptr) return 2;
    float largest = 0;
    for (int label = 0; label < kNumLabels; label++)
      largest = std::fmax(largest, std::fabs(logits[label] - golden.logits[label]));
    const bool is_equal = largest <= kGoldenTolerance;
    failures += !is_equal;
    std::printf("%s %s (difference %.6f)\n", is_equal ? "ok" : "FAILED",
                kLabels[LargestLogit(logits)], static_cast<double>(largest));
  }
  return failures ? 1 : 0;
}
