"""What the form of a rule asks for: preview and dry run, and the destinations of its owner."""

from typing import Any

from django.core.exceptions import ValidationError
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from realtime.admin.base import GuardedAdmin
from realtime.alerts.rules import Definition
from realtime.api.alerts import DryRunView, PreviewView, UnsavedRuleView
from realtime.api.base import ApiView
from realtime.api.destinations import DestinationSerializer
from realtime.models import AlertRule, Destination


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


class AdminDestinationsView(ApiView):
    """The destinations of one user, `?owner=`, among which those of a rule are chosen."""

    authentication_classes = [SessionAuthentication]
    permission_classes = [MayMakeRules]
    model_admin: GuardedAdmin[AlertRule] | None = None

    def get(self, request: Request) -> Response:
        owner: Any = request.query_params.get("owner")
        try:
            found = list(Destination.objects.filter(owner_id=owner))
        except (ValueError, OverflowError, ValidationError):  # not a primary key of a user
            found = []
        return Response(DestinationSerializer(found, many=True).data)
