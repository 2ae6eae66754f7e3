import time
from datetime import UTC, datetime

import pytest
from django.conf import settings as django_settings
from standardwebhooks import Webhook, WebhookVerificationError

from realtime.webhook_secrets import SecretUnreadable, new_secret, seal, sign, unseal

BODY = b'{"type":"test","data":{"text":"caf\xc3\xa9"}}'


def headers(*signatures: str, timestamp: int) -> dict[str, str]:
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def test_a_receiver_verifies_what_was_signed() -> None:
    secret, now = new_secret(), int(time.time())
    signature = sign(secret, "msg_1", now, BODY)
    assert Webhook(secret).verify(BODY, headers(signature, timestamp=now))


def test_our_signature_is_the_library_s_own() -> None:
    now = 1_700_000_000
    secret = new_secret()
    theirs = Webhook(secret).sign("msg_1", datetime.fromtimestamp(now, UTC), BODY.decode())
    assert sign(secret, "msg_1", now, BODY) == theirs


@pytest.mark.parametrize(
    ("id", "later", "body"), [("msg_2", 0, BODY), ("msg_1", 1, BODY), ("msg_1", 0, BODY + b" ")]
)
def test_a_receiver_notices_a_change_of(id: str, later: int, body: bytes) -> None:
    secret, now = new_secret(), int(time.time())
    signature = sign(secret, "msg_1", now, BODY)
    changed = {**headers(signature, timestamp=now + later), "webhook-id": id}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, changed)


def test_either_of_two_secrets_verifies_two_signatures() -> None:
    old, new, now = new_secret(), new_secret(), int(time.time())
    both = [sign(secret, "msg_1", now, BODY) for secret in (new, old)]
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, headers(*both, timestamp=now))


def test_a_kept_secret_is_not_the_secret_and_opens_to_it() -> None:
    secret = new_secret()
    kept = seal(secret)
    assert secret.removeprefix("whsec_") not in kept
    assert seal(secret) != kept
    assert unseal(kept) == secret


def test_another_secret_key_opens_it_as_a_fallback_only(
    settings: type[django_settings],
) -> None:
    secret = new_secret()
    kept = seal(secret)
    former, settings.SECRET_KEY = settings.SECRET_KEY, "another one " * 5
    with pytest.raises(SecretUnreadable, match="SECRET_KEY_FALLBACKS"):
        unseal(kept)
    settings.SECRET_KEY_FALLBACKS = [former]
    assert unseal(kept) == secret
