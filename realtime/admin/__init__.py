"""The Django admin: a module for each area; importing it registers its pages.

- `keys`, `webhooks`: rows with a secret. `secrets`: the pages that show a secret once. `forms`: the
  forms of these rows.
- `base`: the security headers and the lists of all of these pages. `columns`: their numbers and
  times. `export`: lists as CSV.
- `destinations`: of alerts, by e-mail and chat.
- `connections`: who is connected. `overview`: what runs, and how well.
- `groups`: what the members of a group may read.
- `alerts`, `bars`, `predictions`, `silences`: stored rows. `rule_trial`: rules that are not saved.
- `login`: limits login attempts.
"""

from realtime.admin import (
    alerts,
    bars,
    connections,
    destinations,
    groups,
    keys,
    login,
    predictions,
    silences,
    webhooks,
)

__all__ = [
    "alerts",
    "bars",
    "connections",
    "destinations",
    "groups",
    "keys",
    "login",
    "predictions",
    "silences",
    "webhooks",
]
