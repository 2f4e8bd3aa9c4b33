"""Teachers' outputs for texts in a store, which the next student of the same teacher reads."""

from __future__ import annotations

import contextlib

from edgeseq.errors import OutputError, StoreError
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.storage import write_bytes
from edgeseq.suite.outputs import list_output
from edgeseq.suite.store import Store, StoredRecord

_FILE = "outputs.safetensors"


class StoredTeacherOutputs:
    """A `TeacherCache` (`edgeseq_converters.training.teacher_cache`) in the store at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def read(self, key: str) -> bytes | None:
        """The content of an entry, None where it is missing or damaged."""
        with contextlib.suppress(StoreError, OutputError, OSError), temporary_folder() as folder:
            if Store(self._url).fetch("teachers", key, folder) is not None:
                return (folder / _FILE).read_bytes()
        return None

    def write(self, key: str, content: bytes) -> None:
        """Keeps the content if there is room for it."""
        with contextlib.suppress(StoreError, OutputError), temporary_folder() as folder:
            write_bytes(folder / _FILE, content)
            record = StoredRecord(list_output(folder / _FILE, folder, {}))
            Store(self._url).put("teachers", key, record, folder)
