"""What is wrong with a deployment: probes, each of which yields findings with a way out.

- `findings`: what a probe says. `running`: runs all probes at once, each for a bounded time.
- `database`: reachable, version, migrations. `redis_server`: one Redis or Valkey of the layer.
- `clocks`: clocks that differ. `layer`: a round trip through the channel layer.
- `workers`: background workers and streams. `host`: files and disk.
- `configuration`: settings, by the system checks. `proxy`: a site as its clients reach it, by way
  of `site`, which speaks HTTP.
- `probes`: the list of all of them.
"""
