"""Loads and runs mutated models, many a process: `python fuzz_child.py MODEL FIRST LAST FOLDER`.

Writes one line a mutation to stdout before it is tried and one after it: `try N`, `refused N`
(by the reader), `failed N` (by the runtime) or `answered N`. It forks for each stretch, so that a
mutation that kills native code costs a fork and not the import of the runtime.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

from edgeseq.errors import BundleError
from edgeseq.formats.tflite_file import parse_tflite
from edgeseq.runtime.interpreter import TfliteModel, TfliteRuntime, find_runtime
from edgeseq_benchmarks.bench.limits.rlimit import bound_this_process

STRETCH = 200
SECONDS = 3


def mutated(sound: bytes, number: int) -> bytes:
    """Mutation `number`: bits flipped, words replaced, parts cut off, doubled or moved."""
    rng = random.Random(number)  # noqa: S311
    content = bytearray(sound)
    kind = number % 6
    if kind == 0:
        return bytes(content[: rng.randrange(len(content))])
    if kind == 1:
        start, end = sorted(rng.randrange(len(content)) for _ in range(2))
        return bytes(content[:start] + content[end:])
    if kind == 2:
        start, end = sorted(rng.randrange(len(content)) for _ in range(2))
        return bytes(content[:end] + content[start:])
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(content) - 4)
        if kind == 3:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 4:
            word = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)))
            at &= ~3
            content[at : at + 4] = word.to_bytes(4, "little")
        else:
            content[at] = rng.randrange(256)
    return bytes(content)


def try_one(runtime: TfliteRuntime, content: bytes, path: Path) -> str:
    """What becomes of one mutation: `refused`, `failed` or `answered`."""
    try:
        parse_tflite(content, where=path)
    except BundleError:
        return "refused"
    path.write_bytes(content)
    try:
        TfliteModel(path, runtime=runtime, num_labels=3).infer([2, 3, 4])
    except BundleError:
        return "failed"
    return "answered"


def main() -> None:
    sound = Path(sys.argv[1]).read_bytes()
    number, last, path = int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]) / "fuzzed.tflite"
    runtime = find_runtime()
    bound_this_process()
    read, write = os.pipe()
    while number < last:
        os.write(write, bytes(4))  # so that there is always something to read
        pid = os.fork()
        if not pid:
            for one in range(number, min(number + STRETCH, last)):
                signal.alarm(SECONDS)
                os.write(1, f"try {one}\n".encode())
                os.write(1, f"{try_one(runtime, mutated(sound, one), path)} {one}\n".encode())
                os.write(write, one.to_bytes(4, "little"))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        done = os.read(read, 1 << 16)[4:]
        number = int.from_bytes(done[-4:], "little") + 1 if done else number
        if status:
            os.write(1, f"died {number} {os.waitstatus_to_exitcode(status)}\n".encode())
            number += 1


if __name__ == "__main__":
    main()
