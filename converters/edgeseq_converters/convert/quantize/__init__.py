"""Weight formats, calibration ranges and GPTQ rounding."""
