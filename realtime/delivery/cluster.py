"""Recognises a Redis Cluster, which the channel layer does not support.

One script numbers the updates of several streams, and all streams of a channel share an index: a
cluster would spread their keys over its nodes. To shard, list several servers as hosts of the
channel layer: each then holds whole streams.
"""

from redis import Redis
from redis.exceptions import ResponseError


def is_cluster(client: Redis) -> bool:
    """Whether a server is a node of a cluster; raises RedisError if it does not answer."""
    try:
        return bool(client.info("cluster").get("cluster_enabled"))
    except ResponseError:  # this user may not run the command
        return False
