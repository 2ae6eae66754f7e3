"""The Django admin: a module for each area; importing it registers its pages."""

from realtime.admin import keys, predictions, webhooks

__all__ = ["keys", "predictions", "webhooks"]
