"""All probes, in the order in which a report shows what they find."""

from realtime.doctor.clocks import examine_clocks
from realtime.doctor.configuration import examine_settings
from realtime.doctor.database import examine_database
from realtime.doctor.findings import Probe
from realtime.doctor.host import examine_disk, examine_files
from realtime.doctor.layer import examine_layer
from realtime.doctor.proxy import proxy_probes
from realtime.doctor.redis_server import redis_probes
from realtime.doctor.workers import examine_sockets, examine_workers


def all_probes(url: str | None) -> list[Probe]:
    return [
        Probe("settings", examine_settings, seconds=20),
        Probe("database", examine_database),
        *redis_probes(),
        Probe("clocks", examine_clocks),
        Probe("channel layer", examine_layer, seconds=15),
        Probe("workers", examine_workers),
        Probe("connections", examine_sockets),
        Probe("open files", examine_files),
        Probe("disk", examine_disk),
        *(proxy_probes(url) if url else ()),
    ]
