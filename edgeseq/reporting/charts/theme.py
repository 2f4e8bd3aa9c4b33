"""How charts look: colours, shapes and names of models.

One hue family per architecture, in every chart: orange for LSTMs, blue for BERTs. The pair, from
Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), stays apart under the common kinds of
colour blindness; within a family the lightness differs, and so do shape and dash.

A chart holds the light colours; in the page each becomes a CSS variable, so that dark mode and
printing need no second chart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from edgeseq.formats.bundle_manifest import RecipeName
from edgeseq.formats.trained_model import Arch
from edgeseq.tasks.registry import task_of

Spec = dict[str, Any]

PICTURE_WIDTH_PX = 680
LABEL_WIDTH_PX = 560
NARROW_WIDTH_PX = 330
IS_NARROW = "room < 520"
"""Labels are placed twice: for pictures of at least `LABEL_WIDTH_PX`, and for a phone. `room` is
a chart's parameter: the width in px that the page has for it."""
AXIS_WIDTH_PX = 58

# token: (light, dark)
PALETTE: dict[str, tuple[str, str]] = {
    "ink": ("#16202c", "#e8edf3"),
    "muted": ("#5a6675", "#9eabba"),
    "grid": ("#e3e8ee", "#2b3542"),
    "paper": ("#ffffff", "#141b24"),
    "bad": ("#b3123c", "#ff7d96"),
    "none": ("#d5dbe2", "#3a4553"),
    "bag-0": ("#00402f", "#c9f2e3"),
    "bag-1": ("#006048", "#8fdcc0"),
    "bag-2": ("#008060", "#4fc49d"),
    "bag-3": ("#2aa583", "#2ea581"),
    "bag-4": ("#7ccbb3", "#1c8467"),
    "lstm-0": ("#7a2e01", "#ffdcc0"),
    "lstm-1": ("#a84301", "#ffc08c"),
    "lstm-2": ("#d55e01", "#fb9a4b"),
    "lstm-3": ("#ea8433", "#e57a22"),
    "lstm-4": ("#f2a65e", "#c4600f"),
    "bert-0": ("#003c67", "#d4ecff"),
    "bert-1": ("#005a97", "#a3d4fb"),
    "bert-2": ("#0078c3", "#66b5f0"),
    "bert-3": ("#3d9ee1", "#3a95db"),
    "bert-4": ("#7fbfee", "#2077ba"),
}
ARCHS: tuple[Arch, ...] = ("bag", "lstm", "bert")
"""From the least computation up."""
_SPREAD = {1: (2,), 2: (1, 3), 3: (0, 2, 3), 4: (0, 1, 2, 3)}
_RECIPE_ORDER = get_args(RecipeName)
# (shape of a point, dash of a line): one of the pair is drawn, as the chart needs.
_FORMS = (
    ("circle", (1, 0)),
    ("square", (7, 3)),
    ("diamond", (2, 2)),
    ("triangle-up", (8, 2, 2, 2)),
    ("cross", (4, 4)),
    ("triangle-down", (12, 3)),
)
_RECIPE_TITLES: dict[str, str] = {
    "dynamic_wi8_afp32": "dynamic int8",
    "dynamic_wi4_afp32": "dynamic int4",
    "dynamic_wi4_ei4_afp32": "dynamic int4, embeddings too",
    "weight_only_wi8_afp32": "weight-only int8",
    "static_wi8_ai8": "static int8",
}


def arch_title(arch: Arch, task: str) -> str:
    """The name of an architecture in a task's report."""
    return {"lstm": "LSTM", "bag": "bag of embeddings"}.get(arch) or task_of(task).bert_title


def archs_of(archs: Iterable[Arch]) -> tuple[Arch, ...]:
    """Those of `ARCHS` that are among `archs`, in that order."""
    present = set(archs)
    return tuple(arch for arch in ARCHS if arch in present)


def colour(token: str) -> str:
    """The light colour of a token of the palette."""
    return PALETTE[token][0]


def arch_colour(arch: Arch) -> str:
    """The colour that stands for a whole architecture."""
    return colour(f"{arch}-2")


class ModelStyle(NamedTuple):
    """How one model is drawn and called in every chart."""

    label: str
    colour: str
    shape: str
    dash: tuple[int, ...]


def styles_of(models: Sequence[tuple[str, Arch, str]]) -> dict[str, ModelStyle]:
    """A style for each (bundle, architecture, recipe), by bundle.

    Within an architecture the darkest colour is the largest recipe. The shape stands for the
    recipe as long as that leaves no two models of the family alike (they are more than the
    colours, and recipes repeat); otherwise shapes follow the order, which keeps
    colours times shapes models apart.
    """
    labels = _short_labels(models)
    styles: dict[str, ModelStyle] = {}
    for arch in sorted({arch for _, arch, _ in models}):
        family = [(bundle, recipe) for bundle, arch_, recipe in models if arch_ == arch]
        family.sort(key=lambda item: (_recipe_rank(item[1]), item[0]))
        spread = _SPREAD.get(len(family), (0, 1, 2, 3, 4))
        shades = [spread[index % len(spread)] for index in range(len(family))]
        forms = [_recipe_rank(recipe) % len(_FORMS) for _, recipe in family]
        if len(set(zip(shades, forms, strict=True))) < len(family):
            forms = [index % len(_FORMS) for index in range(len(family))]
        for (bundle, _), shade, form in zip(family, shades, forms, strict=True):
            styles[bundle] = ModelStyle(
                label=labels[bundle],
                colour=colour(f"{arch}-{shade}"),
                shape=_FORMS[form][0],
                dash=_FORMS[form][1],
            )
    return {bundle: styles[bundle] for bundle, _, _ in models}


def printable(text: str) -> str:
    """`text` on one line of printable characters: Vega-Lite puts sorted names into expressions,
    which a line separator (U+2028) would break."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split())) or "(empty)"


def _recipe_rank(recipe: str) -> int:
    return _RECIPE_ORDER.index(recipe) if recipe in _RECIPE_ORDER else len(_RECIPE_ORDER)


def _short_labels(models: Sequence[tuple[str, Arch, str]]) -> dict[str, str]:
    """`MODEL-RECIPE-LOWERING` as `MODEL recipe in words LOWERING`, unique and at most 32
    characters."""
    labels = {}
    for bundle, _, recipe in models:
        title = _RECIPE_TITLES.get(recipe, recipe)
        name = printable(bundle)
        stem, separator, lowering = name.partition(recipe)
        words = (stem.rstrip("-_ "), title, lowering.strip("-_ "))
        label = " ".join(word for word in words if word) if stem and separator else name
        labels[bundle] = label if len(label) <= 32 else f"{label[:17]}…{label[-14:]}"
    if len(set(labels.values())) < len(labels):
        return {
            bundle: f"{index}. {printable(bundle)[:28]}" for index, bundle in enumerate(labels, 1)
        }
    return labels


def vega_config() -> Spec:
    """The Vega-Lite `config` that all charts share."""
    text = {"labelColor": colour("muted"), "titleColor": colour("ink")}
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
    return {
        "background": None,
        # The page names each chart as a whole; its marks are no objects of their own.
        "aria": False,
        "font": font,
        "view": {"stroke": None},
        "axis": {
            **text,
            "gridColor": colour("grid"),
            "domainColor": colour("none"),
            "tickColor": colour("none"),
            "labelFontSize": 11,
            "titleFontSize": 12,
            "titleFontWeight": 600,
            "titlePadding": 8,
        },
        "legend": {
            **text,
            "orient": "top",
            "labelFontSize": 12,
            "titleFontSize": 12,
            "labelLimit": 260,
            "symbolSize": 90,
            # Two legends of one chart are stacked: side by side, a phone would cut one off.
            "layout": {"top": {"direction": "vertical", "anchor": "start", "margin": 4}},
            "columns": {"expr": "room < 420 ? 1 : room < 640 ? 2 : 3"},
        },
        "text": {"color": colour("ink"), "fontSize": 11},
        "rule": {"color": colour("muted")},
    }


def log_ticks(low: float, high: float) -> list[float]:
    """At most 9 round ticks within [low, high]: 1, 2, 5 of each decade or more of them, and equal
    steps where the ends are so near that fewer than 3 of these lie between."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        ticks = [float(f"{step * 10.0**decade:.6g}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 9:
            break
    if len(ticks) >= 3:
        return ticks
    decade = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(
        step for step in (decade, 2 * decade, 5 * decade, 10 * decade) if (high - low) / step <= 7
    )
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{index * step:.6g}") for index in range(first, last + 1)]


def with_css_variables(value: Any) -> Any:
    """A chart with every colour of the palette replaced by its CSS variable (for SVG in a page)."""
    if isinstance(value, str):
        return _VARIABLES.get(value, value)
    if isinstance(value, Mapping):
        return {key: with_css_variables(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_css_variables(item) for item in value]
    return value


_VARIABLES = {light: f"var(--{token})" for token, (light, _) in PALETTE.items()}


def css_variables(*, dark: bool) -> str:
    """The palette as CSS declarations."""
    return "".join(f"--{token}:{pair[dark]};" for token, pair in PALETTE.items())
