"""What one socket's session is made of; `realtime.consumers` puts it together.

- `connection`: what these parts ask of the connection that they belong to.
- `admission`: its page's origin, and a slot under each limit of connections.
- `credential`: what the client may do, as that is now: `auth`, expiry, revocation.
- `url`: what the URL asks for.
- `requests`: checks what a message asks for, before anything changes.
- `changes`: runs `subscribe` and `unsubscribe` one at a time.
- `subscriptions`: the streams, and how each begins: answer, then snapshot or replay, then live.
- `answers`: `connected` and `status`.
- `pulse`: whether the peer still answers.
"""
