"""Chooses the feed of `run_feed`: a built-in one, or a user's feed by its dotted path."""

from collections.abc import Mapping

from django.utils.module_loading import import_string

from realtime.conf import FEEDS, conf
from realtime.extras import MissingExtra, extra
from realtime.feeds.ccxt import CcxtFeed
from realtime.feeds.connections import CallableFeed
from realtime.feeds.csv_bars import FeedError
from realtime.feeds.ticks import Feed

REPLAY, *LIVE = FEEDS


def live_feed(
    name: str, *, exchange: str | None, channel: str | None, names: Mapping[str, str]
) -> Feed:
    """The feed `ccxt` or `alpaca`; raises FeedError for options that it does not have."""
    if name == "ccxt":
        if exchange is None:
            raise FeedError("--source ccxt needs an exchange: --exchange binance")
        return CcxtFeed(
            exchange=exchange,
            channel="tickers" if channel == "tickers" else "trades",
            names=names,
            config=conf.REALTIME_CCXT_CONFIG,
        )
    if exchange is not None:
        raise FeedError("--exchange is for --source ccxt only")
    if channel == "tickers":
        raise FeedError("--source alpaca has trades only: leave out --channel tickers")
    try:
        with extra("feeds", needed_by="--source alpaca"):
            from realtime.feeds.alpaca import AlpacaFeed
    except MissingExtra as exc:
        raise FeedError(str(exc)) from None
    return AlpacaFeed(
        key=conf.ALPACA_API_KEY,
        secret=conf.ALPACA_SECRET_KEY,
        feed=conf.ALPACA_FEED,
        url=conf.ALPACA_URL,
        rest_url=conf.ALPACA_REST_URL,
        names=names,
    )


def own_feed(path: str, *, named_by: str) -> Feed:
    """The feed at a dotted path: a function `ticks(symbols)`, or a class or object that has one.

    `named_by` is the origin of the path (an option or a setting), for the FeedError.
    """
    if "." not in path:
        raise FeedError(
            f"{named_by}={path!r} is not a known feed: choose {', '.join(FEEDS)}, "
            "or the dotted path of your own"
        )
    try:
        found: object = import_string(path)
        if isinstance(found, type):
            found = found()
    except Exception as exc:  # importing the module may raise anything
        raise FeedError(f"{named_by}={path!r} cannot be used: {exc!r}") from exc
    function = getattr(found, "ticks", found)
    if not callable(function):
        raise FeedError(
            f"{named_by}={path!r} is a {type(found).__name__}; it must be an async function "
            "ticks(symbols) that yields Tick, or have one"
        )
    return CallableFeed(function, getattr(found, "source", path.rpartition(".")[2]))
