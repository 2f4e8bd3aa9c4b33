"""The JavaScript that a page needs besides its own: pinned, fetched at export, never bundled.

The page names these files in an import map, so no bundler is needed and each stays as its authors
published it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq.formats.archives import extract_members
from edgeseq.formats.result import RuntimeInfo
from edgeseq_converters.export.web.npm_package import NpmPackage, fetch_npm_package

_LITERT_VERSION = "2.5.3"
RUNTIME = RuntimeInfo("@litertjs/core", _LITERT_VERSION, python="none", delegate="xnnpack")
"""What runs the model in a page, as a result names it."""


class _Library(msgspec.Struct, frozen=True):
    """A package, and the files of it that a page loads by where they go below `vendor/`."""

    package: NpmPackage
    files: dict[str, str]


# The two builds that the loader chooses between: with relaxed SIMD, and for older browsers.
_WASM = tuple(
    f"litert_wasm_{build}.{suffix}"
    for build in ("internal", "compat_internal")
    for suffix in ("js", "wasm")
)
_LIBRARIES = (
    _Library(
        NpmPackage(
            "@litertjs/core",
            _LITERT_VERSION,
            "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        ),
        {
            "package/dist/index.js": "litert/index.js",
            "package/package.json": "litert/package.json",
            **{f"package/wasm/{name}": f"litert/wasm/{name}" for name in _WASM},
        },
    ),
    _Library(
        NpmPackage(
            "@litertjs/wasm-utils",
            _LITERT_VERSION,
            "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        ),
        {"package/dist/index.js": "litert/wasm-utils.js"},
    ),
    _Library(
        NpmPackage(
            "@huggingface/tokenizers",
            "0.2.0",
            "LidMHe1FpcSYH4vcSjXooda34pC0M8m1gmDOv7SQi6Iv+ib1zX7J3sHBCC9/3FPCkn2k1b55FneVqMRxrr99pg==",
        ),
        {
            "package/dist/tokenizers.min.mjs": "tokenizers/tokenizers.mjs",
            "package/LICENSE": "tokenizers/LICENSE",
        },
    ),
)


def write_libraries(folder: Path) -> None:
    """Writes the libraries' files to `folder`/vendor.

    Raises `FetchError` when they are not in the cache and cannot be fetched.
    """
    for library in _LIBRARIES:
        extract_members(fetch_npm_package(library.package), library.files, folder / "vendor")


def library_titles() -> tuple[str, ...]:
    """The packages with their versions."""
    return tuple(f"{item.package.name} {item.package.version}" for item in _LIBRARIES)
