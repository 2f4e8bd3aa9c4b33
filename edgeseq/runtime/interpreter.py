"""The TFLite runtime of this machine, and the wrapper around a model in it.

Runtimes are tried in this order: `ai_edge_litert` (current), `tflite_runtime` (the last one for
32-bit ARM), `tensorflow` (whose `tf.lite` is being removed). This module imports nothing but NumPy,
msgspec and small modules of `edgeseq`: it also runs in the environment of an older runtime.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from edgeseq.errors import BundleError, DeviceError
from edgeseq.runtime import PADDING_ID
from edgeseq.tasks.word_features import WORD_FEATURES
from edgeseq.units import check_threads

if TYPE_CHECKING:
    import numpy.typing as npt

RuntimePackage = Literal["ai-edge-litert", "tflite-runtime", "tensorflow"]

_MODULES: tuple[tuple[RuntimePackage, str, str], ...] = (
    ("ai-edge-litert", "ai_edge_litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow", "tensorflow.lite.python.interpreter"),
)


class TfliteRuntime(NamedTuple):
    """A TFLite runtime: its package, and the `Interpreter` class."""

    package: RuntimePackage
    interpreter: Any


class SignatureNames(NamedTuple):
    """The names that bind a model's tensors; the order of `get_input_details` is not the
    function's."""

    key: str = "serving_default"
    input: str = "input_ids"
    output: str = "logits"


def find_runtime() -> TfliteRuntime:
    """Imports the first runtime that is installed.

    Raises `DeviceError` when none is, or when the installed one cannot be imported (a wheel for
    another numpy, for instance): falling back to another one would measure the wrong thing.
    """
    for package, top_level, module in _MODULES:
        try:
            interpreter = importlib.import_module(module).Interpreter
        except ModuleNotFoundError as failure:
            if (failure.name or "").split(".")[0] == top_level:
                continue
            raise _import_error(package, failure) from failure
        except (ImportError, AttributeError) as failure:
            raise _import_error(package, failure) from failure
        return TfliteRuntime(package, interpreter)
    raise DeviceError(
        "has no TFLite runtime",
        where="this Python",
        expected=" or ".join(package for package, _, _ in _MODULES),
        fix="run: pip install 'edgeseq[device]'",
    )


def without_xnnpack(runtime: TfliteRuntime) -> TfliteRuntime:
    """The runtime with its built-in kernels alone."""
    resolvers = importlib.import_module(runtime.interpreter.__module__).OpResolverType
    interpreter = functools.partial(
        runtime.interpreter,
        experimental_op_resolver_type=resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    return TfliteRuntime(runtime.package, interpreter)


def _import_error(package: RuntimePackage, failure: Exception) -> DeviceError:
    fix = f"reinstall {package}"
    if package == "tflite-runtime":
        # Its last release was built against numpy 1 ("_ARRAY_API not found" with numpy 2).
        fix = "pip install 'edgeseq[device-legacy]', which keeps numpy below 2"
    return DeviceError("cannot be imported", where=package, found=str(failure), fix=fix)


def load_interpreter(runtime: TfliteRuntime, path: str, threads: int) -> Any:
    """An interpreter that maps the file at `path`.

    Raises `BundleError` when it cannot, and `InputError` for an impossible number of threads.
    """
    check_threads(threads)
    try:
        # A path, not the content: the file stays mapped, its pages can be dropped.
        return runtime.interpreter(model_path=path, num_threads=threads)
    except (ValueError, RuntimeError) as failure:
        raise BundleError(
            "is not a TFLite model that this runtime can load",
            where=path,
            found=str(failure),
            fix=f"convert it for {runtime.package} or copy the file again",
        ) from failure


class TfliteModel:
    """A stateless model in an interpreter; not safe for several threads at once.

    The input is int32 [1, tokens], at a text's length or padded to the model's fixed one, or the
    numbers float32 [1, steps, features] of a sequence, of exactly that length; a model with
    `word_features` also takes int32 [1, tokens, 3]. The output is float32
    [1, outputs], or [1, tokens, outputs]. Tensor indices are looked up once, because a
    `SignatureRunner` allocates again in every call.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        runtime: TfliteRuntime | None = None,
        signature: SignatureNames = SignatureNames(),  # noqa: B008  (immutable)
        num_labels: int | None = None,
        by_token: bool = False,
        features: int | None = None,
        word_features: int | None = None,
        threads: int = 1,
    ) -> None:
        """Maps the file at `path` in `runtime` (default: the installed one).

        With `num_labels`, the output must be [1, labels], or with `by_token` [1, tokens, labels];
        `features` are those of each step of a numeric sequence, None of a model of token ids;
        `word_features` how many rows of words each token has beside its id, None where the model
        takes ids alone.
        Raises `BundleError` when the file is not such a model.
        """
        runtime = runtime or find_runtime()
        self._path = str(path)
        self._interpreter = load_interpreter(runtime, self._path, threads)
        names = self._interpreter.get_signature_list().get(signature.key)
        inputs = [signature.input] + [WORD_FEATURES] * (word_features is not None)
        if names is None or (sorted(names["inputs"]), names["outputs"]) != (
            sorted(inputs),
            [signature.output],
        ):
            raise self._error(
                "does not have the expected signature",
                found=names,
                expected=f"{signature.key} with input {' and '.join(inputs)} "
                f"and output {signature.output}",
            )
        # The runner is dropped at once: while one lives, the interpreter refuses to resize.
        runner = self._interpreter.get_signature_runner(signature.key)
        self._input = int(runner.get_input_details()[signature.input]["index"])
        self._output = int(runner.get_output_details()[signature.output]["index"])
        self._words: int | None = None
        if word_features is not None:
            self._words = int(runner.get_input_details()[WORD_FEATURES]["index"])
        del runner
        self._allocated_tokens = 0
        self._by_token, self._num_labels = by_token, num_labels
        self._output_shape: tuple[int, ...] | None = None
        self._step_shape = () if features is None else (features,)
        self.fixed_length = self._read_fixed_length()
        length = self.fixed_length or -1
        dtype, shape = "int32" if features is None else "float32", (1, length, *self._step_shape)
        self._check("input", self._interpreter.get_input_details(), dtype, shape)
        self._num_word_features = word_features or 0
        if self._words is not None:
            shape = (1, length, self._num_word_features)
            self._check(WORD_FEATURES, self._interpreter.get_input_details(), "int32", shape)
        if num_labels is not None:
            shape = (1, length, num_labels) if by_token else (1, num_labels)
            self._check("output", self._interpreter.get_output_details(), "float32", shape)

    def _read_fixed_length(self) -> int | None:
        """Number of tokens that the model always takes, or None for an open axis."""
        for tensor in self._interpreter.get_input_details():
            shape = [int(size) for size in tensor["shape_signature"]]
            is_input = tensor["index"] == self._input
            if is_input and len(shape) == 2 + len(self._step_shape) and shape[1] > 0:
                return shape[1]
        return None

    def _check(
        self,
        side: Literal["input", "output", "word_features"],
        details: list[dict[str, Any]],
        dtype: str,
        shape: tuple[int, ...],
    ) -> None:
        index = {"input": self._input, "output": self._output, WORD_FEATURES: self._words}[side]
        for tensor in details:
            if tensor["index"] != index:
                continue
            signature = tuple(int(size) for size in tensor["shape_signature"])
            tensor_dtype = np.dtype(tensor["dtype"]).name
            # An output's shape is often left unknown; `infer` checks the actual one.
            is_open = side == "output" and (len(signature) != len(shape) or -1 in signature)
            if tensor_dtype == dtype and (signature == shape or is_open):
                return
            raise self._error(
                f"its {side} is not the expected one",
                found=f"{tensor_dtype} {list(signature)}",
                expected=f"{dtype} {list(shape)}",
            )
        raise self._error(f"its signature's {side} does not belong to the main graph")

    def allocate(self, tokens: int) -> None:
        """Allocates tensors for inputs of `tokens` tokens, unless they already are."""
        tokens = self.fixed_length or tokens
        if tokens == self._allocated_tokens:
            return
        try:
            shape = [1, tokens, *self._step_shape]
            self._interpreter.resize_tensor_input(self._input, shape, strict=True)
            if self._words is not None:
                shape = [1, tokens, self._num_word_features]
                self._interpreter.resize_tensor_input(self._words, shape, strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as failure:
            self._allocated_tokens = 0
            raise self._error(f"cannot take an input of {tokens} tokens", failure) from failure
        self._allocated_tokens = tokens
        if self._num_labels is not None:
            token_axis = (tokens,) if self._by_token else ()
            self._output_shape = (1, *token_axis, self._num_labels)

    def infer(self, steps: Sequence[Any] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The output [outputs] of the token ids of one text, or of the numbers [steps, features] of
        a sequence; or [steps, outputs]. With word features a token is its id and then its rows
        (`edgeseq.tasks.word_windows.Windowed.model_inputs`). Texts are cut at a fixed length.

        State that a fused LSTM keeps in variable tensors is reset first (0.3 µs where there is
        none). Raises `BundleError` when the runtime fails, on a token id out of range for one.
        """
        self.allocate(len(steps))
        interpreter = self._interpreter
        inputs: npt.NDArray[Any] = np.asarray([steps], np.float32 if self._step_shape else np.int32)
        words = inputs
        if self._words is not None:
            inputs, words = inputs[:, :, 0], inputs[:, :, 1:]
            words = words if self.fixed_length is None else _pad(words, self.fixed_length, 0)
        if self.fixed_length is not None and not self._step_shape:
            inputs = _pad(inputs, self.fixed_length, PADDING_ID)
        try:
            interpreter.reset_all_variables()
            interpreter.set_tensor(self._input, inputs)
            if self._words is not None:
                interpreter.set_tensor(self._words, words)
            interpreter.invoke()
            outputs: npt.NDArray[np.float32] = interpreter.get_tensor(self._output)
        except (ValueError, RuntimeError) as failure:
            raise self._error("inference failed", failure) from failure
        if self._output_shape is not None and outputs.shape != self._output_shape:
            raise self._error(
                "its output does not have the expected shape",
                found=list(outputs.shape),
                expected=list(self._output_shape),
            )
        row: npt.NDArray[np.float32] = outputs[0]
        return row[: len(steps)] if row.ndim > 1 else row

    def _error(self, what: str, found: object = None, expected: object = None) -> BundleError:
        if isinstance(found, Exception):
            found = str(found)
        return BundleError(
            what, where=self._path, found=found, expected=expected, fix="convert the bundle again"
        )


def _pad(inputs: npt.NDArray[np.int32], length: int, value: int) -> npt.NDArray[np.int32]:
    """The inputs [1, tokens, …] cut or filled up to `length` on the right with `value`."""
    row = np.full((1, length, *inputs.shape[2:]), value, dtype=np.int32)
    inputs = inputs[:, :length]
    row[:, : inputs.shape[1]] = inputs
    return row
