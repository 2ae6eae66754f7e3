"""Bars of a minute and of a day, rolled up from market data.

- `candles`: what a tick changes in a bar. Pure.
- `store`: bars and the recorder's checkpoint in the database.
- `rollup`: bars of longer intervals, made when they are read.
- `recorder`: reads the streams and writes the bars.
"""
