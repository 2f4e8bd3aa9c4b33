"""Classifies texts with MediaPipe Tasks: `python -I child.py MODEL < texts.json`.

Runs without edgeseq. Stdin is a JSON list of texts; the answer is JSON on stdout: `version`, the
category names, per text the scores in their order, and the nanoseconds that each call took.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time


def main(model_path: str) -> None:
    """Answers one list of texts."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # MediaPipe's own output goes to the log
    # MediaPipe takes a helper of its documentation from TensorFlow where there is one: seconds.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    from mediapipe.tasks.python import BaseOptions, text  # noqa: PLC0415 - after the line above

    options = text.TextClassifierOptions(base_options=BaseOptions(model_asset_path=model_path))
    names: list[str] = []
    scores, latency_ns = [], []
    with text.TextClassifier.create_from_options(options) as classifier:
        for content in json.load(sys.stdin):
            start_ns = time.perf_counter_ns()
            result = classifier.classify(content)
            latency_ns.append(time.perf_counter_ns() - start_ns)
            categories = sorted(result.classifications[0].categories, key=lambda it: it.index)
            names = [category.category_name for category in categories]
            scores.append([category.score for category in categories])
    version = importlib.metadata.version("mediapipe")
    answer = {"version": version, "names": names, "scores": scores, "latency_ns": latency_ns}
    json.dump(answer, answers)
    answers.close()


if __name__ == "__main__":
    main(sys.argv[1])
