"""Events for the URLs of users: written in a transaction, sent later.

- `events`: writes an event for each endpoint that wants it. `stale_streams`: streams that go quiet.
- `destinations`: e-mail addresses and chats, for the alerts of rules. `messages`: what is in a
  message. `links`: signed links in mails.
- `mail`, `chat`: how messages are sent. `chats`: loads `chat`, which needs an extra.
- `queue`: the deliveries as a queue. `worker`: takes from it. `sender`: one request. `results`:
  what came of it.
- `schedule`: when a delivery is tried again; the delays are a setting. `owners`: tells owners of
  a disabled endpoint.
"""
