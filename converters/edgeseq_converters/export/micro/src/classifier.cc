#include "classifier.h"

#include <cstring>

#include "model_data.h"
#include "model_operators.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "token_input.h"

namespace {
alignas(16) uint8_t arena[kTensorArenaBytes];
// The arena may lay an output over an input of the same call, so the states wait here between two.
uint8_t states[kStateBytes];
tflite::MicroInterpreter* interpreter = nullptr;
enum class Direction { kToInputs, kFromOutputs };

void CopyStates(Direction direction) {
  uint8_t* place = states;
  for (size_t number = 0; number < kNumStates; number++) {
    const size_t size = kStates[number].size_bytes;
    if (direction == Direction::kToInputs)
      std::memcpy(interpreter->input(number + 1)->data.raw, place, size);
    else
      std::memcpy(place, interpreter->output(number + 1)->data.raw, size);
    place += size;
  }
}

void ResetStates() {
  uint8_t* place = states;
  for (const StateOfStep& state : kStates) {
    std::memset(place, state.first_byte, state.size_bytes);
    place += state.size_bytes;
  }
}
}  // namespace

bool ClassifierBegin() {
  static ModelOperators operators;
  if (interpreter != nullptr) return true;
  if (AddModelOperators(operators) != kTfLiteOk) return false;
  const tflite::Model* model = tflite::GetModel(g_model_data);
  if (model->version() != TFLITE_SCHEMA_VERSION) {
    MicroPrintf("the model has another version of the schema");
    return false;
  }
  tflite::MicroAllocator* allocator = tflite::MicroAllocator::Create(arena, sizeof arena);
  if (allocator == nullptr) return false;
  static tflite::MicroInterpreter instance(model, operators, allocator);
  if (instance.AllocateTensors() != kTfLiteOk) return false;
  interpreter = &instance;
  return true;
}

size_t ClassifierArenaBytes() {
  return interpreter == nullptr ? 0 : interpreter->arena_used_bytes();
}

const float* Classify(const int32_t* ids, size_t count) {
  const size_t num_inputs = NumInputs(count);
  if (interpreter == nullptr || num_inputs == 0) return nullptr;
  ResetStates();
  for (size_t position = 0; position < num_inputs; position++) {
    const int32_t id = InputAt(ids, count, position);
    if (id < 0 || id >= kNumTokenIds) return nullptr;
    interpreter->input(0)->data.i32[0] = id;
    CopyStates(Direction::kToInputs);
    if (interpreter->Invoke() != kTfLiteOk) return nullptr;
    CopyStates(Direction::kFromOutputs);
  }
  return interpreter->output(0)->data.f;
}

int LargestLogit(const float* logits) {
  int best = 0;
  for (int index = 1; index < kNumLabels; index++)
    if (logits[index] > logits[best]) best = index;
  return best;
}
