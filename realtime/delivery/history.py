"""How streams are kept in Redis or Valkey: the keys, the scripts, the bytes on the pub/sub channel.

Publishing an update is ONE script: it takes the next offset, appends to the capped history and
publishes. No reader sees one without the other, and two publishers cannot share a number.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from realtime.delivery.updates import Update
from realtime.streams import Stream

# The first byte of an update on a pub/sub channel. No msgpack, JSON or Fernet text starts with it
# (msgpack: "never used"; UTF-8: never valid), so ordinary channel-layer messages can share the
# channel.
MARK: Final = b"\xc1"

# KEYS: meta (hash: e = epoch, o = offset), history (stream), index (set of symbols)
# ARGV: pub/sub channel, body, epoch if the stream is new, length, history ms, meta ms, symbol
PUBLISH: Final = """\
local epoch = redis.call('HGET', KEYS[1], 'e')
if not epoch then
  epoch = ARGV[3]
  redis.call('HSET', KEYS[1], 'e', epoch, 'o', 0)
end
local offset = redis.call('HINCRBY', KEYS[1], 'o', 1)
if offset == 1 then
  redis.call('DEL', KEYS[2])
  redis.call('SADD', KEYS[3], ARGV[7])
end
local number = string.format('%.0f', offset)
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[4], number .. '-0', 'b', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
local message = '\\193' .. epoch .. ' ' .. number .. ' ' .. ARGV[2]
local receivers = redis.call('PUBLISH', ARGV[1], message)
return {epoch, offset, receivers}
"""
PUBLISH_SHA: Final = hashlib.sha1(PUBLISH.encode()).hexdigest()

# KEYS: meta, history. ARGV: known epoch, known offset (-1: unknown), most, newest, epoch if the
# stream is new ("" to leave it so), ms for which a stream without updates keeps it.
# Returns epoch, offset, and the entries after the known offset; if that is unknown or more than
# `most` ago, the `newest` ones. A reader of a stream that has no updates yet must know the epoch
# that they will have, or it could not say later which numbering its offset belongs to.
READ: Final = """\
local meta = redis.call('HMGET', KEYS[1], 'e', 'o')
if not meta[1] then
  if ARGV[5] ~= '' then
    redis.call('HSET', KEYS[1], 'e', ARGV[5], 'o', 0)
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
  end
  return {ARGV[5], 0, {}}
end
local head = tonumber(meta[2])
local known = tonumber(ARGV[2])
if known >= 0 and ARGV[1] ~= meta[1] then known = 0 end
local entries
if known < 0 or head - known > tonumber(ARGV[3]) then
  local found = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[4])
  entries = {}
  for i = #found, 1, -1 do entries[#entries + 1] = found[i] end
else
  entries = redis.call('XRANGE', KEYS[2], string.format('%.0f', known + 1), '+')
end
return {meta[1], head, entries}
"""

# Milliseconds for which a stream that was only asked for is remembered, and how often the processes
# that read it renew that, in seconds.
UNBORN_MS: Final = 600_000
RENEW_SECONDS: Final = 240.0

# KEYS: meta, history. ARGV: the epoch to end, the new one.
RESTART: Final = """\
if redis.call('HGET', KEYS[1], 'e') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'e', ARGV[2], 'o', 0)
  redis.call('DEL', KEYS[2])
end
"""


@dataclass(frozen=True, slots=True)
class Published:
    """What the backend answered: the number given, and how many processes heard it."""

    epoch: str
    offset: int
    receivers: int


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of everything that belongs to one stream."""

    meta: str
    history: str
    index: str
    channel: str


def keys(prefix: str, stream: Stream, pubsub_channel: str) -> Keys:
    base = f"{prefix}:stream:{stream.group}"
    return Keys(
        f"{base}:meta", f"{base}:history", index_key(prefix, stream.channel), pubsub_channel
    )


def index_key(prefix: str, channel: str) -> str:
    """A set of the symbols that a channel has streams for."""
    return f"{prefix}:streams:{channel}"


def lease_key(prefix: str, process: str) -> str:
    """A hash of numbers about one living process."""
    return f"{prefix}:process:{process}"


def lease_index(prefix: str) -> str:
    """A sorted set of processes, by the time when their leases end."""
    return f"{prefix}:processes"


def new_epoch() -> str:
    return secrets.token_urlsafe(6)


def publish_arguments(stream: Stream, names: Keys, body: bytes) -> list[Any]:
    """What follows EVALSHA or EVAL for the publish script."""
    seconds = settings.REALTIME_HISTORY_SECONDS[stream.channel]
    return [
        3,
        names.meta,
        names.history,
        names.index,
        names.channel,
        body,
        new_epoch(),
        settings.REALTIME_HISTORY_LENGTH[stream.channel],
        int(seconds * 1000),
        # The numbering outlives the history: a stream that slept does not start again at 1.
        int(seconds * 1000) + 7 * 86_400_000,
        stream.symbol if stream.user_id is None else f"user-{stream.user_id}",
    ]


def decode_published(answer: Sequence[Any]) -> Published:
    epoch, offset, receivers = answer
    return Published(epoch.decode(), int(offset), int(receivers))


def decode_message(stream: Stream, data: bytes) -> Update:
    """An update as it comes over pub/sub: mark, epoch, offset, body."""
    epoch, offset, body = data[1:].split(b" ", 2)
    return Update(stream, epoch.decode(), int(offset), body)


def decode_entries(stream: Stream, epoch: str, entries: Sequence[Any], head: int) -> list[Update]:
    """Entries of the history, in order; only the run without a hole that ends at the head."""
    updates = [
        Update(stream, epoch, int(entry_id.partition(b"-")[0]), fields[1])
        for entry_id, fields in entries
    ]
    run: list[Update] = []
    expected = head
    for update in reversed(updates):
        if update.offset != expected:
            break
        run.append(update)
        expected -= 1
    run.reverse()
    return run
