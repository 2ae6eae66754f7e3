"""Where prices come from: feeds of real and of replayed markets.

- `sources`: which feed runs. `runner`: publishes its ticks. `progress`: its rate and lag, in one
  line.
- `ticks`: what every feed yields. `doubt`: holds back trades far from the last one.
- `connections`: what feeds of live markets share. `alpaca`, `ccxt`: two of them.
- `alpaca_messages`, `sale_conditions`: what Alpaca's messages mean. `rebuilding`: corrected
  minutes.
- `replay`: daily bars on an accelerated clock. `csv_bars`, `columns`, `cells`: parse price files.
"""
