"""The Django admin: a module for each area; importing it registers its pages.

- `keys`, `webhooks`: rows with a secret. `secrets`: the pages that show it once. `forms`: their
  forms.
- `base`: what browsers may do with all of these pages.
- `groups`: what their members may read.
- `alerts`, `bars`, `predictions`: what is stored. `login`: a limit of tries.
"""

from realtime.admin import alerts, bars, groups, keys, login, predictions, webhooks

__all__ = ["alerts", "bars", "groups", "keys", "login", "predictions", "webhooks"]
