"""The parts of one socket's session, which `realtime.consumers` puts together.

- `connection`: what these parts ask of the connection that they belong to.
- `admission`: checks the page's origin, and takes a slot under each connection limit.
- `credential`: what the client may do at present: `auth`, expiry, revocation.
- `url`: parses the stream and the position in the URL.
- `requests`: checks a request before anything changes.
- `changes`: runs `subscribe` and `unsubscribe` one at a time.
- `subscriptions`: the streams, and how each begins: answer, then snapshot or replay, then live.
- `answers`: `connected` and `status`, and the row of a connection for operators.
- `journal`: a line in the log for each connection that begins and ends.
- `pulse`: detects a peer that no longer answers.
"""
