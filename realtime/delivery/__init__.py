"""From a published update to the bytes on each socket.

- `publisher`: publishes from synchronous code. `layers`: the channel layers.
- `history_scripts`: how streams are kept in Redis, and for how long. `link`, `pool`: the
  connections to it.
- `cluster`: recognises a Redis Cluster, which is not supported.
- `process_layer`: the part of a layer in one process. `fanout`: which socket gets an update.
  `losses`: logs lost updates.
- `stream_state`: one stream as a process knows it. `updates`: one update, built once for all
  sockets.
- `event_stream`: messages as server-sent events. `narrow`: keeps the buffers of a slow client
  small.
- `readers`: a rate limit or an alert filter before a socket. `outbox`: what waits for one
  client.
- `sockets`, `asgi_socket`: two ways to send. `cork`: joins writes. `heartbeat`: the timer of pings.
- `follow`: reads streams inside the server. `unstored`: alerts that are in no inbox yet.
- `rhythm`: when a stream has been quiet for too long. `staleness`: tells its readers.
- `readiness`: whether a probe hears that the process accepts new connections.
- `server`: `manage.py serve`. `server_http`, `server_protocol`, `frames`: its protocols.
- `events`: updates that `group_send` publishes.
- `recording`: what this process publishes, for tests.
- `totals`: what all processes have done. `latency`: how long updates take, by samples.
- `line`, `turns`, `files`: how many HTTP requests, messages and connections at a time.
"""
