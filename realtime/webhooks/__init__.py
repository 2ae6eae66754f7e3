"""Events for the URLs of users: written in a transaction, sent later.

- `events`: writes an event for each endpoint that wants it. `stale_streams`: streams that go quiet.
- `queue`: the deliveries as a queue. `worker`: takes from it. `sender`: one signed request.
- `schedule`: when a delivery is tried again; the delays are a setting. `owners`: tells owners of
  a disabled endpoint.
"""
