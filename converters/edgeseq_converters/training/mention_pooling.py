"""The pooling `markers` while training; `network.MarkedPool` says what it computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def pool_marks(marks: Sequence[int], ids: Any, states: Any) -> Any:
    """Ids [batch, n] and states [batch, n, features] → [batch, (2·marks − 1)·features]."""
    found = tf.cast(tf.equal(ids[:, None, :], tf.constant(marks)[None, :, None]), tf.float32)
    rows = tf.unstack(tf.matmul(found, states), num=len(marks), axis=1)
    return tf.concat([*rows, *(rows[0] * row for row in rows[1:])], -1)
