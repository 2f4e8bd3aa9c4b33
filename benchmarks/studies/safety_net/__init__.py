"""What must not change by accident: the bytes of small .tflite files, and derived numbers.

`python -m studies.safety_net --check` (from `benchmarks/`) computes them again and compares them
with `safety_net.json` beside this package; `--write` writes that file.

- `tflite/…` and `converted/…`: the SHA-256 of a .tflite file from seeded weights, or the class of
  the error that refuses the combination. `architecture/directions/head/lowering/recipe`; int4
  weights and static ranges are calibrated on seeded token ids.
- everything else: numbers that reports, recommendations, comparisons, statistics and metrics
  derive from the stored evidence in `benchmarks/results/` and from seeded result records.

Numbers are equal within a relative error of 1e-9, so that another order of summation passes.
"""
