"""edgeseq: which text model fits a small device, measured on that device.

    import edgeseq as es

    data = es.load_dataset("reviews.csv")
    model = es.train(data, arch="lstm")
    bundle = es.convert(model, data, out="bundles/lstm")
    result = es.bench([bundle])
    es.report([result], budget="memory=64MB").save("report/")

Importing it loads neither half (`edgeseq_converters` on the workstation, `edgeseq_benchmarks` on
the device) nor numpy: each name is imported when it is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeseq import errors
    from edgeseq.api import devices
    from edgeseq.api.bench import bench, bench_all
    from edgeseq.api.bundle import Bundle, load_bundle
    from edgeseq.api.compare import compare
    from edgeseq.api.convert import convert, convert_all, convert_to_tflite
    from edgeseq.api.data import list_datasets, load_dataset, save_dataset, summarize_dataset
    from edgeseq.api.describe import describe_weights
    from edgeseq.api.export import check_export, export
    from edgeseq.api.fetch import fetch_dataset
    from edgeseq.api.hub import pull, push
    from edgeseq.api.inspection import inspect
    from edgeseq.api.model import Model, load_model
    from edgeseq.api.report import recommend, report
    from edgeseq.api.result import Result, load_result
    from edgeseq.api.run import run
    from edgeseq.api.search import search
    from edgeseq.api.serve import serve
    from edgeseq.api.train import train
    from edgeseq.errors import EdgeseqError
    from edgeseq.reporting.comparison import Comparison
    from edgeseq.reporting.deployment_report import Report
    from edgeseq.tasks.examples import Dataset
    from edgeseq_benchmarks.bench.predictor import Prediction

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "Comparison",
    "Dataset",
    "EdgeseqError",
    "Model",
    "Prediction",
    "Report",
    "Result",
    "bench",
    "bench_all",
    "check_export",
    "compare",
    "convert",
    "convert_all",
    "convert_to_tflite",
    "describe_weights",
    "devices",
    "errors",
    "export",
    "fetch_dataset",
    "inspect",
    "list_datasets",
    "load_bundle",
    "load_dataset",
    "load_model",
    "load_result",
    "pull",
    "push",
    "recommend",
    "report",
    "run",
    "save_dataset",
    "search",
    "serve",
    "summarize_dataset",
    "train",
]

_MODULES = {
    "edgeseq.api.bench": ("bench", "bench_all"),
    "edgeseq.api.bundle": ("Bundle", "load_bundle"),
    "edgeseq.api.compare": ("compare",),
    "edgeseq.api.convert": ("convert", "convert_all", "convert_to_tflite"),
    "edgeseq.api.data": ("list_datasets", "load_dataset", "save_dataset", "summarize_dataset"),
    "edgeseq.api.describe": ("describe_weights",),
    "edgeseq.api.export": ("check_export", "export"),
    "edgeseq.api.fetch": ("fetch_dataset",),
    "edgeseq.api.hub": ("pull", "push"),
    "edgeseq.api.inspection": ("inspect",),
    "edgeseq.api.model": ("Model", "load_model"),
    "edgeseq.api.report": ("recommend", "report"),
    "edgeseq.api.result": ("Result", "load_result"),
    "edgeseq.api.run": ("run",),
    "edgeseq.api.search": ("search",),
    "edgeseq.api.serve": ("serve",),
    "edgeseq.api.train": ("train",),
    "edgeseq.errors": ("EdgeseqError",),
    "edgeseq.reporting.comparison": ("Comparison",),
    "edgeseq.reporting.deployment_report": ("Report",),
    "edgeseq.tasks.examples": ("Dataset",),
    "edgeseq_benchmarks.bench.predictor": ("Prediction",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "devices":
        return importlib.import_module("edgeseq.api.devices")
    if name == "errors":
        return importlib.import_module("edgeseq.errors")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'edgeseq' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
