"""The signature of a JSON Web Token: by SECRET_KEY, or by one of SECRET_KEY_FALLBACKS.

Also checks when a token was issued, by a clock that may be ahead of this machine's.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

import jwt
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenBackendExpiredToken
from rest_framework_simplejwt.settings import api_settings

# Seconds that the clock of the machine that issued a token may be ahead.
CLOCK_SKEW: Final = 60.0


class RotatingBackend(TokenBackend):
    """simplejwt's backend, extended by SECRET_KEY_FALLBACKS."""

    def decode(self, token: object, verify: bool = True) -> dict[str, object]:
        for key in self._keys(token):
            try:
                claims = self._claims(token, key, verify)
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError as exc:
                raise TokenBackendExpiredToken("Token is expired") from exc
            except jwt.InvalidTokenError as exc:
                raise TokenBackendError("Token is invalid") from exc
            if verify:
                _check_begun(claims)
            return claims
        raise TokenBackendError("Token is invalid")

    def _keys(self, token: Any) -> Iterator[Any]:
        yield self.get_verifying_key(token)
        # A project may give its tokens a key of their own (SIGNING_KEY).
        if self.algorithm.startswith("HS") and self.signing_key == settings.SECRET_KEY:
            yield from (self._prepare_key(key) for key in settings.SECRET_KEY_FALLBACKS if key)

    def _claims(self, token: Any, key: Any, verify: bool) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[self.algorithm],
            audience=self.audience,
            issuer=self.issuer,
            leeway=self.get_leeway(),
            options={
                "verify_aud": self.audience is not None,
                "verify_signature": verify,
                # PyJWT's leeway for these claims would apply to `exp` as well.
                "verify_iat": False,
                "verify_nbf": False,
            },
        )


def _check_begun(claims: dict[str, object]) -> None:
    for name in ("iat", "nbf"):
        begins = claims.get(name, 0)
        if not isinstance(begins, int | float) or begins > time.time() + CLOCK_SKEW:
            raise TokenBackendError("Token is not valid yet")


BACKEND: Final = RotatingBackend(
    api_settings.ALGORITHM,
    api_settings.SIGNING_KEY,
    api_settings.VERIFYING_KEY,
    api_settings.AUDIENCE,
    api_settings.ISSUER,
    api_settings.JWK_URL,
    api_settings.LEEWAY,
    api_settings.JSON_ENCODER,
)
