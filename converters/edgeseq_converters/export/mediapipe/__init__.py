"""The target `mediapipe`: a .tflite for MediaPipe Tasks, tokenizer and labels included."""
