"""The Django admin: a module for each area; importing it registers its pages."""

from realtime.admin import keys, predictions

__all__ = ["keys", "predictions"]
