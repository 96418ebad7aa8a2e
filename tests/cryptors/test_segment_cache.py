"""The cache of segments keeps few, gives out right bytes, and leaves nothing behind."""

import pytest

from cryptors.segment_cache import CACHED_SEGMENTS, SegmentCache
from cryptors.stream import SEGMENT_BYTES


def put(cache: SegmentCache, number: int) -> memoryview:
    """Keeps a segment whose bytes all are its number."""
    place = cache.take()
    assert len(place) == SEGMENT_BYTES
    place[:] = bytes([number]) * SEGMENT_BYTES
    cache.keep(number, place)
    return place


def kept(cache: SegmentCache) -> list[int]:
    """Returns which of the first hundred segments are here, each with the right bytes."""
    out = bytearray(3)
    found = [number for number in range(100) if cache.copy(number, SEGMENT_BYTES - 3, memoryview(out))]
    for number in found:
        assert cache.copy(number, 5, memoryview(out))
        assert out == bytes([number]) * 3
    return found


def test_the_last_ones_are_kept() -> None:
    cache = SegmentCache()
    for number in range(10):
        put(cache, number)
    assert kept(cache) == [6, 7, 8, 9]


def test_what_is_read_stays() -> None:
    cache, out = SegmentCache(), bytearray(1)
    for number in range(10):
        put(cache, number)
        assert cache.copy(0, 0, memoryview(out))
    assert kept(cache) == [0, 7, 8, 9]


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_memory_does_not_grow(threads: int) -> None:
    """Also where several threads decrypt at the same time, and the same segments."""
    cache = SegmentCache()
    for number in range(10):
        places = [cache.take() for _ in range(threads)]
        assert len({id(place) for place in places}) == threads
        for place in places:
            place[:] = bytes([number]) * SEGMENT_BYTES
            cache.keep(number, place)
    assert kept(cache) == [6, 7, 8, 9]
    assert len(cache._memories) <= (CACHED_SEGMENTS + threads + 1) // 2


def test_memory_that_is_given_back_is_used_again() -> None:
    cache = SegmentCache()
    for _ in range(20):
        cache.give_back(cache.take())
    assert kept(cache) == []
    assert len(cache._memories) == 1


def test_closing_wipes_all_of_it() -> None:
    cache = SegmentCache()
    places = [put(cache, number) for number in range(1, 10)]
    given_back = cache.take()
    given_back[:] = b"\xaa" * SEGMENT_BYTES
    cache.give_back(given_back)
    cache.close()
    assert kept(cache) == []
    assert all(place == bytes(SEGMENT_BYTES) for place in [*places, given_back])
