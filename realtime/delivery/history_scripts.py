"""How streams are kept in Redis or Valkey: the keys, the scripts, the bytes on the pub/sub channel.

Publishing is ONE script: for each update it takes the next offset, appends to the capped history
and publishes. No reader sees one without the other, and two publishers cannot share a number.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from realtime.conf import conf
from realtime.delivery.updates import Update
from realtime.streams import Stream

# The arguments of a script, and its answer.
Arguments = list[str | int | bytes]
Answer = Sequence[Any]
Entry = tuple[bytes, Sequence[bytes]]  # of a history: its id, and the field `u` with the body

# The first byte of an update on a pub/sub channel. No msgpack, JSON or Fernet text starts with it
# (msgpack: "never used"; UTF-8: never valid), so ordinary channel-layer messages can share the
# channel.
MARK: Final = b"\xc1"

# The epoch that a stream without updates will have. Its readers must know the epoch, or they could
# not say later which numbering their offset belongs to. Yet nothing may be stored per stream, since
# any client may ask for streams that are never published. So the epoch is derived from the stream,
# the run of this Redis, and the era, which is one key for all streams. A stream that turns out to
# have existed before ends the era, since it must not get its old epoch again.
UNBORN: Final = """\
local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end
local function unborn_epoch(era_key, token, meta_key, lived)
  local era = not lived and redis.call('GET', era_key)
  if not era then
    era = token
    redis.call('SET', era_key, era)
  end
  return string.sub(redis.sha1hex(era .. meta_key), 1, 10) .. string.sub(run_id(), 1, 6)
end
"""

# An epoch ends when its Redis restarts: the restarted Redis may lack the newest updates, and would
# give their offsets to other updates. The next epoch continues after the offsets that are held. `p`
# has the earlier epochs, newest first, each with the last offset that both share.
FORKS: Final = """\
local function forked(forks, epoch, offset)
  local chain = epoch .. ' ' .. string.format('%.0f', offset)
  local count = 1
  for older, last in string.gmatch(forks or '', '(%S+) (%d+)') do
    if count == 8 then break end
    chain = chain .. ' ' .. older .. ' ' .. string.format('%.0f', math.min(last, offset))
    count = count + 1
  end
  return chain
end
local function fork_of(forks, epoch)
  for older, last in string.gmatch(forks or '', '(%S+) (%d+)') do
    if older == epoch then return tonumber(last) end
  end
  return 0
end
"""

# The id of an update is remembered for so long: a repetition is not published, but gets the first
# answer.
ONCE_SECONDS: Final = 600

# Publishes several updates, in order: one script for 50 costs Redis and the publisher a third of 50
# scripts. A stream that cannot take its update (its key has another type) does not affect the
# others.
# KEYS: era; for each stream: meta (hash: e = epoch, o = offset, r = run of Redis, p = epochs
# before), history (stream), index (set of symbols); then for each update with an id: where its
# first answer is kept.
# ARGV: number of streams, an era if there is none; for each stream: pub/sub channel, length,
# history ms, meta ms, symbol; then for each update: its stream (1, 2, ...), which of the keys of
# first answers it has (1, 2, ...; 0: none), body
# Returns epoch, offset and receivers for each update; if it failed, "", 0 and the reason. For a
# repetition, receivers is -1 minus their number.
PUBLISH: Final = (
    UNBORN
    + FORKS
    + f"local ONCE_MS = {ONCE_SECONDS * 1000}\n"
    + """\
local count = tonumber(ARGV[1])
local epochs, offsets, errors, forks, runs = {}, {}, {}, {}, {}
local run = run_id()
for s = 1, count do
  local meta = redis.pcall('HMGET', KEYS[3 * s - 1], 'e', 'o', 'r', 'p')
  errors[s] = meta.err
  epochs[s], offsets[s], runs[s] = meta[1], tonumber(meta[2] or 0), meta[3]
  if meta[1] and meta[3] and meta[3] ~= run and run ~= '' then
    forks[s] = forked(meta[4], epochs[s], offsets[s])
    epochs[s] = ARGV[2] .. s
  end
  if not meta.err and not meta[1] then
    local lived = redis.pcall('SISMEMBER', KEYS[3 * s + 1], ARGV[5 * s + 2])
    errors[s] = type(lived) == 'table' and lived.err or nil
    epochs[s] = unborn_epoch(KEYS[1], ARGV[2], KEYS[3 * s - 1], lived == 1)
  end
end
local tried = {}
local function publish(s, body)
  if errors[s] then return errors[s] end
  tried[s] = true
  local offset = offsets[s] + 1
  if offset == 1 then
    redis.pcall('DEL', KEYS[3 * s])
    local known = redis.pcall('SADD', KEYS[3 * s + 1], ARGV[5 * s + 2])
    if type(known) == 'table' then return known.err end
  end
  local number = string.format('%.0f', offset)
  local added = redis.pcall(
    'XADD', KEYS[3 * s], 'MAXLEN', ARGV[5 * s - 1], number .. '-0', 'b', body)
  if type(added) == 'table' and added.err then return added.err end
  offsets[s] = offset
  local message = '\\193' .. epochs[s] .. ' ' .. number .. ' ' .. body
  local receivers = redis.pcall('PUBLISH', ARGV[5 * s - 2], message)
  return type(receivers) == 'table' and receivers.err or receivers
end
local function first_answer(key)
  local known = key and redis.pcall('GET', key)
  if type(known) ~= 'string' then return end
  local epoch, offset, receivers = string.match(known, '^(%S+) (%d+) (%d+)$')
  return epoch, tonumber(offset), receivers and -1 - tonumber(receivers)
end
local answers = {}
for i = 3 + 5 * count, #ARGV, 3 do
  local s, once = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local key = once > 0 and KEYS[1 + 3 * count + once] or nil
  local epoch, offset, receivers = first_answer(key)
  if not epoch then
    receivers = publish(s, ARGV[i + 2])
    if type(receivers) == 'number' then
      epoch, offset = epochs[s], offsets[s]
      if key then
        local answer = epoch .. ' ' .. string.format('%.0f', offset) .. ' ' .. receivers
        redis.pcall('SET', key, answer, 'PX', ONCE_MS)
      end
    else
      epoch, offset = '', 0
    end
  end
  local n = #answers
  answers[n + 1], answers[n + 2], answers[n + 3] = epoch, offset, receivers
end
for s = 1, count do
  if tried[s] and offsets[s] > 0 and not errors[s] then
    redis.call('HSET', KEYS[3 * s - 1], 'e', epochs[s], 'o', string.format('%.0f', offsets[s]))
    if runs[s] ~= run and run ~= '' then redis.call('HSET', KEYS[3 * s - 1], 'r', run) end
    if forks[s] then redis.call('HSET', KEYS[3 * s - 1], 'p', forks[s]) end
    redis.call('PEXPIRE', KEYS[3 * s], ARGV[5 * s])
    redis.call('PEXPIRE', KEYS[3 * s - 1], ARGV[5 * s + 1])
  end
end
return answers
"""
)
PUBLISH_SHA: Final = hashlib.sha1(PUBLISH.encode()).hexdigest()

# The common beginning of both scripts that read.
# KEYS: meta, history, index, era. ARGV: an era if there is none, symbol, known epoch, known offset.
_READ: Final = (
    UNBORN
    + FORKS
    + """\
local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 'p')
if not meta[1] then
  local lived = redis.call('SREM', KEYS[3], ARGV[2]) == 1
  return {unborn_epoch(KEYS[4], ARGV[1], KEYS[1], lived), 0, {}, ''}
end
local head = tonumber(meta[2])
local known = tonumber(ARGV[4])
if known > 0 and ARGV[3] ~= meta[1] then
  known = math.min(known, fork_of(meta[3], ARGV[3]))
end
"""
)

# Further ARGV: most, newest.
# Returns epoch, offset, the entries after the known offset, and the epochs before; if the offset is
# unknown (-1) or more than `most` ago, the `newest` entries.
READ: Final = (
    _READ
    + """\
local entries
if known < 0 or head - known > tonumber(ARGV[5]) then
  local found = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[6])
  entries = {}
  for i = #found, 1, -1 do entries[#entries + 1] = found[i] end
else
  entries = redis.call('XRANGE', KEYS[2], string.format('%.0f', known + 1), '+')
end
return {meta[1], head, entries, meta[3] or ''}
"""
)

# Further ARGV: most.
# Returns epoch, offset, the first `most` entries after the known offset, and the epochs before; if
# the known epoch is not among them, from the first entry that is held.
READ_AFTER: Final = (
    _READ
    + """\
local from = string.format('%.0f', known + 1)
local entries = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', ARGV[5])
return {meta[1], head, entries, meta[3] or ''}
"""
)

# Ends an epoch whose Redis lost updates without restarting, or has not published since it
# restarted.
# KEYS: meta. ARGV: the epoch to end, the new one, the last offset that both share.
RESTART: Final = (
    UNBORN
    + FORKS
    + """\
local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 'p')
if meta[1] == ARGV[1] then
  local forks = forked(meta[3], ARGV[1], math.min(ARGV[3], meta[2]))
  redis.call('HSET', KEYS[1], 'e', ARGV[2], 'p', forks)
  local run = run_id()
  if run ~= '' then redis.call('HSET', KEYS[1], 'r', run) end
end
"""
)


@dataclass(frozen=True, slots=True)
class Published:
    """The backend's answer: the assigned offset, and how many processes received the update."""

    epoch: str
    offset: int
    receivers: int
    # An update with the same id was published before: these are its epoch and offset.
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of the keys that belong to one stream."""

    stream: Stream
    meta: str
    history: str
    index: str
    era: str
    # The name of its pub/sub channel, and of its entry in the index.
    channel: str
    entry: str


def keys(prefix: str, stream: Stream, pubsub_channel: str) -> Keys:
    base = f"{prefix}:stream:{stream.group}"
    return Keys(
        stream,
        f"{base}:meta",
        f"{base}:history",
        index_key(prefix, stream.channel),
        era_key(prefix),
        pubsub_channel,
        stream.symbol if stream.user_id is None else f"user-{stream.user_id}",
    )


def index_key(prefix: str, channel: str) -> str:
    """The key of the set of symbols for which a channel has streams."""
    return f"{prefix}:streams:{channel}"


def era_key(prefix: str) -> str:
    """The key of the era, from which the epochs of all streams without updates are derived."""
    return f"{prefix}:era"


# Seconds for which a process counts as alive after it last wrote its lease.
LEASE_SECONDS: Final = 10.0


def lease_key(prefix: str, process: str) -> str:
    """The key of the hash of numbers about one living process."""
    return f"{prefix}:process:{process}"


def lease_index(prefix: str) -> str:
    """The key of the sorted set of processes, by the time when their leases end."""
    return f"{prefix}:processes"


def totals_key(prefix: str) -> str:
    """The key of the hash of what all processes have done: see totals.py."""
    return f"{prefix}:totals"


def new_epoch() -> str:
    return secrets.token_urlsafe(6)


def once_key(prefix: str, stream: Stream, id: str) -> str:
    """The key that keeps the first answer to an update with an id."""
    digest = hashlib.blake2b(f"{stream.group} {id}".encode(), digest_size=16).hexdigest()
    return f"{prefix}:once:{digest}"


def publish_arguments(items: Sequence[tuple[Keys, bytes, str]]) -> Arguments:
    """The arguments of the publish script for updates with their keys and the keys of their ids."""
    numbers: dict[str, int] = {}
    names: list[str] = [items[0][0].era] if items else []
    about: list[str | int] = []
    updates: list[int | bytes] = []
    once: list[str] = []
    for key, body, once_name in items:
        number = numbers.get(key.meta)
        if number is None:
            number = numbers[key.meta] = len(numbers) + 1
            names += (key.meta, key.history, key.index)
            about += _about(key)
        if once_name:
            once.append(once_name)
        updates += (number, len(once) if once_name else 0, body)
    return [len(names) + len(once), *names, *once, len(numbers), new_epoch(), *about, *updates]


def _about(key: Keys) -> tuple[Any, ...]:
    milliseconds = int(conf.REALTIME_HISTORY_SECONDS[key.stream.channel] * 1000)
    return (
        key.channel,
        conf.REALTIME_HISTORY_LENGTH[key.stream.channel],
        milliseconds,
        # The numbering outlives the history: a stream that was quiet for long does not restart at
        # 1.
        milliseconds + 7 * 86_400_000,
        key.entry,
    )


def decode_published(answer: Answer) -> list[Published | str]:
    """The outcome of each update of a script: its offset, or the reason why it has none."""
    return [
        _published(epoch.decode(), offset, receivers) if offset else receivers.decode()
        for epoch, offset, receivers in zip(answer[::3], answer[1::3], answer[2::3], strict=True)
    ]


def _published(epoch: str, offset: int, receivers: int) -> Published:
    if receivers < 0:
        return Published(epoch, offset, -1 - receivers, repeated=True)
    return Published(epoch, offset, receivers)


def decode_message(stream: Stream, data: bytes) -> Update:
    """An update as it comes over pub/sub: mark, epoch, offset, body."""
    epoch, offset, body = data[1:].split(b" ", 2)
    return Update(stream, epoch.decode(), int(offset), body)


def decode_forks(text: bytes | None) -> dict[str, int]:
    """The earlier epochs, each with the last offset that both share."""
    words = (text or b"").decode().split()
    return {epoch: int(last) for epoch, last in zip(words[::2], words[1::2], strict=True)}


def offset_of(entry: Entry) -> int:
    """The offset of an entry of the history."""
    return int(entry[0].partition(b"-")[0])


def decode_entries(stream: Stream, epoch: str, entries: Sequence[Entry], head: int) -> list[Update]:
    """Entries of the history, in order: only the run without a hole that ends at `head`."""
    updates = [Update(stream, epoch, offset_of(entry), entry[1][1]) for entry in entries]
    run: list[Update] = []
    expected = head
    for update in reversed(updates):
        if update.offset != expected:
            break
        run.append(update)
        expected -= 1
    run.reverse()
    return run
