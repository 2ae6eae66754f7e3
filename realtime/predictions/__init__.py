"""Predictions: computed, stored, compared with the outcome, and scored.

- `predictors`: the setting REALTIME_PREDICTOR and the default one. `requests`: predictions on
  request.
- `garch`: the predictor GARCH-t. `garch_worker`: the process in which it computes.
- `prices`: recent prices of a symbol. `stored_bars`: the bars before them.
- `records`: stores and publishes predictions. `storage`: their rows. `fields`: which of their data
  is stored.
- `outcomes`: the price that a prediction was about. `resolve`: stores it. `scores`: how accurate
  predictions were.
- `backtest`: predicts the past. `calibration`: reports on it. `plots`: draws the report.
"""
