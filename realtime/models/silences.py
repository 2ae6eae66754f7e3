"""The streams that went quiet, as far as webhooks were told."""

from django.db import models


class Silence(models.Model):
    """The silence of a stream that was told of last, so that it is told of once."""

    channel = models.CharField(max_length=16)
    symbol = models.CharField(max_length=32)
    # Of the stream, when it went quiet.
    last_update = models.DateTimeField()
    told_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["channel", "symbol"], name="one_silence_per_stream")
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.symbol} since {self.last_update:%Y-%m-%d %H:%M:%S}"
