"""What the bench runs on: one cluster, the business, the plain app, three gateways, and the process that loads them.

Every server is a process of its own on loopback; databases are separate, the cluster is one. The three gateways differ
in nothing but where their tool and facts are: in process, in process with intents alone, and the back office.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from deploy.demo.cast import AUDIENCE, ISSUER, Person
from deploy.demo.client import Client
from deploy.demo.world import ROOT, World
from gateway.issuer import Issuer
from gateway.storage import places
from proofs.keys import PrivateKey

KNOWN_OUTSIDE = 2  # The back office does business for two tenants.
TENANTS = ("acme", "globex", *(f"tenant{number:02}" for number in range(2, 16)))
AGENTS = (32, 16, *(2 for _ in TENANTS[2:]))
"""Per tenant: as many as there are clients that speak for it. Each has a daily budget that the load does not use up."""
ORDERS_OUTSIDE = 1_000
ORDERS_INSIDE = 50_000
"""Per tenant: so many that an order is rarely refunded twice."""

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing that is measured."""

    port: int
    path: str
    pid: int
    orders: int = ORDERS_INSIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One arrangement in one round."""

    rate: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    process_us: float = 0.0
    """CPU of the measured process, for each call."""
    workers_us: float = 0.0
    """CPU of the processes it keeps: the Rego worker."""
    server_us: float = 0.0
    """CPU of all processes of the database, for each call."""


@dataclass(frozen=True, slots=True)
class Arena:
    """Everything running."""

    targets: Mapping[str, Target]
    tokens: list[list[str]]
    postmaster: int
    pgbench: list[str]
    pgbench_environment: Mapping[str, str]
    _caller: subprocess.Popen[str]

    def call(self, name: str, clients: int, tenants: int, seconds: float) -> Measured:
        """Load one target. Raises `RuntimeError` at the first answer that is not 200."""
        target = self.targets[name]
        order = {
            "port": target.port,
            "path": target.path,
            "orders": target.orders,
            "clients": clients,
            "tenants": tenants,
            "seconds": seconds,
            "tokens": self.tokens,
        }
        before = self._used(target)
        found = self._ask(order)
        own, workers, server = (after - earlier for after, earlier in zip(self._used(target), before, strict=True))
        if found["faults"] or not found["calls"]:
            raise RuntimeError(f"{name}: {found['faults']} calls were not answered with 200: {found['first_fault']}")
        return Measured(
            rate=found["calls"] / found["seconds"],
            p50_ms=found["p50"] * 1e3,
            p99_ms=found["p99"] * 1e3,
            process_us=own / found["calls"] * 1e6,
            workers_us=workers / found["calls"] * 1e6,
            server_us=server / found["calls"] * 1e6,
        )

    def insert(self, clients: int, seconds: float) -> Measured:
        """Let pgbench insert rows, one transaction each."""
        threads = str(min(clients, os.cpu_count() or 1))
        command = [*self.pgbench, "-c", str(clients), "-j", threads, "-T", str(max(1, round(seconds)))]
        before = _cpu_of_all(self.postmaster)
        done = subprocess.run(command, env=dict(self.pgbench_environment), capture_output=True, text=True, check=True)
        used = _cpu_of_all(self.postmaster) - before
        rate = float(re.search(r"tps = ([0-9.]+)", done.stdout)[1])  # type: ignore[index]  # check=True: it is there
        count = int(re.search(r"actually processed: (\d+)", done.stdout)[1])  # type: ignore[index]  # as above
        return Measured(rate=rate, p50_ms=clients / rate * 1e3, server_us=used / count * 1e6)

    def _used(self, target: Target) -> tuple[float, float, float]:
        return _cpu(target.pid), _cpu_below(target.pid), _cpu_of_all(self.postmaster)

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        if self._caller.stdin is None or self._caller.stdout is None:
            raise RuntimeError("the caller has no pipes")
        self._caller.stdin.write(json.dumps(order) + "\n")
        self._caller.stdin.flush()
        found: dict[str, Any] = json.loads(self._caller.stdout.readline())
        return found


@contextmanager
def arena() -> Iterator[Arena]:
    """Start everything; it ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="lockgate-bench-"))
    folder.chmod(0o755)  # The server's user passes through; what is inside is private.
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        world = stack.enter_context(World.start(folder / "home"))
        persons, tokens = _cast(world)
        targets = {
            "governed": _gateway(world, "governed", ("tests.load.inside",), persons),
            "one-phase": _gateway(world, "onephase", ("tests.load.inside", "--one-phase"), persons),
            "over HTTP": _gateway(world, "overhttp", ("gateway",), persons),
        }
        _stock(world)
        targets |= _plain(world, stack)
        caller = subprocess.Popen(
            [sys.executable, "-m", "tests.load.caller"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(caller.wait)
        stack.callback(caller.terminate)
        postmaster = world.cluster.postmaster_id
        if postmaster is None:
            raise RuntimeError("the database is down")
        pgbench, environment = _pgbench(world)
        yield Arena(targets, tokens, postmaster, pgbench, environment, caller)


def _cast(world: World) -> tuple[dict[str, list[Person]], list[list[str]]]:
    """Sixteen tenants: officers who set levels of autonomy, and agents with tokens."""
    folder = world.home / "cast"
    folder.mkdir(mode=0o700)
    issuer = Issuer.open(folder / "issuer.jwk", name=ISSUER, audience=AUDIENCE, environment="dev")
    (folder / "issuer.jwks").write_text(json.dumps(issuer.public()))
    document = {"issuer": ISSUER, "audience": AUDIENCE, "keys": "issuer.jwks", "tenants": [*TENANTS, "system"]}
    (folder / "issuers.json").write_text(json.dumps([document]))
    persons = {tenant: [_person(issuer, tenant, *each) for each in _OFFICERS] for tenant in TENANTS}
    roots = json.loads(world.cast.root_keys_file.read_text())
    roots["persons"] = {
        tenant: [{"person": each.id, "public_key": each.key.public.text} for each in listed]
        for tenant, listed in persons.items()
    }
    (folder / "root-keys.json").write_text(json.dumps(roots))
    tokens = [
        [issuer.agent(tenant, _agent(number), ["issue_refund"]) for number in range(agents)]
        for tenant, agents in zip(TENANTS, AGENTS, strict=True)
    ]
    return persons, tokens


_OFFICERS = (("per_security_1", "security"), ("per_security_2", "security"), ("per_founder_1", "founder"))


def _person(issuer: Issuer, tenant: str, person: str, role: str) -> Person:
    token = issuer.person(tenant, person, [role])
    return Person(tenant=tenant, id=person, roles=(role,), token=token, key=PrivateKey.generate())


def _agent(number: int) -> str:
    return f"agent-{number:02}"


def _gateway(world: World, name: str, program: tuple[str, ...], persons: Mapping[str, list[Person]]) -> Target:
    world.cluster.create_database(name)
    urls = world.cluster.urls(name)
    home = world.home / name
    home.mkdir(mode=0o700)
    started = world.gateway(
        port=0,
        program=program,
        settings={
            "LOCKGATE_DATA": str(home),
            "LOCKGATE_DATABASE_URL": urls.app,
            "LOCKGATE_AUDITOR_URL": urls.auditor,
            "LOCKGATE_MIGRATOR_URL": urls.migrator,
            "LOCKGATE_ISSUERS": str(world.home / "cast" / "issuers.json"),
            "LOCKGATE_ROOT_KEYS": str(world.home / "cast" / "root-keys.json"),
            "LOCKGATE_REQUESTS_PER_MINUTE": "1000000",
            "LOCKGATE_TENANT_REQUESTS_PER_MINUTE": "1000000",
            # With intents alone every call stays open; nobody is to settle them meanwhile.
            **({"LOCKGATE_LEASE_GRACE_MS": "3600000"} if "--one-phase" in program else {}),
        },
    )
    _raise_autonomy(Client(started.url), persons)
    return Target(
        port=urlsplit(started.url).port or 0,
        path="/v1/calls",
        pid=started.process.pid,
        orders=ORDERS_OUTSIDE if program == ("gateway",) else ORDERS_INSIDE,
    )


def _raise_autonomy(client: Client, persons: Mapping[str, list[Person]]) -> None:
    """Agents begin at L1, where every write waits for a person; at L2 small refunds run alone."""
    for (tenant, (first, second, founder)), agents in zip(persons.items(), AGENTS, strict=True):
        for number in range(agents):
            arguments = {"agent": _agent(number), "action": "*", "level": 2}
            answer = client.governed(first, [second, founder], "set_autonomy", arguments, "new_agent")
            if answer.status != 200:
                raise RuntimeError(f"set_autonomy for {tenant}: {answer.status} {answer.reason}")


def _stock(world: World) -> None:
    """Orders in the back office, each paid generously."""
    with psycopg.connect(world.cluster.url("backoffice", "backoffice")) as connection:
        connection.execute("set search_path to business")
        for tenant in TENANTS[:KNOWN_OUTSIDE]:
            connection.execute(
                "insert into users (tenant, id, name, email, phone, address, country, payment_token, registered_at)"
                " values (%s, 'usr_bench', 'n', 'e@example.com', '1', 'a', 'NL', 't', now())",
                (tenant,),
            )
            connection.execute(
                "insert into orders (tenant, id, user_id, status, paid_cents, placed_at, ship_to)"
                " select %s, 'ord_' || lpad(n::text, 8, '0'), 'usr_bench', 'delivered', 1000000, now(), 'a'"
                " from generate_series(0, %s) as n",
                (tenant, ORDERS_OUTSIDE),
            )


def _plain(world: World, stack: ExitStack) -> dict[str, Target]:
    world.cluster.create_database("plain", role="plain")
    url = world.cluster.url("plain", "plain")
    with psycopg.connect(url) as connection:
        connection.execute("create schema bench")
        connection.execute("create table bench.plain (id bigserial primary key, body bytea not null)")
    ready = world.home / "plain.port"
    process = subprocess.Popen([sys.executable, "-m", "tests.load.plain", url, str(ready)], cwd=ROOT)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    until = time.monotonic() + 30
    while not (ready.exists() and ready.read_text()):
        if time.monotonic() > until or process.poll() is not None:
            raise RuntimeError("the plain app did not start")
        time.sleep(0.05)
    port = int(ready.read_text())
    return {
        "ungoverned": Target(port=port, path="/insert", pid=process.pid),
        "decoding": Target(port=port, path="/decode", pid=process.pid),
    }


def _pgbench(world: World) -> tuple[list[str], dict[str, str]]:
    """PostgreSQL's own load generator, from the wheel that carries the server."""
    script = world.home / "insert.sql"
    script.write_text(f"insert into bench.plain (body) values ('{'x' * 104}');\n")
    named = parse_qs(urlsplit(world.cluster.url("plain", "plain")).query)
    program = places.binaries(world.home, places.account("nobody")) / "pgbench"
    command = [str(program), "-n", "-M", "prepared", "-f", str(script), "-h", named["host"][0], "-U", "plain", "plain"]
    environment = {"PGPORT": named["port"][0], "PGPASSFILE": named["passfile"][0], "PATH": os.environ["PATH"]}
    return command, environment


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, with those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # It ended meanwhile; its parent has its time.
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _cpu_below(pid: int) -> float:
    """The same of every process that this one started."""
    return sum(_cpu(child) for child in _children(pid))


def _cpu_of_all(pid: int) -> float:
    return _cpu(pid) + _cpu_below(pid)


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in path.read_text().split()]
        except OSError:
            continue
    return found
