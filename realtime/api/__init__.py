"""The REST API: a module for each resource, and what they share.

- `urls`: the paths. `not_found`: the answer to any other one.
- `base`: bodies, errors and pages of every view. `serializers`: bodies that several views use.
  `fields`: their times. `documented`: how views are described.
- `direct`: answers before Django's handler. `surroundings`: the headers that middleware adds.
- `authentication`: credentials and scopes. `tokens`: log in, refresh, log out, tickets.
- `cors`: lets pages of other origins call the API.
- `keys`, `webhooks`, `destinations`: managed by users. `alerts`: their rules and their inbox.
- `publish`: updates over HTTP. `predictions`, `market_data`: stored predictions and bars.
- `streams`: updates since a position. `stream_list`: which streams there are. `reading`: positions,
  symbols and limits of views that read.
- `answers`: the answers of endpoints that accept data, without DRF. `publishing`, `recording`: the
  cores of these endpoints. `idempotency`: repeated requests. `responses`: the answers as DRF
  responses. `recording_document`: external predictions in the OpenAPI document.
- `live_connections`: who is connected, for operators.
- `statistics`: open sockets, and `/metrics`. `metrics`: the numbers in it. `total_metrics`: those
  of all processes together. `counting`: counts requests.
- `asyncapi_page`: the AsyncAPI document for people.
- `health`: whether a process is alive and ready. `schema`: the OpenAPI and AsyncAPI documents.
  `common_document`: errors, parameters and tags there. `examples`: requests that work.
  `events_document`: server-sent events. `rule_document`: conditions of alert rules.
"""
