"""Bars (open, high, low, close and volume of a minute or a day), and how far they are recorded."""

from django.db import models


class Bar(models.Model):
    """One bar of one source. Prices in the symbol's currency, volume in its units."""

    class Interval(models.TextChoices):
        MINUTE = "1m"
        DAY = "1d"

    symbol = models.CharField(max_length=32)
    interval = models.CharField(max_length=2, choices=Interval.choices)
    # Where the prices come from ("replay", "ccxt:binance", "" for updates that do not say): those
    # of two sources are not one series.
    source = models.CharField(max_length=64, blank=True, default="")
    # The first moment of the bar, in UTC, on the clock of its market.
    start = models.DateTimeField()
    open = models.FloatField()
    high = models.FloatField()
    low = models.FloatField()
    close = models.FloatField()
    volume = models.FloatField(default=0.0)
    # The event times of the ticks that are its open and its close: one that comes late, but is
    # older or newer than these, takes their place. None in bars that were not made of ticks.
    first_tick_at = models.DateTimeField(null=True, blank=True)
    last_tick_at = models.DateTimeField(null=True, blank=True)
    # When it was written last: a replay that begins again writes the same bars again.
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["symbol", "interval", "source", "-start"]
        constraints = [
            models.UniqueConstraint(
                fields=["symbol", "interval", "source", "start"], name="one_bar_per_start"
            )
        ]
        indexes = [
            # Which source of a symbol was written last?
            models.Index(fields=["symbol", "interval", "-updated_at"], name="bars_by_update")
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval} {self.start:%Y-%m-%d %H:%M}"


class RecordedPosition(models.Model):
    """Up to where the updates of a market-data stream are in the stored bars.

    Written in the transaction that writes the bars, so that a recorder that is killed counts
    nothing twice and leaves nothing out.
    """

    symbol = models.CharField(max_length=32, primary_key=True)
    epoch = models.CharField(max_length=64)
    offset = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return f"{self.symbol} {self.epoch}:{self.offset}"
