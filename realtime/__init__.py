"""ARA Realtime: predictions, market data and alerts, pushed to WebSocket clients.

The order of the rooms is in docs/explanation/architecture.md. The modules that are no package:

- `conf`: every setting, with its default. `setting_kinds`: what each kind of setting may be.
- `broadcast`: publishes updates; everything that publishes goes through it.
- `protocol`: the wire: every message, the close and error codes. `asyncapi`: the same as a
  document, with the `asyncapi_fields` and the `update_data` in it.
- `payloads`: what an update may hold.
- `streams`: channels, symbols and the groups that carry them. `scopes`: what a credential may do
  there.
- `routing`: which consumer serves which path. `middleware`: tells the consumers who is connecting.
- `asgi`: the application that a project serves. `urls`: the paths of HTTP. `sse`: the consumers
  behind HTTP, as server-sent events.
- `views`, `pages`: the dashboard, and the headers of pages. `compression`: of what is sent.
- `connections`: how many sockets are open, over all processes.
- `tasks`: publishing and periodic work as Celery tasks. `retention`: deletes old rows of the
  database (histories in Redis: `delivery.history_scripts`).
- `checks`: what `manage.py check` reports. `apps`: registers it with Django.
- `extras`: packages that only one part needs, and what to install where they are missing.
- `isolation`: the channel layer of a test run, which reaches nobody else.
- `testing`: what a test has published. `pytest_plugin`: the same as a fixture.
- `db`: the database outside of requests. `users`: users of any model. `hours`: of a day.
- `threads`: blocking work beside an event loop. `destination_pages`: where links in mails lead.
- `aside`: work on one row that must not stop that on others. `cancelling`: ends
  tasks. `retry`: waits for a backend that is away (webhooks: `webhooks.schedule`).
- `workers`: signs of life of background workers.
- `remembered`: values that a process keeps for a while.
- `values`, `shapes`: numbers, times and JSON from outside, checked. `version`: of this release.
- `webhook_addresses`, `webhook_secrets`: what the models and the sender of webhooks share.
"""
