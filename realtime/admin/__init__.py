"""The Django admin: a module for each area; importing it registers its pages."""

from realtime.admin import alerts, bars, keys, login, predictions, site, webhooks

__all__ = ["alerts", "bars", "keys", "login", "predictions", "site", "webhooks"]
