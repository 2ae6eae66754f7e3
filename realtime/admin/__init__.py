"""The Django admin: a module for each area; importing it registers its pages."""

from realtime.admin import bars, keys, predictions, webhooks

__all__ = ["bars", "keys", "predictions", "webhooks"]
