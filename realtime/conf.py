"""Every setting of the app, with its default, its unit and what it may be.

    from realtime.conf import conf
    conf.REALTIME_MAX_SUBSCRIPTIONS

A value is read from Django's settings at each use, so that `override_settings` works. In the
ready-made project a variable of the environment of the same name sets it.
docs/reference/settings.md lists them all; a test compares it with this file.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from realtime.setting_kinds import (
    Choice,
    Count,
    Days,
    Delays,
    Directory,
    Endpoint,
    Flag,
    Hosts,
    Names,
    Networks,
    Number,
    Options,
    PerChannel,
    Secret,
    Setting,
    Text,
    Words,
)

_DAY: Final = 86400
# What REALTIME_FEED may be beside a dotted path.
FEEDS: Final = ("replay", "ccxt", "alpaca")
# The plug-ins of Apprise that send by its HTTP client alone, whose requests webhooks/chat.py makes.
CHAT_SERVICES: Final = (
    "discord", "google_chat", "gotify", "matrix", "mattermost", "ntfy", "pushover", "rocketchat",
    "slack", "telegram", "zulip",
)  # fmt: skip


class _Conf:
    # Of Django and Channels, where they have no default ---------------------------------------

    ASGI_APPLICATION = Text(environment=False)
    BASE_DIR = Directory(Path.cwd)
    CHANNEL_LAYERS = Options({}, environment=False)
    ROOT_URLCONF = Text(environment=False)

    # Sockets ------------------------------------------------------------------------------------

    # May a socket without a credential receive? The customer's document says "optional": yes.
    REALTIME_ALLOW_ANONYMOUS = Flag(True)
    # Dotted path of the function that says what a user may read and publish: (user) -> Access.
    REALTIME_USER_ACCESS = Text("realtime.access.user_access.everything")
    # Origins whose pages may open a WebSocket; empty: the hosts in ALLOWED_HOSTS. `*`: any.
    REALTIME_ALLOWED_ORIGINS = Names()
    # To send `auth` in, for a socket without a credential where anonymous is not allowed.
    REALTIME_AUTH_TIMEOUT = Number(10.0, unit="seconds")
    # Between two `ping`; two of them without a `pong` close the socket (4504).
    REALTIME_HEARTBEAT_INTERVAL = Number(30.0, least=0.05, unit="seconds")
    # To send all of an HTTP request in, for a client of `manage.py serve`.
    REALTIME_REQUEST_SECONDS = Number(30.0, least=0.1, unit="seconds")
    # That one process of `manage.py serve` works on at a time; each takes a thread.
    REALTIME_HTTP_CONCURRENCY = Count(8, unit="requests")
    # Does publishing over HTTP pass the project's MIDDLEWARE by? `auto`: where that is known to do
    # nothing to it.
    REALTIME_DIRECT_HTTP = Choice("auto", "always", "never")
    # Largest message that a client may send, and largest update that a publisher may send.
    REALTIME_MAX_MESSAGE_BYTES = Count(65536, unit="bytes")
    # That one socket may hold.
    REALTIME_MAX_SUBSCRIPTIONS = Count(200, unit="subscriptions")
    # In one minute, after which a socket is closed (4400).
    REALTIME_MAX_INVALID_PER_MINUTE = Count(20, unit="messages a minute")
    # That may wait for one slow reader before it is closed (4508).
    REALTIME_OUTBOX_BYTES = Count(1024 * 1024, unit="bytes")
    # That may be open at once, over all processes; 0: any number. A key's own limit goes first.
    REALTIME_CONNECTIONS_PER_KEY = Count(0, least=0, unit="sockets")
    REALTIME_CONNECTIONS_PER_USER = Count(0, least=0, unit="sockets")
    REALTIME_CONNECTIONS_PER_IP = Count(0, least=0, unit="sockets")
    # What happens at that limit: `refuse` the newcomer, or `close_oldest`.
    REALTIME_CONNECTION_LIMIT_POLICY = Choice("refuse", "close_oldest")
    # New ones of one address; 0: any number.
    REALTIME_HANDSHAKES_PER_IP_PER_MINUTE = Count(0, least=0, unit="sockets a minute")
    # That one address may try; 0: any number.
    REALTIME_LOGINS_PER_IP_PER_MINUTE = Count(30, least=0, unit="passwords a minute")
    # Networks of proxies whose X-Forwarded-For is believed: 10.0.0.0/8,::1/128; `unix` for one
    # that connects through a unix socket.
    REALTIME_TRUSTED_PROXIES = Networks()
    # Networks whose clients may read metrics and statistics without a credential.
    REALTIME_METRICS_NETWORKS = Networks()
    # That one socket may send, and how many of them at once.
    REALTIME_MESSAGES_PER_SECOND = Number(100, least=0.1, unit="messages a second")
    REALTIME_MESSAGES_BURST = Count(200, unit="messages")
    # That one key or user may publish over HTTP, over all processes; 0: any number.
    # A key's own limit goes first.
    REALTIME_PUBLISH_PER_SECOND = Count(0, least=0, unit="updates a second")
    # Over which a stopping server spreads its goodbyes.
    REALTIME_DRAIN_SECONDS = Number(5.0, unit="seconds")
    # For which a stopping server still accepts, while /readyz already answers 503.
    REALTIME_UNREADY_SECONDS = Number(0.0, unit="seconds")

    # Streams ------------------------------------------------------------------------------------

    # Kept per stream for `since`, and for how long after the last one.
    REALTIME_HISTORY_LENGTH = PerChannel(
        {
            "predictions": Count(1000, unit="updates"),
            "market-data": Count(1000, unit="updates"),
            "alerts": Count(1000, unit="updates"),
        }
    )
    REALTIME_HISTORY_SECONDS = PerChannel(
        {
            "predictions": Count(7 * _DAY, unit="seconds"),
            "market-data": Count(_DAY, unit="seconds"),
            "alerts": Count(7 * _DAY, unit="seconds"),
        }
    )
    # Within which a stream's next update is expected; when they have passed, its subscribers are
    # told that it is stale. 0: twice the longest recent spacing of the stream, within these bounds.
    REALTIME_EXPECTED_INTERVAL = PerChannel(
        {
            "market-data": Number(0, unit="seconds"),
            "predictions": Number(0, unit="seconds"),
        }
    )
    REALTIME_EXPECTED_INTERVAL_FLOOR = Number(5.0, least=0.1, unit="seconds")
    REALTIME_EXPECTED_INTERVAL_CEILING = Number(3600.0, least=0.1, unit="seconds")
    # Missed ones that one `since` may replay; more than that gets a snapshot.
    REALTIME_RECOVERY_LIMIT = Count(300, unit="updates")

    # Predictions --------------------------------------------------------------------------------

    # That one socket may request.
    REALTIME_PREDICTIONS_PER_MINUTE = Count(30, unit="requests a minute")
    # That one requested prediction may take.
    REALTIME_PREDICTION_TIMEOUT = Number(10.0, unit="seconds")
    # Where requested predictions are computed: `pool` (threads of the web process) or `celery`.
    REALTIME_PREDICTION_RUNNER = Choice("pool", "celery")
    # Dotted path of the callable that makes a prediction: (symbol, closes, horizon) -> Prediction.
    REALTIME_PREDICTOR = Text("realtime.predictions.predictors.random_walk")
    # For which stored predictions, and bars of a minute, are kept; 0: without end.
    REALTIME_PREDICTION_DAYS = Days(90, least=0)
    REALTIME_MINUTE_BAR_DAYS = Days(30, least=0)
    # That the score of a model looks back on, per symbol.
    REALTIME_SCORE_WINDOW = Count(200, unit="outcomes")

    # Feeds --------------------------------------------------------------------------------------

    # Where `run_feed` takes ticks from without --source: replay, ccxt, alpaca, or the dotted path
    # of an `async def ticks(symbols)` or of a class with such a method.
    REALTIME_FEED = Text("replay")
    # What ccxt's exchange is made with: {"apiKey": …, "secret": …, "options": {…}}.
    REALTIME_CCXT_CONFIG = Options({})
    ALPACA_API_KEY = Secret()
    ALPACA_SECRET_KEY = Secret()
    # Of US shares.
    ALPACA_FEED = Choice("iex", "sip", "delayed_sip", "test")
    ALPACA_URL = Endpoint("wss://stream.data.alpaca.markets", scheme="ws")
    ALPACA_REST_URL = Endpoint("https://data.alpaca.markets", scheme="http")

    # Webhooks -----------------------------------------------------------------------------------

    # That a receiver has to answer in, from the look-up of its name on.
    REALTIME_WEBHOOK_TIMEOUT = Number(15.0, least=0.1, unit="seconds")
    # After each attempt that failed, before the next: ten attempts in three days and a bit.
    REALTIME_WEBHOOK_RETRY_DELAYS = Delays(
        (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400), unit="seconds"
    )
    # That are made at one endpoint at a time.
    REALTIME_WEBHOOK_CONCURRENCY = Count(5, unit="attempts")
    # For which the log keeps deliveries that are finished.
    REALTIME_WEBHOOK_LOG_DAYS = Days(30)
    # That one user may have.
    REALTIME_WEBHOOKS_PER_USER = Count(20, unit="endpoints")
    # Hosts inside that webhooks may go to, as `host` or `host:port`; also without TLS.
    REALTIME_WEBHOOK_ALLOWED_HOSTS = Hosts()

    # Destinations of alerts ---------------------------------------------------------------------

    # Where people reach this server, https://realtime.example.com, for links in mails. Without it
    # there are no destinations by e-mail.
    REALTIME_PUBLIC_URL = Endpoint("", scheme="http")
    # Of chat that users may choose from, with the extra [notify].
    REALTIME_CHAT_SERVICES = Words(*CHAT_SERVICES)
    # After a message, until the next one to the same destination; what comes meanwhile is in that.
    REALTIME_DIGEST_SECONDS = Number(60.0, unit="seconds")
    # That one user may have.
    REALTIME_DESTINATIONS_PER_USER = Count(20, unit="destinations")

    # Alerts -------------------------------------------------------------------------------------

    # Dotted path of what stores alerts before they are sent; empty: they are sent only.
    REALTIME_ALERT_STORE = Text("realtime.alerts.inbox.store", blank=True)
    # For which alerts are kept.
    REALTIME_ALERT_DAYS = Days(90)
    # That one user may have.
    REALTIME_ALERT_RULES_PER_USER = Count(1000, unit="rules")
    # That the rules of one user store; 0: any number.
    REALTIME_ALERTS_PER_USER_PER_MINUTE = Count(1000, least=0, unit="alerts a minute")

    # Of the project around the app --------------------------------------------------------------

    # Files that commands make: the data of the embedded Valkey, the demo account of `up`.
    REALTIME_VAR_DIR = Directory(lambda: base_directory() / "var")
    # Do `serve` and `up` start a Valkey, whose socket is in there?
    REALTIME_EMBEDDED_VALKEY = Flag(False, environment=False)
    # What `up` passes to `celery --app`; empty: the package of ROOT_URLCONF.
    REALTIME_CELERY_APP = Text(environment=False)
    # Variables of the environment that the project reads; a check names others that look like one.
    REALTIME_KNOWN_VARIABLES = Names(environment=False)


conf: Final = _Conf()


def base_directory() -> Path:
    return conf.BASE_DIR


def valkey_directory() -> Path:
    """Where the embedded Valkey has its data and its socket."""
    return conf.REALTIME_VAR_DIR / "valkey"


DECLARED: Final[Mapping[str, Setting[object]]] = {
    name: setting for name, setting in vars(_Conf).items() if isinstance(setting, Setting)
}


def spelled(variable: str, setting: str) -> str:
    """What a message names: the variable if this project reads it, otherwise Django's setting."""
    return variable if variable in conf.REALTIME_KNOWN_VARIABLES else setting


def bad_values() -> Iterator[str]:
    """What is wrong with the settings, one line for each."""
    for name, setting in DECLARED.items():
        try:
            if hasattr(settings, name):
                setting.check(name, getattr(settings, name))
        except ImproperlyConfigured as exc:
            yield str(exc)


def require_valid() -> None:
    """Raise ImproperlyConfigured if a setting is not what it may be."""
    for problem in bad_values():
        raise ImproperlyConfigured(problem)


def unknown_names() -> Iterator[tuple[str, str | None]]:
    """Settings that look like ours and are not, each with the name that may be meant."""
    for name in dir(settings):
        if name.startswith("REALTIME_") and name not in DECLARED:
            yield name, nearest(name, DECLARED)


def nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, [*known], n=1)), None)
