"""JSON Web Tokens: obtain, refresh, verify, blacklist; log out everywhere; one-use tickets."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from drf_spectacular.utils import extend_schema_view
from rest_framework import serializers, status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.views import TokenViewBase

from realtime.access.authentication import InvalidCredential, find_user
from realtime.access.identity import Identity, grant_of
from realtime.access.revocation import log_out, log_out_everywhere
from realtime.access.tickets import TICKET_SECONDS, aissue, issue
from realtime.access.tokens import (
    BLACKLIST_APP,
    SESSION_CLAIM,
    AnyToken,
    SessionRefreshToken,
    can_end_logins,
)
from realtime.api.authentication import IsUser, identity_of
from realtime.api.base import ApiView, Direct
from realtime.api.documented import extend_schema
from realtime.api.serializers import ProblemSerializer
from realtime.limits.logins import count_login


class LoginSerializer(serializers.Serializer[object]):
    username = serializers.CharField()
    password = serializers.CharField(style={"input_type": "password"})


class RefreshSerializer(serializers.Serializer[object]):
    refresh = serializers.CharField()


class TokenSerializer(serializers.Serializer[object]):
    token = serializers.CharField()


class TokensSerializer(serializers.Serializer[object]):
    access = serializers.CharField(help_text="Access token, valid for some minutes.")
    refresh = serializers.CharField(
        help_text="Refresh token, exchanged once for the next two tokens."
    )


class TicketSerializer(serializers.Serializer[object]):
    ticket = serializers.CharField(help_text="For `?ticket=` of one WebSocket.")
    expires_in = serializers.IntegerField(help_text="Seconds.")


class _Obtain(TokenObtainPairSerializer):
    token_class = SessionRefreshToken

    def to_internal_value(self, data: object) -> object:
        # The request says `username`, whatever the user model calls its login name.
        if isinstance(data, Mapping) and self.username_field not in data and "username" in data:
            data = {**data, self.username_field: data["username"]}
        return super().to_internal_value(data)


class _Refresh(RefreshSerializer):
    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        refresh = SessionRefreshToken(attrs["refresh"])
        if find_user(refresh) is None:
            raise TokenError("Token names no user")
        tokens = {"access": str(refresh.access_token)}
        if api_settings.ROTATE_REFRESH_TOKENS:
            if api_settings.BLACKLIST_AFTER_ROTATION:
                refresh.blacklist()
            refresh.set_jti()
            refresh.set_exp()
            refresh.set_iat()
            refresh.outstand()
        return {**tokens, "refresh": str(refresh)}


class _Verify(TokenSerializer):
    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if find_user(AnyToken(attrs["token"])) is None:
            raise TokenError("Token is blacklisted, or its user is gone")
        return {}


class _Blacklist(RefreshSerializer):
    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        refresh = SessionRefreshToken(attrs["refresh"])
        _check_logins_can_end()
        refresh.blacklist()
        if SESSION_CLAIM in refresh:
            log_out(refresh[SESSION_CLAIM])
        return {}


class CannotLogOut(APIException):
    status_code = status.HTTP_501_NOT_IMPLEMENTED
    default_detail = f"Logins end by themselves only: INSTALLED_APPS has no {BLACKLIST_APP}."


def _check_logins_can_end() -> None:
    if not can_end_logins():
        raise CannotLogOut


# The user is deleted; claims of odd types; a header nested too deeply.
_BAD_TOKEN: Final = (
    ObjectDoesNotExist, InvalidCredential, ValidationError,
    ValueError, TypeError, OverflowError, RecursionError,
)  # fmt: skip


# simplejwt's view, without its exceptions for some bad tokens.
class _TokenView(ApiView, TokenViewBase):
    authentication_classes: Any = []
    permission_classes: Any = []

    def post(self, request: Request, *args: object, **kwargs: object) -> Response:
        # Outside the try: a body that is not JSON must not count as a bad token.
        _ = request.data
        try:
            response = super().post(request, *args, **kwargs)
        except _BAD_TOKEN as exc:
            raise InvalidToken from exc
        response["Cache-Control"] = "no-store"
        return response


class LoginThrottle(BaseThrottle):
    """REALTIME_LOGINS_PER_IP_PER_MINUTE."""

    _wait = 0

    def allow_request(self, request: Request, view: object) -> bool:
        self._wait = count_login(request.META)
        return not self._wait

    def wait(self) -> float:
        return self._wait


@extend_schema_view(
    post=extend_schema(
        operation_id="obtain_token",
        summary="Log in: an access and a refresh token for a user name and a password",
        request=LoginSerializer,
        responses={200: TokensSerializer, 401: ProblemSerializer, 429: ProblemSerializer},
    )
)
class ObtainTokenView(_TokenView):
    serializer_class = _Obtain
    throttle_classes = [LoginThrottle]


@extend_schema_view(
    post=extend_schema(
        operation_id="refresh_token",
        summary="Refresh: new access and refresh tokens; the token sent no longer works",
        request=RefreshSerializer,
        responses={200: TokensSerializer, 401: ProblemSerializer},
    )
)
class RefreshTokenView(_TokenView):
    serializer_class = _Refresh


@extend_schema_view(
    post=extend_schema(
        operation_id="verify_token",
        summary="Verify a token: signed here, not expired, and its login and user active",
        request=TokenSerializer,
        responses={200: None, 401: ProblemSerializer},
    )
)
class VerifyTokenView(_TokenView):
    serializer_class = _Verify


@extend_schema_view(
    post=extend_schema(
        operation_id="blacklist_token",
        summary="Log out: the tokens of this login stop working",
        request=RefreshSerializer,
        responses={200: None, 401: ProblemSerializer},
    )
)
class BlacklistTokenView(_TokenView):
    serializer_class = _Blacklist


class LogOutEverywhereView(ApiView):
    permission_classes = [IsUser]

    @extend_schema(
        operation_id="log_out_everywhere",
        summary="Log out everywhere: all tokens of the user stop working",
        request=None,
        responses={204: None, 401: ProblemSerializer, 403: ProblemSerializer},
    )
    def post(self, request: Request) -> Response:
        user_id = identity_of(request).user_id
        assert user_id is not None  # IsUser has seen to it
        _check_logins_can_end()
        log_out_everywhere(user_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


async def issue_directly(identity: Identity, body: bytes) -> bytes:
    """`TicketView.post`, see direct.py."""
    ticket = await aissue(grant_of(identity))
    return msgspec.json.encode({"ticket": ticket, "expires_in": TICKET_SECONDS})


class TicketView(ApiView):
    direct = Direct(issue_directly, takes_json=False, cache_control="no-store")

    @extend_schema(
        operation_id="issue_ticket",
        summary="A ticket that opens one WebSocket as me, within 30 s",
        request=None,
        responses={201: TicketSerializer, 401: ProblemSerializer, 503: ProblemSerializer},
    )
    def post(self, request: Request) -> Response:
        ticket = issue(grant_of(identity_of(request)))
        return Response(
            {"ticket": ticket, "expires_in": TICKET_SECONDS},
            status.HTTP_201_CREATED,
            headers={"Cache-Control": "no-store"},
        )
