"""The Redis scripts that take and keep slots for all processes: leases, not counters.

A slot is one connection of one subject (a key, a user, an address). It belongs to a process, and is
free again even if that process is killed: the process' lease in Redis expires, and its slots no
longer count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# KEYS: the sorted set of living processes (score: when the lease ends), then one sorted set of
# slots (process!slot, score: when taken) for each subject.
# ARGV: now, this process, its lease's end, slot, ms for which an account is kept, then a limit for
# each subject.
# Returns 0 if the slot was taken, else the number of the subject that has no room, and who holds
# the oldest slot there.
TAKE: Final = """\
local now = tonumber(ARGV[1])
redis.call('ZADD', KEYS[1], 'GT', ARGV[3], ARGV[2])
for i = 2, #KEYS do
  local limit = tonumber(ARGV[i + 4])
  if redis.call('ZCARD', KEYS[i]) >= limit then
    local living = {}
    for _, member in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
      local process = string.match(member, '^(.-)!')
      if living[process] == nil then
        local ends = redis.call('ZSCORE', KEYS[1], process)
        living[process] = ends and tonumber(ends) > now
      end
      if not living[process] then redis.call('ZREM', KEYS[i], member) end
    end
    if redis.call('ZCARD', KEYS[i]) >= limit then
      return {i - 1, redis.call('ZRANGE', KEYS[i], 0, 0)[1] or ''}
    end
  end
end
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], now, ARGV[2] .. '!' .. ARGV[4])
  redis.call('PEXPIRE', KEYS[i], ARGV[5])
end
return {0, ''}
"""

# KEYS and ARGV as in TAKE; before the limits: 1 if the newest go first, 0 for the oldest.
# Takes the slot in every account, full or not. Returns 0, or the number of the subject whose limit
# this slot exceeds. Slots of dead processes do not count.
KEEP: Final = """\
local now = tonumber(ARGV[1])
redis.call('ZADD', KEYS[1], 'GT', ARGV[3], ARGV[2])
local mine = ARGV[2] .. '!' .. ARGV[4]
local beyond = 0
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], 'NX', now, mine)
  redis.call('PEXPIRE', KEYS[i], ARGV[5])
  for _, member in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
    local ends = redis.call('ZSCORE', KEYS[1], string.match(member, '^(.-)!'))
    if not (ends and tonumber(ends) > now) then redis.call('ZREM', KEYS[i], member) end
  end
  local rank = redis.call(ARGV[6] == '1' and 'ZRANK' or 'ZREVRANK', KEYS[i], mine)
  if rank >= tonumber(ARGV[i + 5]) and beyond == 0 then beyond = i - 1 end
end
return beyond
"""

# An account lives longer only if a slot is taken in it, or its holders renew theirs.
ACCOUNT_MS: Final = 7_200_000
RENEW_SECONDS: Final = 1_800.0


@dataclass(frozen=True, slots=True)
class Full:
    """A subject without room. `oldest` names the slot that was taken first, `process!slot`."""

    subject: str
    limit: int
    oldest: str


def slots_key(prefix: str, subject: str) -> str:
    return f"{prefix}:slots:{subject}"


def take_arguments(
    now: float, process: str, lease_end: float, slot: str, limits: Mapping[str, int]
) -> list[Any]:
    return [now, process, lease_end, slot, ACCOUNT_MS, *limits.values()]


def keep_arguments(
    now: float,
    process: str,
    lease_end: float,
    slot: str,
    limits: Mapping[str, int],
    *,
    newest_first: bool,
) -> list[Any]:
    return [now, process, lease_end, slot, ACCOUNT_MS, int(newest_first), *limits.values()]


def decode_taken(answer: Sequence[Any], limits: Mapping[str, int]) -> Full | None:
    """None if the slot was taken."""
    number, oldest = int(answer[0]), answer[1].decode()
    if number == 0:
        return None
    subject = list(limits)[number - 1]
    return Full(subject, limits[subject], oldest)
