"""Where a model's time goes, operator by operator: LiteRT's own profiler through its C interface.

`Interpreter` of the Python package offers no profiler, and the package's benchmark command has no
option for one. The library beside it (`libLiteRt.so`) exports the C interface, whose structs are
"public API and ABI stable" by its headers (`litert/c/litert_profiler.h`, `litert_model_types.h`,
`litert_layout.h`); that is what is called here, in a process that may die of it.

Times are whole microseconds, so an operator below one is undercounted; and every event costs
time itself, which a model of many small operators feels. Both are in the result.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
import time
from collections import Counter
from collections.abc import Sequence
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeseq.errors import DeviceError

_CPU = 1
_INT32, _FLOAT32 = 2, 1
_ALIGNMENT = 64
# Event types of `litert_profiler_event.h`: a run of a graph, a node of the runtime, an operator
# inside of a delegate.
_DEFAULT, _OPERATOR, _IN_DELEGATE = 1, 2, 8
_EVENTS_LIMIT = 300_000  # the profiler's own buffer holds 524,288 and then overwrites
# Names of nodes that run other graphs: their time is that of what runs inside.
_CONTROL = frozenset(["WHILE", "IF", "CALL", "CALL_ONCE"])


class _Memory(ctypes.Structure):
    _fields_ = (("total", c_size_t), ("in_use", c_size_t), ("footprint", c_size_t))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", c_char_p),
        ("kind", c_int),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("begin", _Memory),
        ("end", _Memory),
        ("node", c_uint64),
        ("subgraph", c_uint64),
        ("source", c_int),
    )


class _Layout(ctypes.Structure):
    _fields_ = (("rank", c_uint32), ("sizes", ctypes.c_int32 * 8), ("strides", c_uint32 * 8))


class _TensorType(ctypes.Structure):
    _fields_ = (("element", c_int), ("layout", _Layout))


class Operators(NamedTuple):
    """What was observed: times by (operator, who ran it), and the nodes that the runtime ran.

    `invoke_us` is the time within the main graph under the profiler, over all `runs`; `plain_ns`
    holds one time a run without it. `nodes` are (subgraph, node) pairs.
    """

    runs: int
    invoke_us: int
    plain_ns: tuple[int, ...]
    times_us: dict[tuple[str, str], int]
    calls: dict[tuple[str, str], int]
    nodes: frozenset[tuple[int, int]]


def profile(
    path: str,
    inputs: Any,
    *,
    output_shape: tuple[int, ...],
    threads: int,
    words: int | None = None,
    budget_s: float = 1.5,
) -> Operators:
    """Profiles the model at `path` on the token ids of one text, or the numbers [steps, features]
    of one sequence, for about `budget_s`; a model with word features gets `words` rows for each
    token, those of no word.

    The model's one signature must have one output of `output_shape`. Raises
    `DeviceError` where the runtime has no profiler or refuses.
    """
    is_text = isinstance(inputs, list)
    values = [np.asarray([inputs], np.int32 if is_text else np.float32)]
    if words is not None:
        values.append(np.zeros((1, len(inputs), words), np.int32))
    session = _Session(path, values, output_shape, threads)
    for _ in range(3):
        session.run()
    plain_ns: list[int] = []
    begun_ns = time.perf_counter_ns()
    while len(plain_ns) < 200 and time.perf_counter_ns() - begun_ns < budget_s * 0.5e9:
        run_ns = time.perf_counter_ns()
        session.run()
        plain_ns.append(time.perf_counter_ns() - run_ns)
    return _collect(session, plain_ns, budget_s)


def _collect(session: _Session, plain_ns: list[int], budget_s: float) -> Operators:
    session.call("LiteRtStartProfiler", session.profiler)
    runs, count = 0, c_int()
    begun_ns = time.perf_counter_ns()
    while runs < 200 and count.value < _EVENTS_LIMIT:
        session.run()
        runs += 1
        session.call("LiteRtGetNumProfilerEvents", session.profiler, byref(count))
        if time.perf_counter_ns() - begun_ns > budget_s * 1e9:
            break
    session.call("LiteRtStopProfiler", session.profiler)
    events = (_Event * count.value)()
    session.call("LiteRtGetProfilerEvents", session.profiler, count, events)
    times_us: Counter[tuple[str, str]] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    nodes, invoke_us = set(), 0
    for event in events:
        name = (event.tag or b"").decode("utf-8", errors="replace")
        if event.kind == _DEFAULT and name == "Invoke" and event.subgraph == 0:
            invoke_us += event.elapsed_us
        if event.kind == _OPERATOR:
            nodes.add((int(event.subgraph), int(event.node)))
        if event.kind not in (_OPERATOR, _IN_DELEGATE) or name in _CONTROL:
            continue
        key = (name, "runtime" if event.kind == _OPERATOR else "xnnpack")
        times_us[key] += event.elapsed_us
        calls[key] += 1
    return Operators(
        runs, invoke_us, tuple(plain_ns), dict(times_us), dict(calls), frozenset(nodes)
    )


class _Session:
    """A compiled model with its buffers; lives until its process ends."""

    def __init__(
        self, path: str, inputs: Sequence[Any], output_shape: tuple[int, ...], threads: int
    ) -> None:
        self._library = _library()
        self._references: list[object] = []
        environment, model, options = c_void_p(), c_void_p(), c_void_p()
        self.call("LiteRtCreateEnvironment", 0, None, byref(environment))
        self.call("LiteRtCreateModelFromFile", environment, path.encode(), byref(model))
        self.call("LiteRtCreateOptions", byref(options))
        self.call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._add(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._add(options, b"xnnpack", b"num_threads = %d\n" % threads)
        self._model, self.profiler = c_void_p(), c_void_p()
        self.call("LiteRtCreateCompiledModel", environment, model, options, byref(self._model))
        zero = c_size_t(0)
        for index, values in enumerate(inputs):
            shape, rank = (c_int * values.ndim)(*values.shape), c_size_t(values.ndim)
            self.call(
                "LiteRtCompiledModelResizeInputTensor",
                *(self._model, zero, c_size_t(index), shape, rank),
            )
        layouts = (_Layout * 1)()
        self.call(
            "LiteRtGetCompiledModelOutputTensorLayouts",
            *(self._model, zero, c_size_t(1), layouts, c_bool(True)),
        )
        buffers = []
        for values in inputs:
            is_integer = np.issubdtype(values.dtype, np.integer)
            buffer, address = self._buffer(_INT32 if is_integer else _FLOAT32, values.shape)
            ctypes.memmove(address, values.tobytes(), values.nbytes)
            buffers.append(buffer)
        outputs, _ = self._buffer(_FLOAT32, output_shape)
        self._inputs, self._outputs = (c_void_p * len(buffers))(*buffers), (c_void_p * 1)(outputs)
        self.call("LiteRtCompiledModelGetProfiler", self._model, byref(self.profiler))

    def call(self, name: str, *arguments: object) -> None:
        """Calls a function of the library; raises `DeviceError` when it does not say 0."""
        status = getattr(self._library, name)(*arguments)
        if status:
            raise DeviceError("the runtime's profiler refuses", where=name, found=f"code {status}")

    def run(self) -> None:
        """Runs the input once."""
        count = c_size_t(len(self._inputs))
        self.call(
            "LiteRtRunCompiledModel",
            *(self._model, c_size_t(0), count, self._inputs, c_size_t(1), self._outputs),
        )

    def _add(self, options: c_void_p, kind: bytes, text: bytes) -> None:
        payload, opaque = ctypes.create_string_buffer(text), c_void_p()
        deleter = ctypes.CFUNCTYPE(None, c_void_p)(lambda _: None)
        self._references += [payload, deleter]
        self.call("LiteRtCreateOpaqueOptions", kind, payload, deleter, byref(opaque))
        self.call("LiteRtAddOpaqueOptions", options, opaque)

    def _buffer(self, element: int, shape: tuple[int, ...]) -> tuple[c_void_p, int]:
        size_bytes = 4 * math.prod(shape)
        memory = ctypes.create_string_buffer(size_bytes + _ALIGNMENT)
        self._references.append(memory)
        address = -(-ctypes.addressof(memory) // _ALIGNMENT) * _ALIGNMENT
        tensor, buffer = _TensorType(element=element), c_void_p()
        tensor.layout.rank = len(shape)
        tensor.layout.sizes[: len(shape)] = shape
        self.call(
            "LiteRtCreateTensorBufferFromHostMemory",
            *(byref(tensor), c_void_p(address), c_size_t(size_bytes), None, byref(buffer)),
        )
        return buffer, address


def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / "libLiteRt.so"
        if path.is_file():
            library = ctypes.CDLL(str(path))
            if hasattr(library, "LiteRtCompiledModelGetProfiler"):
                library.LiteRtCreateOpaqueOptions.argtypes = (
                    *(c_char_p, c_void_p, c_void_p, POINTER(c_void_p)),
                )
                return library
    raise DeviceError(
        "this runtime has no profiler",
        expected="ai-edge-litert 2.1 or newer",
        fix="pip install 'edgeseq[device]', or measure without --profile",
    )
