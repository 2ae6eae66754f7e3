"""Predictions: made, recorded, compared with what came, and scored.

- `predictors`: the setting REALTIME_PREDICTOR and the default one. `requests`: predictions on
  request.
- `garch`: the predictor GARCH-t. `garch_worker`: the process in which it computes.
- `prices`: recent prices of a symbol. `stored_bars`: the bars before them.
- `records`: stores and publishes predictions. `fields`: what of their data is stored.
- `outcomes`: which price a prediction was about. `resolve`: stores it. `scores`: how good they
  were.
- `backtest`: predicts the past. `calibration`: reports on it. `plots`: draws the report.
"""
