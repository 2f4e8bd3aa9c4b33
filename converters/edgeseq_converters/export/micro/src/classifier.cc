#include "classifier.h"

#include "model_data.h"
#include "model_operators.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "token_input.h"

namespace {
alignas(16) uint8_t arena[kTensorArenaBytes];
tflite::MicroInterpreter* interpreter = nullptr;
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
  tflite::MicroResourceVariables* variables = nullptr;
  if (kNumResourceVariables > 0)
    variables = tflite::MicroResourceVariables::Create(allocator, kNumResourceVariables);
  static tflite::MicroInterpreter instance(model, operators, allocator, variables);
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
  if (interpreter->Reset() != kTfLiteOk) return nullptr;
  for (size_t position = 0; position < num_inputs; position++) {
    const int32_t id = InputAt(ids, count, position);
    if (id < 0 || id >= kNumTokenIds) return nullptr;
    interpreter->input(0)->data.i32[0] = id;
    if (interpreter->Invoke() != kTfLiteOk) return nullptr;
  }
  return interpreter->output(0)->data.f;
}

int LargestLogit(const float* logits) {
  int best = 0;
  for (int index = 1; index < kNumLabels; index++)
    if (logits[index] > logits[best]) best = index;
  return best;
}
