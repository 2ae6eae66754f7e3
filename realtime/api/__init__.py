"""The REST API: a module for each resource, and what they share.

- `urls`: the paths. `not_found`: the answer to any other one.
- `base`: bodies, errors and pages of every view. `serializers`: bodies that several views use.
  `fields`: their times. `documented`: how views are described.
- `direct`: what is answered before Django's handler. `surroundings`: what its middleware adds.
- `authentication`: credentials and scopes. `tokens`: log in, refresh, log out, tickets.
- `cors`: pages of other origins that may call it.
- `keys`, `webhooks`: what users manage. `alerts`: their rules and their inbox.
- `publish`: updates over HTTP. `predictions`, `market_data`: what was stored of them.
- `streams`: updates since a position. `reading`: positions, symbols and limits of views that read.
- `answers`: what endpoints that accept data answer, without DRF. `publishing`, `recording`: their
  cores. `idempotency`: repeated requests. `responses`: the answers as responses of DRF.
  `recording_document`: predictions from outside in the OpenAPI document.
- `statistics`: open sockets, and `/metrics`. `metrics`: the numbers in it.
- `health`: whether a process is alive and ready. `schema`: the OpenAPI and AsyncAPI documents.
  `common_document`: errors, parameters and tags there. `examples`: requests that work.
  `events_document`: server-sent events. `rule_document`: conditions of alert rules.
"""
