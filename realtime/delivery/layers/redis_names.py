"""The names of groups and streams in Redis, and which of them can be read there."""

from typing import Any, Final

from channels_redis.utils import _consistent_hash

from realtime.delivery import history_scripts
from realtime.delivery.updates import Update
from realtime.streams import Channel, Stream

# Streams whose key names are cached for publishing; beyond that they are built again.
MAX_REMEMBERED: Final = 20_000


class Names:
    """Names that all parts of one layer, and all layers with the same prefix, share."""

    def __init__(self, prefix: str, crypter: Any) -> None:
        self.prefix = prefix
        self._crypter = crypter  # of channels_redis' serializers, or None
        self._group_prefix = f"{prefix}__group__"
        self._keys: dict[Stream, history_scripts.Keys] = {}

    def group_channel(self, group: str) -> str:
        return f"{self._group_prefix}{group}"

    def group_of(self, pubsub_channel: str) -> str | None:
        if pubsub_channel.startswith(self._group_prefix):
            return pubsub_channel[len(self._group_prefix) :]
        return None

    def keys(self, stream: Stream) -> history_scripts.Keys:
        return history_scripts.keys(self.prefix, stream, self.group_channel(stream.group))

    def every(self, channel: Channel) -> str:
        """The pattern of all streams of a channel."""
        return self.group_channel(f"{channel}.*")

    def direct(self, process: str) -> str:
        """The pub/sub channel of a process, which all of its consumers' channels share."""
        return f"{self.prefix}__direct__{process}"

    # Bodies -----------------------------------------------------------------------------------

    def seal(self, body: bytes) -> bytes:
        """A body as it goes to Redis: encrypted if `symmetric_encryption_keys` are configured."""
        crypter = self._crypter
        return body if crypter is None else crypter.encrypt(body)

    def open(self, update: Update) -> Update:
        crypter = self._crypter
        if crypter is not None:
            update.body = crypter.decrypt(update.body)
        return update

    def sealed(
        self, stream: Stream, body: bytes, id: str = ""
    ) -> tuple[history_scripts.Keys, bytes, str]:
        """An update as it goes to Redis, with the key of its id."""
        names = self._keys.get(stream)
        if names is None:
            if len(self._keys) >= MAX_REMEMBERED:
                self._keys.clear()
            names = self._keys[stream] = self.keys(stream)
        once = history_scripts.once_key(self.prefix, stream, id) if id else ""
        return names, self.seal(body), once


def shard(channel: str, shards: int) -> int:
    """The shard of a channel, chosen as in channels_redis."""
    index: int = _consistent_hash(channel, shards)
    return index
