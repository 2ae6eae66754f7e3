"""Which trades set the current price, by their conditions. Pure.

US shares: after the specifications of the two tapes (CTS for tapes A and B, UTP for tape C), which
Alpaca's bars follow, too: a trade whose price is not current does not move the last price. Two
kinds stay, though they move no *consolidated* last price: odd lots (`I`), which are most trades of
an expensive share, at market prices; and trades outside the regular session (`T`), without which
there would be no prices then.

Crypto: what was agreed upon beside the order book (blocks), settled by an exchange with itself
(insurance fund, auto-deleveraging), or only refers to a price does not count.
"""

from collections.abc import Iterable, Mapping
from typing import Final

_NO_PRICE: Final = {
    "C": "cash sale",
    "G": "bunched sold",
    "H": "price variation",
    "M": "official close of a market",
    "N": "next day",
    "P": "prior reference price",
    "Q": "official open of a market",
    "R": "seller",
    "U": "outside of the session, out of sequence",
    "V": "contingent",
    "W": "average price",
    "Z": "sold, out of sequence",
    "3": "stopped stock, out of sequence",
    "4": "derivatively priced",
    "7": "qualified contingent",
}
# An average price on tapes A and B, but a bunched (regular) trade on tape C.
_AVERAGE: Final = "B"


def is_price(conditions: Iterable[object] | None, tape: object = None) -> bool:
    """Does a trade with these conditions move the last price?"""
    codes = set(conditions or ())
    return codes.isdisjoint(_NO_PRICE) and not (_AVERAGE in codes and tape in ("A", "B"))


# By the prefix of ccxt's exchange id: fields in the exchange's raw messages, and the values that
# exclude a trade; None: any value except null and false.
_BESIDE_THE_BOOK: Final[Mapping[str, Mapping[str, frozenset[str] | None]]] = {
    "binance": {"X": frozenset({"INSURANCE_FUND", "ADL", "NA"})},
    "bitmex": {"trdType": frozenset({"Referential"})},
    "bybit": {"BT": None, "isBlockTrade": None},
    "deribit": {"block_trade_id": None, "block_rfq_id": None},
}


def is_market_price(exchange: str, message: object) -> bool:
    """Was this trade, by the exchange's own fields, made in its order book?"""
    if not isinstance(message, Mapping):
        return True
    told: Mapping[str, object] = message
    for beginning, fields in _BESIDE_THE_BOOK.items():
        if exchange.startswith(beginning):
            return not any(_says(told.get(name), values) for name, values in fields.items())
    return True


def _says(value: object, values: frozenset[str] | None) -> bool:
    if values is None:
        return value not in (None, False, "", "false")
    return isinstance(value, str) and value in values
