"""Windows over a long text: none too wide, every word in one of them, and there with the most context."""

from hypothesis import given
from hypothesis import strategies as st

from laconic.data.windows import OVERLAP, Window, windows

SIZES = st.lists(st.integers(0, 7), max_size=30)


@given(SIZES, st.integers(1, 9))
def test_every_word_that_fits_is_answered_once_and_no_window_is_too_wide(sizes, room):
    found = windows(sizes, room)
    answered = [word for window in found for word in window.words]
    assert sorted(answered) == [word for word, size in enumerate(sizes) if 0 < size <= room]
    for window in found:
        assert sum(min(size, room) for size in sizes[window.start : window.stop]) <= room
        assert all(window.start <= word < window.stop for word in window.words)


@given(SIZES, st.integers(1, 9))
def test_a_word_is_answered_where_its_context_is_most(sizes, room):
    """By brute force, over the windows there are: the lesser of what stands before and behind."""

    def context(word, window):
        return min(sum(sizes[window.start : word]), sum(sizes[word + 1 : window.stop]))

    sizes = [min(size, room) for size in sizes]
    found = windows(sizes, room)
    for window in found:
        for word in window.words:
            others = [context(word, other) for other in found if other.start <= word < other.stop]
            assert context(word, window) == max(others)


def test_windows_of_words_of_one_token_share_a_half():
    found = windows([1] * 100, 20)
    assert [(w.start, w.stop) for w in found] == [(a, a + 20) for a in range(0, 90, 10)]
    assert found[0].words == tuple(range(15))  # those behind have more before them in the next
    assert found[1].words == tuple(range(15, 25))
    assert found[-1].words == tuple(range(85, 100))
    assert OVERLAP == 0.5


def test_a_text_that_fits_is_one_window_and_there_always_is_one():
    assert windows([2, 0, 3], 5) == [Window(0, 3, (0, 2))]
    assert windows([], 5) == [Window(0, 0, ())]
    assert windows([9], 5) == [Window(0, 1, ())]
    assert windows([9, 1], 5) == [Window(1, 2, (1,))]
