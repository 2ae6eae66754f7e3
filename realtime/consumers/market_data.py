"""Market data: updates, nothing else."""

from realtime.consumers.base import RealtimeConsumer


class MarketDataConsumer(RealtimeConsumer):
    """`/ws/market-data/{symbol}`."""

    channel = "market-data"
