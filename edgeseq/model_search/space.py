"""The space that is searched: the settings of each family, their ranges, and where to begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from edgeseq.errors import InputError
from edgeseq.formats.bundle_manifest import Lowering
from edgeseq.formats.trained_model import Arch
from edgeseq.model_search.candidates import Candidate
from edgeseq.tasks.head import is_numeric
from edgeseq.tasks.registry import task_of
from edgeseq_converters.convert.lower.dispatch import lowerings_of, recipes_for_task
from edgeseq_converters.training.settings import read_settings

if TYPE_CHECKING:
    import optuna

MeasuredRunner = Literal["native", "python"]
"""The program that candidates are measured in."""
FAMILIES: tuple[Arch, ...] = ("bag", "lstm", "bert")
RECIPES = ("dynamic_wi4_ei4_afp32", "static_wi8_ai8", "dynamic_wi8_afp32", "float32")
"""From the smallest file up. The other recipes lie between these in size, and none is faster."""
DEFAULT_RECIPE = "dynamic_wi8_afp32"


class Options(NamedTuple):
    """A setting with a few values, the cheapest first."""

    name: str
    values: tuple[Any, ...]
    default: Any

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """A value for the trial."""
        return trial.suggest_categorical(key, self.values)

    @property
    def cheapest(self) -> Any:
        """The value of the smallest model."""
        return self.values[0]


class Count(NamedTuple):
    """A whole number; models grow with it, or shrink where `grows` is false."""

    name: str
    low: int
    high: int
    step: int
    default: int
    grows: bool = True

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """A value for the trial."""
        return trial.suggest_int(key, self.low, self.high, step=self.step)

    @property
    def cheapest(self) -> Any:
        """The value of the smallest model."""
        return self.low if self.grows else self.high


class Size(NamedTuple):
    """A number of columns, a multiple of 8; each factor is as likely as the other."""

    name: str
    low: int
    high: int
    default: int

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """A value for the trial."""
        return trial.suggest_int(key, self.low, self.high, log=True) // 8 * 8

    @property
    def cheapest(self) -> Any:
        """The value of the smallest model."""
        return self.low


class Number(NamedTuple):
    """A number that costs nothing on the device."""

    name: str
    low: float
    high: float
    default: float
    is_log: bool = False

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """A value for the trial."""
        return trial.suggest_float(key, self.low, self.high, log=self.is_log)

    @property
    def cheapest(self) -> Any:
        """The default: the size does not depend on it."""
        return self.default


Setting = Options | Count | Size | Number

_STUDENT: tuple[Setting, ...] = (
    Size("embedding_size", 16, 256, 128),
    Size("hidden_size", 16, 256, 128),
    Count("min_piece_count", 1, 8, 1, 2, grows=False),
    Number("learning_rate", 1e-3, 1e-2, 3e-3, is_log=True),
    Number("dropout", 0.0, 0.5, 0.3),
)
_SETTINGS: dict[Arch, tuple[Setting, ...]] = {
    "bag": (*_STUDENT, Options("pooling", ("mean", "max"), "mean")),
    "lstm": (
        *_STUDENT,
        Count("layers", 1, 2, 1, 1),
        Options("bidirectional", (False, True), True),
    ),
    "bert": (
        Count("min_piece_count", 0, 4, 1, 2, grows=False),
        Number("learning_rate", 5e-5, 4e-4, 2e-4, is_log=True),
        Number("dropout", 0.0, 0.2, 0.05),
    ),
}
_DISTILLED: dict[Arch, tuple[Setting, ...]] = {
    "bag": (
        Number("hard_label_weight", 0.0, 1.0, 0.3),
        Options("token_state_weight", (0.0, 0.5, 1.0), 1.0),
        Options("transfer_size", (0, 5_000, 20_000), 0),
    ),
    "bert": (
        Number("hard_label_weight", 0.0, 1.0, 0.3),
        Number("hidden_state_weight", 0.0, 2.0, 1.0),
    ),
}
_DISTILLED["lstm"] = _DISTILLED["bag"]


class SearchSpace(NamedTuple):
    """Which candidates there are.

    `bert_layers` is the number of layers of the checkpoint that BERTs start from; with
    `has_teacher` a candidate may learn from it. `epochs` is how long one is trained at most.
    """

    task: str
    families: tuple[Arch, ...]
    runner: MeasuredRunner
    epochs: int
    has_teacher: bool = False
    bert_layers: int = 6

    def settings_of(self, arch: Arch) -> tuple[Setting, ...]:
        """The settings that every candidate of a family has."""
        if arch != "bert":
            return _SETTINGS[arch]
        layers = Count("layers", 1, self.bert_layers, 1, self.bert_layers)
        return (*_SETTINGS[arch], layers)

    def lowerings_of(self, arch: Arch) -> tuple[Lowering, ...]:
        """The lowerings that are tried; the fastest of an LSTM differs by processor and size."""
        # `unrolled` computes all of its fixed length for the shortest text.
        unused = {"unrolled"}
        if self.runner == "native":  # it cannot reset the state of the fused operator
            unused.add("fused")
        return tuple(name for name in lowerings_of(arch, self.task) if name not in unused)

    def recipes_of(self, arch: Arch, lowering: Lowering) -> tuple[str, ...]:
        """The recipes that are tried with a lowering."""
        known = recipes_for_task(arch, lowering, self.task)
        return tuple(name for name in RECIPES if name in known)

    def suggest(self, trial: optuna.Trial) -> Candidate:
        """The candidate of a trial."""
        arch: Any = trial.suggest_categorical("arch", self.families)
        settings = self.settings_of(arch)
        is_distilled = self.has_teacher and trial.suggest_categorical(
            f"{arch}_teacher", (True, False)
        )
        if is_distilled:
            settings = (*settings, *_DISTILLED[arch])
        train = {s.name: s.suggest(trial, f"{arch}_{s.name}") for s in settings}
        lowerings = self.lowerings_of(arch)
        lowering: Any = trial.suggest_categorical(f"{arch}_lowering", lowerings)
        recipes = self.recipes_of(arch, lowering)
        recipe: Any = trial.suggest_categorical(f"{arch}_{lowering}_recipe", recipes)
        return self._candidate(arch, recipe, lowering, train, is_distilled=is_distilled)

    def first_parameters(self) -> list[dict[str, Any]]:
        """What the first trials try: the default and the cheapest model of each family."""
        return [
            self._parameters(arch, is_cheapest=is_cheapest)
            for is_cheapest in (False, True)
            for arch in self.families
        ]

    def _parameters(self, arch: Arch, *, is_cheapest: bool) -> dict[str, Any]:
        settings = self.settings_of(arch)
        values: dict[str, Any] = {"arch": arch}
        if self.has_teacher:
            settings = (*settings, *_DISTILLED[arch])
            values[f"{arch}_teacher"] = True
        for setting in settings:
            value = setting.cheapest if is_cheapest else setting.default
            values[f"{arch}_{setting.name}"] = value
        lowering = self.lowerings_of(arch)[0]
        recipe = self.recipes_of(arch, lowering)[0] if is_cheapest else DEFAULT_RECIPE
        return {**values, f"{arch}_lowering": lowering, f"{arch}_{lowering}_recipe": recipe}

    def _candidate(
        self,
        arch: Arch,
        recipe: Any,
        lowering: Lowering,
        train: dict[str, Any],
        *,
        is_distilled: bool,
    ) -> Candidate:
        return Candidate(arch, recipe, lowering, {**train, "epochs": self.epochs}, is_distilled)


def check_families(task: str, families: Sequence[str]) -> tuple[Arch, ...]:
    """The families in their order; raises `InputError` for an unknown one, for one that the task
    does not have, and for a task that is not searched over."""
    if task_of(task).is_streaming or is_numeric(task_of(task).head):
        raise InputError(
            "a search is for texts or words with labels",
            where="task",
            found=task,
            fix="compare models with a suite: edgeseq run FILE",
        )
    if not families or len(set(families)) < len(families) or not set(families) <= set(FAMILIES):
        raise InputError(
            "is not a choice of families",
            where="families",
            found=", ".join(families) or "none",
            expected=" or ".join(FAMILIES) + ", each once",
        )
    for arch in families:
        read_settings({}, arch, task)
    return tuple(arch for arch in FAMILIES if arch in families)
