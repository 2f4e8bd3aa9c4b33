"""Marking mentions, and shortening a text without losing one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import DataError
from edgeseq.tasks.mentions import MARKERS, check_marked, mark, shorten

SPANS = {"P": (8, 11), "A": (0, 3), "B": (4, 7)}
IDS = (1, 2, 3, 4, 5, 6)
"""Ids of the six markers in the tests below; words are 100 and more, the ends 7 and 8."""


def test_mark_keeps_every_character() -> None:
    marked = mark("Ada Eve she", SPANS)
    assert marked == "[A] Ada [/A] [B] Eve [/B] [P] she [/P]"
    for marker in MARKERS:
        marked = marked.replace(marker, "")
    assert marked.split() == ["Ada", "Eve", "she"]


@pytest.mark.parametrize(
    "spans",
    [SPANS | {"B": (2, 7)}, SPANS | {"B": (4, 4)}, SPANS | {"P": (8, 99)}, {"P": (8, 11)}],
)
def test_mark_refuses_spans_that_do_not_fit(spans: dict[str, tuple[int, int]]) -> None:
    with pytest.raises(DataError):
        mark("Ada Eve she", spans)


def test_a_text_with_its_mentions_wrong_is_refused() -> None:
    check_marked("[A] Ada [/A] [B] Eve [/B] [P] she [/P]")
    for wrong in (
        "Ada met Eve when she came",
        "[A] Ada [/A] [B] Eve [/B] [P] she",
        "[/A] Ada [A] [B] Eve [/B] [P] she [/P]",
        "[A] Ada [/A] [A] Eve [/A] [B] Eve [/B] [P] she [/P]",
    ):
        with pytest.raises(DataError, match="must be marked once"):
            check_marked(wrong)


@st.composite
def texts(draw: st.DrawFn) -> list[int]:
    """Ids between two ends, with three mentions of one to three words in any order."""
    words = st.lists(st.integers(100, 999), max_size=30)
    ids = [7]
    for number in draw(st.permutations([0, 1, 2])):
        ids += draw(words)
        mention = draw(st.lists(st.integers(100, 999), min_size=1, max_size=3))
        ids += [IDS[2 * number], *mention, IDS[2 * number + 1]]
    return [*ids, *draw(words), 8]


@given(texts(), st.integers(17, 80))
def test_shortening_loses_no_mention(ids: list[int], max_tokens: int) -> None:
    found = shorten(ids, IDS, max_tokens)
    kept = list(found.ids)
    assert len(kept) == min(len(ids), max_tokens)
    assert found.num_dropped == len(ids) - len(kept)
    assert (kept[0], kept[-1]) == (ids[0], ids[-1])
    rest = iter(ids)
    assert all(one in rest for one in kept)  # in their order
    for opening, closing in zip(IDS[::2], IDS[1::2], strict=True):
        mention = ids[ids.index(opening) : ids.index(closing) + 1]
        assert kept[kept.index(opening) : kept.index(closing) + 1] == mention


def test_the_nearest_words_stay() -> None:
    mentions = [1, 500, 2, 3, 501, 4, 5, 502, 6]
    ids = [7, *range(100, 110), *mentions, *range(200, 210), 8]
    assert shorten(ids, IDS, 15).ids == (7, 108, 109, *mentions, 200, 201, 8)
    assert shorten(ids, IDS, len(ids)).num_dropped == 0
    with pytest.raises(DataError, match="the mentions alone"):
        shorten(ids, IDS, 10)


def test_a_document_of_20000_words_keeps_mentions_that_lie_far_apart() -> None:
    words = list(range(100, 20_100))
    ids = [7, *words[:10], 1, 50, 2, *words[10:19_000], 3, 51, 4, *words[19_000:], 5, 52, 6, 8]
    found = shorten(ids, IDS, 512)
    assert len(found.ids) == 512
    assert found.num_dropped == len(ids) - 512
    for mention in ((1, 50, 2), (3, 51, 4), (5, 52, 6)):
        place = found.ids.index(mention[0])
        assert found.ids[place : place + 3] == mention
    # As much of the neighbourhood of each: the nearest words on both sides.
    assert found.ids[found.ids.index(3) - 1] == words[18_999]
    assert found.ids[found.ids.index(4) + 1] == words[19_000]
