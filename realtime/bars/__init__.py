"""Bars of a minute and of a day, rolled up from market data.

- `ticks`: reads the price or the correction in an update. Pure.
- `candles`: what a tick changes in a bar. Pure.
- `store`: bars and the recorder's checkpoint in the database.
- `rollup`: bars of longer intervals, made when they are read.
- `recorder`: reads the streams and writes the bars.
"""
