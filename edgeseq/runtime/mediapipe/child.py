"""Classifies or embeds texts with MediaPipe Tasks: `python -I child.py MODEL < job.json`.

Runs without edgeseq. A job that `embeds` has `texts`; their embeddings are the `scores`. Another
has the `texts`, and their numbers in the `order` in which they are classified; each is once, then
the order begins again until there are `min_queries` calls and `min_duration_s` have passed, or
there are `max_queries`. The answer is JSON on stdout: `version`, the category `names`, the `scores`
of each text's first call in their order, how many calls gave a text other scores (`varying`), and
for each call `example` and `latency_ns`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO


def main(model_path: str) -> None:
    """Does one job."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # MediaPipe's own output goes to the log
    # MediaPipe takes a helper of its documentation from TensorFlow where there is one: seconds.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    text = importlib.import_module("mediapipe.tasks.python.text")

    job = json.load(sys.stdin)
    if job.get("embeds"):
        with text.TextEmbedder.create_from_model_path(model_path) as embedder:
            rows = [embedder.embed(it).embeddings[0].embedding.tolist() for it in job["texts"]]
        answer = {"names": [], "scores": rows, "varying": 0, "example": [], "latency_ns": []}
        _write(answers, answer)
        return
    with text.TextClassifier.create_from_model_path(model_path) as classifier:
        answer = _classify(classifier, job)
    _write(answers, answer)


def _write(answers: TextIO, answer: dict[str, Any]) -> None:
    json.dump({"version": importlib.metadata.version("mediapipe"), **answer}, answers)
    answers.close()


def _classify(classifier: Any, job: dict[str, Any]) -> dict[str, Any]:
    names: list[str] = []
    scores: dict[int, list[float]] = {}
    examples, latency_ns, varying = [], [], 0
    for number in _calls(job):
        content = job["texts"][number]
        start_ns = time.perf_counter_ns()
        result = classifier.classify(content)
        latency_ns.append(time.perf_counter_ns() - start_ns)
        examples.append(number)
        categories = sorted(result.classifications[0].categories, key=lambda it: it.index)
        names = [category.category_name for category in categories]
        row = [category.score for category in categories]
        varying += scores.setdefault(number, row) != row
    return {
        "names": names,
        "scores": [scores[number] for number in range(len(job["texts"]))],
        "varying": varying,
        "example": examples,
        "latency_ns": latency_ns,
    }


def _calls(job: dict[str, Any]) -> Iterator[int]:
    """The numbers of the texts, call by call."""
    start_s, count, order = time.monotonic(), 0, job["order"]
    while True:
        for number in order:
            is_done = count >= job["min_queries"] and (
                time.monotonic() - start_s >= job["min_duration_s"]
            )
            if count >= len(order) and (is_done or count >= job["max_queries"]):
                return
            yield number
            count += 1


if __name__ == "__main__":
    main(sys.argv[1])
