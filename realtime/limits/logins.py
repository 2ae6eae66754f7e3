"""Limits how often an address may try a password.

An attempt is counted before the password is hashed, whatever its outcome: parallel attempts count
too, and a flood of attempts does not cost a flood of hashes.
"""

import logging
from collections.abc import Mapping

from realtime.access.addresses import address_in_meta
from realtime.conf import conf
from realtime.limits.shared_rates import count_in_minute

logger = logging.getLogger(__name__)


def count_login(meta: Mapping[str, object]) -> int:
    """Count an attempt by its request's META: 0, or the seconds until the next one may be made.

    With Redis all processes count together; while it is away each one counts for itself.
    """
    limit: int = conf.REALTIME_LOGINS_PER_IP_PER_MINUTE
    address = address_in_meta(meta)
    if not limit or address is None:
        return 0
    wait = count_in_minute(f"logins:{address}", limit)
    if wait:
        logger.warning(
            "more than %d logins per minute from %s; if that is your proxy, name it in "
            "REALTIME_TRUSTED_PROXIES",
            limit,
            address,
        )
    return wait
