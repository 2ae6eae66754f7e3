"""The Django admin: a module for each area; importing it registers its pages."""

from realtime.admin import alerts, bars, keys, predictions, webhooks

__all__ = ["alerts", "bars", "keys", "predictions", "webhooks"]
