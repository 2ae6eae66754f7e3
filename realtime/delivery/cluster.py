"""Redis Cluster, which is not supported: telling it from a server that is.

One script numbers updates of several streams, and an index belongs to all streams of a channel: a
cluster would spread their keys over its nodes. Several servers, each with whole streams, are
several hosts of the channel layer.
"""

from redis import Redis
from redis.exceptions import ResponseError


def is_cluster(client: Redis) -> bool:
    """Whether a server is a node of a cluster; raises RedisError if it does not answer."""
    try:
        return bool(client.info("cluster").get("cluster_enabled"))
    except ResponseError:  # its user may not ask
        return False
