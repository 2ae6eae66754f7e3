"""The histories of streams in Redis (see delivery/history_scripts.py)."""

from collections.abc import Callable, Mapping, Sequence

from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from realtime.delivery import history_scripts
from realtime.delivery.history_scripts import Answer, Published
from realtime.delivery.layers.base import Item
from realtime.delivery.layers.redis_names import Names
from realtime.delivery.link import Link
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.stream_state import RECENT, Page
from realtime.protocol import Position
from realtime.streams import Channel, Stream


class Histories:
    """Publishes to the streams of all shards, and implements `stream_state.History` for Fanout."""

    def __init__(self, names: Names, link_of: Callable[[str], Link]) -> None:
        self._names = names
        self._link_of = link_of  # which shard has a group

    async def publish(self, items: Sequence[Item]) -> list[Published]:
        """Publish in order; raises BackendUnavailable with the confirmed updates."""
        results: dict[int, Published] = {}
        by_link: dict[Link, list[int]] = {}
        for index, item in enumerate(items):
            by_link.setdefault(self._link_of(item[0].group), []).append(index)
        for link, indexes in by_link.items():
            sealed = [self._names.sealed(*items[index]) for index in indexes]
            try:
                results.update(zip(indexes, await link.publish_updates(sealed), strict=True))
            except BackendUnavailable as exc:
                raise with_earlier(exc, indexes, results) from exc
        return [results[index] for index in range(len(items))]

    async def read_history(self, stream: Stream, since: Position | None) -> Page:
        # Read after the subscription: updates published from then on arrive through it.
        await self._link_of(stream.group).confirmed(self._names.group_channel(stream.group))
        return await self._read(stream, since, 1)

    async def read_after(self, stream: Stream, position: Position) -> Page:
        link = self._link_of(stream.group)
        answer = await self._run(link.read_after_script, stream, position, RECENT)
        return page_after(self._names, stream, answer, RECENT)

    async def read_newest(self, stream: Stream, count: int) -> Page:
        return await self._read(stream, None, count)

    async def _read(self, stream: Stream, since: Position | None, newest: int) -> Page:
        script = self._link_of(stream.group).read_script
        answer = await self._run(script, stream, since, RECENT, newest)
        return newest_page(self._names, stream, answer)

    async def _run(
        self, script: AsyncScript, stream: Stream, since: Position | None, *more: int
    ) -> Answer:
        """The answer of one of the scripts that read; raises BackendUnavailable."""
        keys, args = reading(self._names, stream, since)
        try:
            async with self._link_of(stream.group).reading:
                answer: Answer = await script(keys=keys, args=[*args, *more])
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return answer

    async def restart_stream(self, stream: Stream, epoch: str, common: int) -> None:
        await self._link_of(stream.group).restart_script(
            keys=[self._names.keys(stream).meta], args=[epoch, history_scripts.new_epoch(), common]
        )

    async def find(self, link: Link, channel: Channel) -> list[Stream]:
        """The streams that a shard's index names."""
        try:
            symbols = await link.redis.smembers(
                history_scripts.index_key(self._names.prefix, channel)
            )
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(exc) from exc
        return [Stream(channel, symbol.decode()) for symbol in symbols]


def with_earlier(
    exc: BackendUnavailable, indexes: Sequence[int], earlier: Mapping[int, Published]
) -> BackendUnavailable:
    """The updates confirmed so far by all shards, by position in the whole batch."""
    confirmed = {indexes[index]: answer for index, answer in exc.published.items()}
    return BackendUnavailable(exc.reason, {**earlier, **confirmed})


def reading(
    names: Names, stream: Stream, since: Position | None
) -> tuple[list[str], list[str | int]]:
    """The keys and the first arguments of both scripts that read."""
    keys = names.keys(stream)
    known: list[str | int] = ["", -1] if since is None else [since.epoch, since.offset]
    return (
        [keys.meta, keys.history, keys.index, keys.era],
        [history_scripts.new_epoch(), keys.entry, *known],
    )


def newest_page(names: Names, stream: Stream, answer: Answer) -> Page:
    """The page in an answer of READ."""
    return _page(names, stream, answer, int(answer[1]), more=False)


def page_after(names: Names, stream: Stream, answer: Answer, most: int) -> Page:
    """The page in an answer of READ_AFTER that asked for the first `most` updates."""
    head, entries = int(answer[1]), answer[2]
    more = len(entries) == most and history_scripts.offset_of(entries[-1]) < head
    end = history_scripts.offset_of(entries[-1]) if more else head
    return _page(names, stream, answer, end, more=more)


def _page(names: Names, stream: Stream, answer: Answer, end: int, *, more: bool) -> Page:
    epoch, forks = answer[0].decode(), history_scripts.decode_forks(answer[3])
    updates = history_scripts.decode_entries(stream, epoch, answer[2], end)
    return Page(epoch, end, [names.open(update) for update in updates], more, forks)
