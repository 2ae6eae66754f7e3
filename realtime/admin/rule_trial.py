"""The preview and the dry run of what stands in the form of a rule, saved or not."""

from typing import Any

from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from realtime.admin.base import GuardedAdmin
from realtime.alerts.rules import Definition
from realtime.api.alerts import DryRunView, PreviewView, UnsavedRuleView
from realtime.models import AlertRule


class MayMakeRules(BasePermission):
    """Operators who may add rules or change them."""

    def has_permission(self, request: Request, view: Any) -> bool:
        rules: GuardedAdmin[AlertRule] = view.model_admin
        asked = request._request
        return rules.has_add_permission(asked) or rules.has_change_permission(asked)


class _InAdmin(UnsavedRuleView):
    authentication_classes = [SessionAuthentication]
    permission_classes = [MayMakeRules]
    model_admin: GuardedAdmin[AlertRule] | None = None

    def check(self, definition: Definition) -> None:
        """Operators make rules for others, and for everybody."""


class AdminDryRunView(_InAdmin, DryRunView):
    """Of the form, as JSON."""


class AdminPreviewView(_InAdmin, PreviewView):
    """Of the form, as JSON."""
