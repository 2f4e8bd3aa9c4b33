"""What the observations mean for the numbers: findings, each with its reason.

`invalid` takes a run out of every verdict, `warning` and `note` are shown with it. The functions
only look at what was observed, so each can be tested without a machine that misbehaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from edgeseq.bundle import Bundle
from edgeseq.results import DeviceInfo, Finding, MachineState, Queries, Settings, Slice
from edgeseq.units import format_bytes, format_share

Logits = Sequence[Sequence[float | None]]

# Half a core: on the smallest machines that are measured (2 cores, 1 thread) the scheduler still
# finds the measured thread a core, but cache, memory and clock are shared for much of the time. A
# tenth is what an idle system with its services shows at most. Both are means over all rounds.
LOAD_INVALID_CORES = 0.5
LOAD_WARNING_CORES = 0.1
# Ready to run, but waiting for a processor. p95 looks at the slowest twentieth of the queries:
# once a tenth of the time is somebody else's, it no longer speaks of the model.
WAITING_INVALID_SHARE = 0.10
WAITING_WARNING_SHARE = 0.02
# Two runs are to agree within 5 %: neither may the halves of one run be further apart, nor may the
# 95 % interval of its median reach further. (pyperf takes a spread beyond 10 % of the mean.)
DRIFT_WARNING_SHARE = 0.05
MEDIAN_WARNING_SHARE = 0.05
# Beyond what the first long texts and the allocator's own rounding explain.
GROWTH_WARNING_SHARE = 0.10
GROWTH_WARNING_BYTES = 2_000_000
# Same input, same kernels, same process: equal to the last bit as far as it is known; what is
# allowed is a rounding in float32.
SAME_ANSWER_TOLERANCE = 1e-5


def golden_findings(bundle: Bundle, logits: Logits) -> list[Finding]:
    """Whether the golden examples are answered as the float model did, within the tolerance."""
    golden = bundle.golden
    errors = [
        _distance(found, example.logits)
        for found, example in zip(logits, golden.examples, strict=True)
    ]
    worst = max(errors)
    if worst <= golden.tolerance:
        return []
    wrong = sum(error > golden.tolerance for error in errors)
    return [
        Finding(
            "golden-differs",
            "invalid",
            f"{wrong} of {len(errors)} golden examples are answered differently here than where "
            f"the model was converted: a logit is off by {worst:.3g}, allowed are "
            f"{golden.tolerance:.3g}",
        )
    ]


def token_findings(bundle: Bundle, token_ids: Sequence[tuple[int, ...]]) -> list[Finding]:
    """Whether the tokenizer cuts the golden texts into the tokens that the converter saw."""
    wrong = sum(
        found != example.token_ids
        for found, example in zip(token_ids, bundle.golden.examples, strict=True)
    )
    if not wrong:
        return []
    return [
        Finding(
            "tokenizer-differs",
            "invalid",
            f"{wrong} of {len(token_ids)} golden texts get other token ids here than where the "
            "model was converted: install the same version of `tokenizers`",
        )
    ]


def leak_findings(first: Logits, again: Logits) -> list[Finding]:
    """Whether inputs are answered the same after other inputs as before them."""
    worst = max((_distance(a, b) for a, b in zip(first, again, strict=True)), default=0.0)
    scale = max((abs(value) for row in first for value in row if value is not None), default=1.0)
    if worst <= SAME_ANSWER_TOLERANCE * max(1.0, scale):
        return []
    return [
        Finding(
            "state-leaks",
            "invalid",
            "the same text is answered differently after other texts: state leaks from one to "
            f"the next (a logit changed by {worst:.3g})",
        )
    ]


def _distance(found: Sequence[float | None], expected: Sequence[float | None]) -> float:
    """The largest difference of two rows of logits; infinite where one is no number."""
    if len(found) != len(expected):
        return math.inf
    return max(
        math.inf if a is None or b is None else abs(a - b)
        for a, b in zip(found, expected, strict=True)
    )


def answer_findings(
    varied: int,
    truncated: int,
    unknown_only: int,
    examples: int,
    *,
    windowed: int = 0,
    by_word: bool = False,
) -> list[Finding]:
    """What is to be said about the answers over the test examples (counts of examples)."""
    findings = []
    if varied:
        findings.append(
            Finding(
                "answers-vary",
                "invalid",
                f"{varied} of {examples} test examples got another class when they were repeated",
            )
        )
    if truncated:
        findings.append(
            Finding(
                "texts-truncated",
                "note",
                f"{truncated} of {examples} test examples "
                + ("hold a word that is" if by_word else "are")
                + " longer than the model's longest input and were cut",
            )
        )
    if windowed:
        findings.append(
            Finding(
                "texts-windowed",
                "note",
                f"{windowed} of {examples} test examples are longer than the model's longest "
                "input and were answered in overlapping windows",
            )
        )
    if unknown_only:
        findings.append(
            Finding(
                "texts-unknown",
                "note",
                f"{unknown_only} of {examples} test examples hold no token that the model knows",
            )
        )
    return findings


def timing_findings(queries: Queries, slices: Sequence[Slice], settings: Settings) -> list[Finding]:
    """What is to be said about a model's times: too few, drifting, disturbed."""
    findings = _sample_findings(queries, slices, settings)
    drift = _drift(queries)
    if drift is not None and abs(drift - 1) > DRIFT_WARNING_SHARE:
        findings.append(
            Finding(
                "unstable",
                "warning",
                f"texts of the same length took {drift:.2f} times as long in the second half of "
                "the rounds as in the first: let the machine cool down or end other programs, "
                "and measure again",
            )
        )
    findings += _median_findings(queries)
    findings += _waiting_findings(slices)
    growth = _growth_bytes(slices)
    if growth is not None:
        findings.append(
            Finding(
                "memory-grows",
                "warning",
                f"the process grew by {format_bytes(growth)} from the first round to the last",
            )
        )
    return findings


def _median_findings(queries: Queries) -> list[Finding]:
    """Whether another run could well give another median."""
    # Imported late: the parent must not keep numpy's files mapped while limits are measured.
    from edgeseq.percentiles import percentile_interval

    interval = percentile_interval(queries.total_ns, 50)
    if interval is None or not interval.estimate:
        return []
    reach = max(interval.high - interval.estimate, interval.estimate - interval.low)
    if reach <= MEDIAN_WARNING_SHARE * interval.estimate:
        return []
    return [
        Finding(
            "unstable",
            "warning",
            f"the median is known to {format_share(reach / interval.estimate)} only, so another "
            "run may well differ by more than 5 %: end other programs or measure for longer",
        )
    ]


def _drift(queries: Queries) -> float | None:
    """How many times longer the second half of the rounds took; None when they share no length.

    Halves are compared at equal lengths in tokens (the geometric mean of the ratios of medians,
    weighted by queries): each round has other texts, and a text's length decides its time.
    """
    rounds = sorted(set(queries.round))
    if len(rounds) < 2:
        return None
    middle = rounds[len(rounds) // 2]
    halves: tuple[dict[int, list[int]], dict[int, list[int]]] = ({}, {})
    for number, tokens, total_ns in zip(
        queries.round, queries.tokens, queries.total_ns, strict=True
    ):
        halves[number >= middle].setdefault(tokens, []).append(total_ns)
    first, second = halves
    weights, logarithms = [], []
    for tokens in first.keys() & second.keys():
        weights.append(min(len(first[tokens]), len(second[tokens])))
        logarithms.append(math.log(median(second[tokens]) / median(first[tokens])))
    if not weights:
        return None
    mean = sum(w * ratio for w, ratio in zip(weights, logarithms, strict=True)) / sum(weights)
    return math.exp(mean)


def _sample_findings(
    queries: Queries, slices: Sequence[Slice], settings: Settings
) -> list[Finding]:
    # Imported late: the parent must not keep numpy's files mapped while limits are measured.
    from edgeseq.percentiles import min_samples

    made = len(queries.total_ns)
    findings = []
    for percent in (90, 95, 99):
        if made < min_samples(percent):
            findings.append(
                Finding(
                    "few-samples",
                    "warning" if percent < 99 else "note",
                    f"{made} queries are too few for a p{percent}, which takes "
                    f"{min_samples(percent)}",
                )
            )
            break
    busy_s = sum(part.wall_ns for part in slices) / 1e9
    if made >= min_samples(99) and busy_s < 0.95 * settings.min_duration_s:
        findings.append(
            Finding(
                "query-cap",
                "note",
                f"stopped repeating after {made} queries in {busy_s:.1f} s, which is enough of "
                "them, spread over all rounds",
            )
        )
    return findings


def _waiting_findings(slices: Sequence[Slice]) -> list[Finding]:
    known = [part for part in slices if part.waiting_ns is not None]
    wall_ns = sum(part.wall_ns for part in known)
    if not wall_ns:
        return []
    share = sum(part.waiting_ns or 0 for part in known) / wall_ns
    if share <= WAITING_WARNING_SHARE:
        return []
    invalid = share > WAITING_INVALID_SHARE
    return [
        Finding(
            "processor-shared",
            "invalid" if invalid else "warning",
            f"the model waited for a processor in {format_share(share)} of the measured time, "
            f"because other programs had it; more than {format_share(WAITING_INVALID_SHARE)} "
            "is no longer a latency of the model: end them and measure again",
        )
    ]


def _growth_bytes(slices: Sequence[Slice]) -> int | None:
    # The first round may still meet the longest text; growth after it is the process's own.
    if len(slices) < 3:
        return None
    first, last = slices[1].rss_bytes, slices[-1].rss_bytes
    grown = last - first
    if grown > GROWTH_WARNING_BYTES and grown > GROWTH_WARNING_SHARE * first:
        return grown
    return None


def machine_findings(states: Iterable[MachineState], device: DeviceInfo) -> list[Finding]:
    """What is to be said about the machine, from its states in the order of time."""
    findings = []
    if device.emulated:
        findings.append(
            Finding(
                "emulated",
                "invalid",
                "the processor is emulated: its times are no latencies (memory and answers hold)",
            )
        )
    states = list(states)
    during = [state for state in states if state.when == "during"]
    findings += _load_findings(during)
    findings += _throttle_findings(states)
    swap = [state.swap_used_bytes for state in states if state.swap_used_bytes is not None]
    if swap and swap[-1] > swap[0]:
        findings.append(
            Finding(
                "swap-grew",
                "warning",
                f"swap in use grew from {format_bytes(swap[0])} to {format_bytes(swap[-1])}: "
                "the machine is short of memory",
            )
        )
    governors = {state.governor for state in states if state.governor}
    if governors - {"performance"}:
        findings.append(
            Finding(
                "governor",
                "note",
                f"the clock follows the load (governor {', '.join(sorted(governors))}): the first "
                "queries of a round may be slower",
            )
        )
    return findings


def _load_findings(during: Sequence[MachineState]) -> list[Finding]:
    findings = []
    for code, what, loads in (
        ("background-load", "other programs used", [s.load_other_cores for s in during]),
        ("stolen-time", "the hypervisor took", [s.steal_cores for s in during]),
    ):
        known = [load for load in loads if load is not None]
        if not known:
            continue
        mean = sum(known) / len(known)
        if mean <= LOAD_WARNING_CORES:
            continue
        invalid = mean > LOAD_INVALID_CORES
        findings.append(
            Finding(
                code,
                "invalid" if invalid else "warning",
                f"{what} {mean:.2f} of a core on average while models were measured (at most "
                f"{max(known):.2f}); more than {LOAD_INVALID_CORES} is not accepted: end them "
                "and measure again",
            )
        )
    return findings


def _throttle_findings(states: Sequence[MachineState]) -> list[Finding]:
    if not states:
        return []
    before = set(states[0].throttled)
    # "since boot" bits that were set before the run are history; set during it, they are not.
    reasons = {
        reason
        for state in states
        for reason in state.throttled
        if "since boot" not in reason or reason not in before
    }
    if reasons:
        return [
            Finding(
                "throttled",
                "invalid",
                f"the board slowed itself down ({', '.join(sorted(reasons))}): cool it or give it "
                "a stronger power supply, and measure again",
            )
        ]
    if before:
        return [
            Finding(
                "throttled-before",
                "note",
                f"the board has slowed itself down before this run ({', '.join(sorted(before))})",
            )
        ]
    return []


def settings_findings(settings: Settings, overhead_ns: Sequence[int]) -> list[Finding]:
    """What is to be said about how it was measured."""
    findings = []
    if settings.quick:
        findings.append(
            Finding(
                "quick",
                "note",
                "a quick run: fewer samples and a shorter time than a full one, good for a look",
            )
        )
    if overhead_ns:
        findings.append(
            Finding(
                "loop-overhead",
                "note",
                f"the measuring loop itself adds {median(overhead_ns):.0f} ns to each query",
            )
        )
    return findings


def thread_findings(requested: int, started: int) -> list[Finding]:
    """Whether the runtime started the threads that it was asked for (itself and `started`)."""
    if started + 1 >= requested:
        return []
    return [
        Finding(
            "threads-ignored",
            "note",
            f"{requested} threads were asked for, the runtime used {started + 1} for this model",
        )
    ]


def batch_findings(models: int, together: int) -> list[Finding]:
    """Whether all models were interleaved with each other."""
    if together >= models:
        return []
    return [
        Finding(
            "not-interleaved",
            "note",
            f"at most {together} of {models} models were held in memory and interleaved at a "
            "time: the others failed to load or did not fit beside them",
        )
    ]
