"""Statistics and metrics of seeded samples."""

from __future__ import annotations

import numpy as np

from edgeseq.stats import latency, scores
from edgeseq.tasks import perplexity, scoring
from edgeseq.tasks.entity_f1 import per_type_counts
from edgeseq.tasks.tagging import best_tags, bio_rules, entity_counts, spans

from .entries import Entries, numbers
from .seeded import generator
from .synthetic_results import LABELS, Scenario, make_result


def statistics_numbers() -> Entries:
    """Intervals, tests, percentiles and the metric of each task."""
    return _intervals() | _tests() | _percentiles() | _metrics() | _decoding()


def _ends(interval: scores.Interval | None) -> list[float] | None:
    """Estimate, low and high end."""
    return None if interval is None else [interval.estimate, interval.low, interval.high]


def _intervals() -> Entries:
    entries: Entries = {}
    for right, n in ((0, 5), (5, 5), (1, 3), (37, 50), (412, 500), (9_999, 10_000)):
        for level in (0.9, 0.95, 0.99):
            interval = scores.wilson(right, n, level=level)
            entries |= numbers("statistics/wilson", {f"{right}-of-{n}/{level}": _ends(interval)})
    for first, second in ((0, 0), (1, 0), (3, 9), (20, 41), (150, 150), (400, 300)):
        test = scores.mcnemar(first, second)
        entries |= numbers(f"statistics/mcnemar/{first}-{second}", {"p": test.p_value})
    return entries


def _tests() -> Entries:
    entries: Entries = {}
    draw = generator("paired answers")
    gold = draw.integers(0, 3, 300)
    first, second = (
        np.where(draw.random(300) < share, gold, draw.integers(0, 3, 300)) for share in (0.8, 0.7)
    )
    metric_names: tuple[scores.Metric, ...] = ("accuracy", "macro_f1")
    for metric in metric_names:
        difference = scores.paired_bootstrap(gold, first, second, 3, metric=metric)
        values = {
            "interval": _ends(difference.interval),
            "lower_bound": difference.lower_bound,
            "non_inferior": [
                scores.non_inferiority(difference, margin).holds for margin in (0.001, 0.05, 0.2)
            ],
        }
        entries |= numbers(f"statistics/paired-bootstrap/{metric}", values)
    test = scores.mcnemar_of_answers(gold, first, second)
    values = {"only_first": test.only_a_right, "only_second": test.only_b_right, "p": test.p_value}
    entries |= numbers("statistics/mcnemar/answers", values)
    counts = draw.integers(0, 9, (60, 2)).astype(np.float64)
    sums = scores.cluster_bootstrap(counts, resamples=200, seed=3)
    quantiles = {"quantiles": np.quantile(sums, [0.025, 0.5, 0.975], axis=0).ravel().tolist()}
    return entries | numbers("statistics/cluster-bootstrap", quantiles)


def _series(name: str, correlation: float, count: int) -> list[float]:
    draw, level, series = generator(name), 0.0, []
    for step in draw.normal(0, 1, count):
        level = correlation * level + float(step)
        series.append(100 + level + (40 if draw.random() < 0.03 else 0))
    return series


def _percentiles() -> Entries:
    entries: Entries = {}
    for percent in (10, 50, 90, 95, 99, 99.9):
        floor = latency.min_samples(percent)
        entries |= numbers(f"percentiles/min-samples/{percent}", {"n": floor})
    for correlation in (-0.5, 0.0, 0.6, 0.95):
        for count in (5, 40, 200, 1500):
            series = _series(f"series {correlation} {count}", correlation, count)
            key = f"percentiles/correlation {correlation}/n {count}"
            for percent in (50, 90, 95, 99):
                values = {
                    "value": latency.percentile(series, percent),
                    "interval": _ends(latency.percentile_interval(series, percent)),
                    "interval_90": _ends(latency.percentile_interval(series, percent, level=0.9)),
                }
                entries |= numbers(f"{key}/p{percent}", values)
            scaled = [1.2 * value for value in _series(f"other {count}", 0.3, count)]
            values = {
                "median": latency.median(series),
                "effective_samples": latency.effective_samples(series),
                "block_length": latency.block_length(np.asarray(series)),
                "median_ratio": _ends(latency.median_ratio(scaled, series)),
            }
            entries |= numbers(key, values)
    return entries


def _metrics() -> Entries:
    entries: Entries = {}
    for task in LABELS:
        first, second = (
            run.predictions
            for run in make_result(Scenario(task, examples=150, queries=10)).runs[:2]
        )
        if first is None or second is None:
            continue
        labels, metric = LABELS[task], scoring.metric_of(task)
        score = scoring.score(metric, first, labels)
        difference = scoring.difference(metric, first, second, labels)
        values: dict[str, object] = {
            "score": score.value,
            "ci95": score.ci95,
            "n": score.n,
            "difference": _ends(difference.interval),
            "lower_bound": difference.lower_bound,
            "points": metric.points(0.6, 0.5),
            "shown": [metric.show(score.value), metric.show_interval(*score.ci95)],
        }
        if task == "ner":
            values["per_type"] = per_type_counts(first, labels).sum(axis=0).tolist()
        entries |= numbers(f"metrics/{task}", values)
    return entries


def _decoding() -> Entries:
    """Tags under the rules of BIO, entities, and log-probabilities of words."""
    draw, labels = generator("logits"), LABELS["ner"]
    logits = draw.normal(size=(30, len(labels))).astype(np.float32)
    tags = best_tags(logits, bio_rules(labels)).tolist()
    named = [labels[tag] for tag in tags]
    gold = [labels[n] for n in draw.integers(0, len(labels), 30)]
    ids = draw.integers(0, len(labels), 30).tolist()
    log_probabilities = perplexity.log_probabilities(logits, ids)
    return numbers(
        "metrics/decoding",
        {
            "tags": tags,
            "spans": [[span.kind, span.start, span.end] for span in spans(named)],
            "entity_counts": entity_counts(gold, named, ("PER", "LOC")).tolist(),
            "log_probabilities": log_probabilities.tolist(),
            "ranks": perplexity.ranks(logits, ids).tolist(),
            "perplexity": perplexity.perplexity(float(log_probabilities.sum()), 30),
        },
    )
