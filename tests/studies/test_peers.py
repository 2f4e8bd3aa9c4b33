"""The parts of `benchmarks/studies/peers/` that need no other tool: answers, ratios, verdicts,
table."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeseq.errors import InputError
from edgeseq.formats.result import DeviceInfo
from edgeseq.stats.scores import Interval
from studies.peers import measured, table
from studies.peers.contenders import (
    OPEN,
    BuildFailure,
    BuildJob,
    Contender,
    peer_contenders,
    peer_jobs,
)
from studies.peers.inputs import (
    REAL,
    SHAPES,
    FloatReference,
    Shape,
    fit,
    make_weights,
    reference_logits,
)
from studies.peers.limit import MachineLimits
from studies.peers.makers import describe_end
from studies.peers.page import processor_kind, put_part
from studies.peers.result import PeerRow, PeersResult, ShapeResult, median_ns, paired_ratio
from studies.peers.rounds import Agreement, RoundTiming, check_answers, compare, slice_value
from studies.peers.targets import TARGETS, distances, fastest, judge, verdicts

SHAPE = Shape(64, 128)
RIGHT = Agreement(max_error=1e-6, relative_error=1e-6, equal_labels=1.0, texts=48)


def contender(precision="dynamic", files=None):
    files = {OPEN: "file"} if files is None else files
    return Contender("one", "edgeseq", precision, "open", files, ("8", REAL))


def row(name, peer, precision, rounds_ns, *, workloads=("8", "32", "128", REAL)):
    timings = {one: RoundTiming(tuple(rounds_ns), 5e4, 9e5, 100) for one in workloads}
    return PeerRow(name, peer, precision, "open", "", "", 650_000, RIGHT, timings)


def result(*rows, failures=()):
    device = DeviceInfo("board", "x86_64", "A processor", ("avx2",), 2, 1 << 30, "6.1", "Linux")
    return PeersResult(
        created_utc="2026-01-02T03:04:05+00:00",
        edgeseq_version="0.1.0",
        device=device,
        versions={"onnxruntime": "1.32.0"},
        texts="customer-feedback 0123",
        real_tokens=(5, 25),
        rounds=4,
        quick=True,
        machine=MachineLimits({65_536: 80e9}, 50e9),
        shapes=(ShapeResult(SHAPE, rows, failures),),
    )


def interval(estimate, low, high):
    return Interval(estimate=estimate, low=low, high=high, level=0.95, n=40)


class TestReference:
    def test_one_step_is_the_cell_written_out(self):
        weights = make_weights(Shape(4, 2), seed=3)
        gates = weights["table"][7] @ weights["kernel"] + weights["bias"]
        i, _, g, o = np.split(gates, 4)
        state = np.tanh(np.tanh(g) / (1 + np.exp(-i))) / (1 + np.exp(-o))
        expected = state @ weights["head"] + weights["head_bias"]
        assert reference_logits(weights, [7]) == pytest.approx(expected, abs=1e-6)

    def test_same_weights_every_time(self):
        first, second = make_weights(SHAPE), make_weights(SHAPE)
        assert all(np.array_equal(first[name], second[name]) for name in first)

    def test_fit_pads_on_the_right_and_cuts(self):
        assert fit([5, 6], 4) == [5, 6, 0, 0]
        assert fit([5, 6, 7], 2) == [5, 6]


class TestAgreement:
    def test_error_is_over_the_largest_logit(self):
        found = compare(np.array([[0.0, 4.0], [1.0, 0.0]]), np.array([[0.0, 3.0], [0.0, 0.5]]))
        assert (found.max_error, found.relative_error, found.equal_labels) == (1.0, 0.25, 0.5)

    def test_what_is_not_finite_is_wrong(self):
        found = compare(np.array([[0.0, 4.0]]), np.array([[0.0, np.nan]]))
        assert found.wrong(contender()) is not None

    def test_float_is_held_to_the_logits_and_int8_to_the_labels(self):
        rough = Agreement(max_error=0.01, relative_error=0.01, equal_labels=1.0, texts=9)
        assert rough.wrong(contender("dynamic")) is None
        assert "differ by 0.01" in rough.wrong(contender("float32"))
        coarse = Agreement(max_error=1.0, relative_error=0.5, equal_labels=0.95, texts=9)
        assert coarse.wrong(contender("integer")) is None
        assert "differ by 50%" in coarse.wrong(contender("dynamic"))
        assert "80%" in msgspec.structs.replace(rough, equal_labels=0.8).wrong(contender())


class TestPadding:
    """What a file is checked for when a text is shorter than it."""

    @pytest.mark.parametrize(("padding_id", "right"), [(None, [7, 0, 0]), (-1, [7])])
    def test_ours_answers_for_the_text_and_others_for_what_they_get(self, padding_id, right):
        reference = FloatReference(make_weights(Shape(4, 2), seed=3))

        class Child:
            contender = Contender(
                "one", "edgeseq", "float32", "fixed", {3: "file"}, ("3",), padding_id=padding_id
            )

            def request(self, command, expected):
                return measured.LogitsReply([reference.logits(right).tolist()])

        assert check_answers(Child(), reference, {"3": [[7]]}).max_error < 1e-6


class TestContenders:
    def test_every_tool_has_files_and_names_are_apart(self):
        jobs = peer_jobs()
        assert {job.peer for job in jobs} == {"tf_keras", "keras3", "onnxruntime"}
        assert len({job.filename for job in jobs}) == len(jobs)

    def test_real_lengths_are_padded_and_resized(self):
        made = {
            BuildJob("tf_keras dynamic", "tf_keras", "dynamic", length): Path(f"{length}.tflite")
            for length in (8, 128)
        }
        rows = {one.name: one for one in peer_contenders(made)}
        assert rows["tf_keras dynamic"].workloads == ("8", "128")
        assert rows["tf_keras dynamic padded"].file_for(REAL) == (128, "128.tflite")
        assert rows["tf_keras dynamic resized"].file_for(REAL) == (OPEN, "128.tflite")

    def test_targets_name_rows_that_there_can_be(self):
        made = {job: Path(job.filename) for job in peer_jobs()}
        names = {one.name for one in peer_contenders(made)}
        assert {target.against for target in TARGETS} <= names

    @pytest.mark.parametrize(
        ("returncode", "log", "cause"),
        [
            (-11, "anything", "its process ended with SIGSEGV"),
            (1, "Traceback\nValueError: too long\n", "ValueError: too long"),
            (3, "", "its process ended with exit code 3"),
        ],
    )
    def test_a_failed_child_is_one_line(self, returncode, log, cause):
        assert describe_end(returncode, log) == cause


class TestNumbers:
    def test_slice_is_the_mean_of_the_texts_medians(self):
        # Two texts in turn: 10, 12, 90 and 30, 30, 36.
        assert slice_value([10, 30, 12, 30, 90, 36], 2) == 21

    def test_ratio_is_taken_within_a_round(self):
        slow = row("slow", "tf_keras", "dynamic", [40e3, 400e3, 40e3, 40e3])
        fast = row("fast", "edgeseq", "dynamic", [10e3, 100e3, 10e3, 10e3])
        found = paired_ratio(slow, fast, "8")
        assert (found.estimate, found.low, found.high) == (4.0, 4.0, 4.0)
        assert median_ns(fast, "8") == 10e3

    def test_bound_counts_reading_or_multiplying_and_the_projection(self):
        projection, recurrent = SHAPE.products_a_token
        assert (projection, recurrent) == (64 * 512, 128 * 512)
        reading = MachineLimits({recurrent: 10e9}, 50e9).bound_ns(SHAPE, 10)
        assert reading == pytest.approx(10 * (recurrent / 10 + projection / 50))
        multiplying = MachineLimits({recurrent: 80e9}, 50e9).bound_ns(SHAPE, 10)
        assert multiplying == pytest.approx(10 * (recurrent + projection) / 50)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("found", "aim", "verdict"),
        [
            (interval(4.0, 3.5, 4.5), None, "met"),
            (interval(3.1, 2.9, 3.3), None, "met, within the uncertainty"),
            (interval(1.5, 1.4, 1.6), None, "**missed** by 50%"),
            (interval(2.9, 2.7, 3.1), None, "**missed** by 3%, within the uncertainty"),
            (interval(4.0, 3.5, 4.5), 5.0, "met; aim of 5 missed by 20%"),
            (interval(6.0, 5.5, 6.5), 5.0, "met; aim of 5 met"),
        ],
    )
    def test_ratio_of_three(self, found, aim, verdict):
        assert judge(found, 3, aim) == verdict

    def test_ours_is_the_fastest_of_its_precision(self):
        rows = (
            row("edgeseq loop", "edgeseq", "dynamic", [50e3] * 4),
            row("edgeseq unrolled", "edgeseq", "dynamic", [40e3] * 4),
            row("edgeseq fused", "edgeseq", "float32", [10e3] * 4),
            row("onnxruntime dynamic", "onnxruntime", "dynamic", [30e3] * 4),
        )
        shape = result(*rows).shapes[0]
        assert fastest(shape, "dynamic", "32").name == "edgeseq unrolled"
        assert fastest(shape, "integer", "32") is None

    def test_missing_sides_are_not_measured(self):
        found = list(verdicts(result(row("edgeseq loop", "edgeseq", "dynamic", [50e3] * 4))))
        assert found
        assert {one.text for one in found} == {"not measured"}

    def test_distance_to_the_bound(self):
        ours = row("edgeseq loop", "edgeseq", "dynamic", [60e3] * 4)
        by_workload = {one.workload: one for one in distances(result(ours))}
        assert by_workload[REAL].bound_ns == pytest.approx(15 * (64 + 128) * 512 / 50)
        assert by_workload["8"].text == "**missed** by 27%"
        assert by_workload["128"].text == "met"


class TestTable:
    def result(self):
        return result(
            row("edgeseq loop", "edgeseq", "dynamic", [50e3] * 4),
            row("tf_keras dynamic", "tf_keras", "dynamic", [200e3] * 4, workloads=("8", "32")),
            failures=(BuildFailure("keras3 integer", "its process | ended"),),
        )

    def test_every_table_has_as_many_cells_as_its_head(self):
        blocks = "\n".join(table.lines(self.result())).split("\n\n")
        tables = [block.splitlines() for block in blocks if block.startswith("|")]
        assert len(tables) == 4
        for rows in tables:
            cells = [len(re.findall(r"(?<!\\)\|", one)) for one in rows]
            assert set(cells) == {cells[0]}, rows[0]

    def test_says_times_ratio_verdict_and_cause(self):
        text = "\n".join(table.lines(self.result()))
        assert "| tf_keras dynamic | 650 kB | 0.200 | 0.200 | – | – | 100.0% |" in text
        assert "| 8 | 4.00 (4.00 to 4.00) | met (loop) |" in text
        assert "| keras3 integer | its process \\| ended |" in text
        assert "quick run" in text

    def test_goes_between_the_markers_only_and_beside_other_processors(self):
        begin, end = table.MARKERS
        page = f"before\n{begin}{end}after\n"
        one = put_part(page, "| old |\n", table.MARKERS, "plain")
        assert one == f"before\n{begin}\n### plain\n\n| old |\n\n{end}after\n"
        two = put_part(one, "| wide |\n", table.MARKERS, "wide")
        assert "### plain\n\n| old |\n\n### wide\n\n| wide |\n" in two
        assert put_part(two, "| wide |\n", table.MARKERS, "wide") == two
        again = put_part(two, "| new |\n", table.MARKERS, "plain")
        assert again == two.replace("| old |", "| new |")
        with pytest.raises(InputError, match="no place"):
            put_part("a page", "new", table.MARKERS, "plain")

    @pytest.mark.parametrize(
        ("machine", "features", "kind"),
        [
            ("x86_64", ("avx2",), "x86_64 without VNNI"),
            ("x86_64", ("avx2", "avx_vnni"), "x86_64 with VNNI"),
            ("x86_64", ("avx512_vnni", "amx_int8"), "x86_64 with AMX"),
            ("aarch64", ("asimd",), "aarch64 without dot products"),
            ("aarch64", ("asimd", "asimddp"), "aarch64 with dot products"),
            ("riscv64", (), "riscv64"),
        ],
    )
    def test_processors_are_told_apart_by_what_multiplies_bytes(self, machine, features, kind):
        device = msgspec.structs.replace(
            self.result().device, machine=machine, cpu_features=features
        )
        assert processor_kind(device) == kind

    def test_result_survives_its_file(self):
        whole = self.result()
        assert msgspec.json.decode(msgspec.json.encode(whole), type=PeersResult) == whole


def test_shapes_are_the_promised_ones():
    assert [shape.title for shape in SHAPES] == ["64/128", "128/256"]
