"""The Django admin: a module for each area; importing it registers its pages."""

from realtime.admin import keys

__all__ = ["keys"]
