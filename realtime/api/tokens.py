"""JSON Web Tokens: obtain, refresh, verify. simplejwt's views, which raise for some bad tokens."""

from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.views import (
    TokenObtainPairView,
    TokenRefreshView,
    TokenVerifyView,
    TokenViewBase,
)

from realtime.api.base import ApiView


class _CheckTokenView(ApiView, TokenViewBase):
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        # Outside the try: a body that is no JSON is not a bad token.
        _ = request.data
        try:
            return super().post(request, *args, **kwargs)
        # The user is deleted; claims of odd types; a header nested too deeply.
        except (ObjectDoesNotExist, ValueError, TypeError, OverflowError, RecursionError) as exc:
            raise InvalidToken from exc


class ObtainTokenView(ApiView, TokenObtainPairView):
    """Exchange a user name and password for an access and a refresh token."""


class RefreshTokenView(_CheckTokenView, TokenRefreshView):
    """Exchange a refresh token for a new access token."""


class VerifyTokenView(_CheckTokenView, TokenVerifyView):
    """200 for a token that is ours and not expired, else 401."""
