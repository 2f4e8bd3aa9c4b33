"""The next word: a bigram model with interpolated Kneser-Ney smoothing."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

from edgeseq.tasks.examples import EOS, StreamExample

METHOD = "a bigram model with Kneser-Ney smoothing"


class BigramModel:
    """p(word | word before), fitted to documents each of which begins after an end of line.

    p(w | v) = max(c(v w) − d, 0) / c(v) + d·n(v ·) / c(v) · q(w), where c counts and n(v ·) is the
    number of different words seen after v; q is the same one order lower, of the number of
    different words seen before w, and ends in equal shares for all known words and one unknown
    word (Kneser & Ney 1995, "Improved Backing-off for M-gram Language Modeling", interpolated as
    in Chen & Goodman 1999). d is estimated from the numbers of pairs seen once and twice.
    """

    def __init__(self, documents: Sequence[StreamExample]) -> None:
        pairs = Counter(chain.from_iterable(pairwise((EOS, *d.words)) for d in documents))
        self._pairs = pairs
        self._discount = estimated_discount(pairs.values())
        self._after: dict[str, int] = defaultdict(int)
        self._followers: dict[str, int] = defaultdict(int)
        self._preceding: dict[str, int] = defaultdict(int)
        for (before, word), count in pairs.items():
            self._after[before] += count
            self._followers[before] += 1
            self._preceding[word] += 1
        self._low_discount = estimated_discount(self._preceding.values())

    @property
    def parameters(self) -> int:
        """Number of counts: of pairs and of words."""
        return len(self._pairs) + len(self._preceding)

    def log_probability(self, words: Sequence[str]) -> float:
        """The sum of ln p of all words of a document, in nats."""
        return sum(math.log(self.probability(v, w)) for v, w in pairwise((EOS, *words)))

    def probability(self, before: str, word: str) -> float:
        """p(word | before), above 0 for any word."""
        lower = self._unigram(word)
        seen = self._after.get(before, 0)
        if not seen:
            return lower
        kept = max(self._pairs.get((before, word), 0) - self._discount, 0) / seen
        return kept + self._discount * self._followers[before] / seen * lower

    def _unigram(self, word: str) -> float:
        kinds, total = len(self._preceding), len(self._pairs)
        kept = max(self._preceding.get(word, 0) - self._low_discount, 0) / total
        return kept + self._low_discount * kinds / total / (kinds + 1)


def estimated_discount(counts: Iterable[int]) -> float:
    """n1 / (n1 + 2·n2) from how many counts are 1 and 2 (Ney, Essen & Kneser 1994); one half where
    none is."""
    of = Counter(counts)
    return of[1] / (of[1] + 2 * of[2]) if of[1] else 0.5
