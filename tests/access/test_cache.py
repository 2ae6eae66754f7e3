from realtime.access.cache import RecentCache


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_value_is_kept_for_some_seconds() -> None:
    clock = Clock()
    cache: RecentCache[str] = RecentCache(5, 10, clock)
    cache.put(b"a", "alice", cache.generation)
    clock.now = 4.9
    assert cache.get(b"a") == "alice"
    clock.now = 5.0
    assert cache.get(b"a") is None
    assert len(cache) == 0


def test_the_oldest_value_makes_room() -> None:
    cache: RecentCache[str] = RecentCache(5, 2, Clock())
    for digest in (b"a", b"b", b"a", b"c"):
        cache.put(digest, digest.decode(), cache.generation)
    assert [cache.get(digest) for digest in (b"a", b"b", b"c")] == ["a", None, "c"]


def test_a_value_that_a_change_concerns_is_forgotten() -> None:
    cache: RecentCache[str] = RecentCache(5, 10, Clock())
    for name in ("alice", "bob"):
        cache.put(name.encode(), name, cache.generation)
    cache.forget(lambda value: value == "alice")
    assert cache.get(b"alice") is None
    assert cache.get(b"bob") == "bob"
    cache.forget()
    assert len(cache) == 0


def test_what_was_read_before_a_change_is_not_kept() -> None:
    cache: RecentCache[str] = RecentCache(5, 10, Clock())
    before = cache.generation
    cache.forget(lambda value: False)
    cache.put(b"a", "alice, before she was revoked", before)
    assert cache.get(b"a") is None
