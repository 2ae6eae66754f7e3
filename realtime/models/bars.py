"""Bars: open, high, low, close and volume of a symbol in a minute or a day."""

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
    # When it was written last: a replay that begins again writes the same bars anew.
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["symbol", "interval", "source", "-start"]
        constraints = [
            models.UniqueConstraint(
                fields=["symbol", "interval", "source", "start"], name="one_bar_per_start"
            )
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval} {self.start:%Y-%m-%d %H:%M}"
