"""The TFLite runtime of this machine, and one model in it.

Looked for in this order: `ai_edge_litert` (current), `tflite_runtime` (the last one for 32-bit
ARM), `tensorflow` (whose `tf.lite` is being removed).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from edgeseq.errors import BundleError, DeviceError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PADDING_ID = -1
"""What a model of a fixed length takes for no token (see `edgeseq.formats.bundle.Signature`)."""

Package = Literal["ai-edge-litert", "tflite-runtime", "tensorflow"]

_MODULES: tuple[tuple[Package, str, str], ...] = (
    ("ai-edge-litert", "ai_edge_litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime", "tflite_runtime.interpreter"),
    ("tensorflow", "tensorflow", "tensorflow.lite.python.interpreter"),
)


class Runtime(NamedTuple):
    """A TFLite runtime: the package that brought it, and its `Interpreter` class."""

    package: Package
    interpreter: Any


def find_runtime() -> Runtime:
    """Imports the first runtime that is installed.

    Raises `DeviceError` when none is, or when the installed one cannot be imported (a wheel for
    another numpy, for instance): then falling back to another one would measure the wrong thing.
    """
    for package, top_level, module in _MODULES:
        try:
            interpreter = importlib.import_module(module).Interpreter
        except ModuleNotFoundError as failure:
            if (failure.name or "").split(".")[0] == top_level:
                continue
            raise _broken(package, failure) from failure
        except (ImportError, AttributeError) as failure:
            raise _broken(package, failure) from failure
        return Runtime(package, interpreter)
    raise DeviceError(
        "has no TFLite runtime",
        where="this Python",
        expected=" or ".join(package for package, _, _ in _MODULES),
        fix="pip install 'edgeseq[device]'",
    )


def _broken(package: Package, failure: Exception) -> DeviceError:
    fix = f"reinstall {package}"
    if package == "tflite-runtime":
        # Its last release was built against numpy 1 ("_ARRAY_API not found" with numpy 2).
        fix = "pip install 'edgeseq[device-legacy]', which keeps numpy below 2"
    return DeviceError("cannot be imported", where=package, found=str(failure), fix=fix)


class Model:
    """A text classifier or tagger in an interpreter; one thread of use at a time.

    Input int32 [1, tokens], at a text's real length or filled up to the model's fixed one, and
    output float32 [1, labels], or [1, tokens, labels] `by_token`, are bound by the names of the
    signature, never by their order (the order of `get_input_details` is not the function's). Their
    tensor indices are looked up once: a `SignatureRunner` allocates again in every call.
    """

    def __init__(
        self,
        runtime: Runtime,
        path: str,
        *,
        signature_key: str,
        input_name: str,
        output_name: str,
        labels: int,
        threads: int,
        by_token: bool = False,
    ) -> None:
        """Maps the file at `path`; raises `BundleError` when it is not such a model."""
        import numpy as np

        self._path = path
        self._np = np
        try:
            # A path, not the content: the file stays mapped, its pages can be dropped.
            self._interpreter = runtime.interpreter(model_path=path, num_threads=threads)
        except (ValueError, RuntimeError) as failure:
            raise BundleError(
                "is not a TFLite model that this runtime can load",
                where=path,
                found=str(failure),
                fix=f"convert it for {runtime.package} or copy the file again",
            ) from failure
        signature = self._interpreter.get_signature_list().get(signature_key)
        if signature is None or signature != {"inputs": [input_name], "outputs": [output_name]}:
            raise BundleError(
                "has another signature than bundle.json says",
                where=path,
                found=signature,
                expected=f"{signature_key} with input {input_name} and output {output_name}",
                fix="convert the bundle again",
            )
        # The runner is dropped at once: while one lives, the interpreter refuses to resize.
        runner = self._interpreter.get_signature_runner(signature_key)
        details = runner.get_input_details()[input_name]
        self._input = int(details["index"])
        self._output = int(runner.get_output_details()[output_name]["index"])
        del runner
        self._tokens = 0
        self.fixed_length = self._fixed_length()
        shape = (1, self.fixed_length or -1)
        self._check("input", self._interpreter.get_input_details(), self._input, "int32", shape)
        self._by_token, self._labels = by_token, labels
        outputs = self._interpreter.get_output_details()
        answer = (1, self.fixed_length or -1, labels) if by_token else (1, labels)
        self._check("output", outputs, self._output, "float32", answer)

    def _fixed_length(self) -> int | None:
        """Number of tokens that the model always takes, or None for an open axis."""
        for tensor in self._interpreter.get_input_details():
            shape = [int(size) for size in tensor["shape_signature"]]
            if tensor["index"] == self._input and len(shape) == 2 and shape[1] > 0:
                return shape[1]
        return None

    def _check(
        self,
        side: str,
        details: list[dict[str, Any]],
        index: int,
        dtype: str,
        shape: tuple[int, ...],
    ) -> None:
        for tensor in details:
            if tensor["index"] != index:
                continue
            signature = tuple(int(size) for size in tensor["shape_signature"])
            found_dtype = self._np.dtype(tensor["dtype"]).name
            # An output's shape is often left unknown; its real one is checked by `answer`.
            open_output = side == "output" and (len(signature) != len(shape) or -1 in signature)
            if found_dtype == dtype and (signature == shape or open_output):
                return
            raise BundleError(
                f"has another {side} than a text classifier",
                where=self._path,
                found=f"{found_dtype} {list(signature)}",
                expected=f"{dtype} {list(shape)}",
                fix="convert the bundle again",
            )
        raise BundleError(
            f"its signature's {side} does not belong to the main graph",
            where=self._path,
            fix="convert the bundle again",
        )

    def allocate(self, tokens: int) -> None:
        """Makes room for inputs of `tokens` tokens; does nothing when there is room already."""
        tokens = self.fixed_length or tokens
        if tokens == self._tokens:
            return
        try:
            self._interpreter.resize_tensor_input(self._input, [1, tokens], strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as failure:
            self._tokens = 0
            raise BundleError(
                f"cannot take an input of {tokens} tokens",
                where=self._path,
                found=str(failure),
                fix="convert the bundle again",
            ) from failure
        self._tokens = tokens

    def _padded(self, given: npt.NDArray[np.int32], length: int) -> npt.NDArray[np.int32]:
        """Filled up to `length` on its right with `PADDING_ID`."""
        row = self._np.full((1, length), PADDING_ID, dtype=self._np.int32)
        kept = given[:, :length]
        row[:, : kept.shape[1]] = kept
        return row

    def answer(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """The logits [labels] of one text, or [tokens, labels].

        State that a fused LSTM keeps in variable tensors is reset first (0.3 µs where there is
        none). Raises `BundleError` when the runtime fails, on a token id out of range for one.
        """
        self.allocate(len(token_ids))
        interpreter = self._interpreter
        given = self._np.array([token_ids], dtype=self._np.int32)
        if self.fixed_length is not None:
            given = self._padded(given, self.fixed_length)
        try:
            interpreter.reset_all_variables()
            interpreter.set_tensor(self._input, given)
            interpreter.invoke()
            logits: npt.NDArray[np.float32] = interpreter.get_tensor(self._output)
        except (ValueError, RuntimeError) as failure:
            raise BundleError(
                "the model failed to answer",
                where=self._path,
                found=str(failure),
                fix="convert the bundle again",
            ) from failure
        tokens = (self._tokens,) if self._by_token else ()
        if logits.shape != (1, *tokens, self._labels):
            raise BundleError(
                "answered with another shape than there are labels",
                where=self._path,
                found=list(logits.shape),
                expected=[1, *tokens, self._labels],
                fix="convert the bundle again",
            )
        row: npt.NDArray[np.float32] = logits[0]
        return row[: len(token_ids)] if self._by_token else row
