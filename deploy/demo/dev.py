"""`make dev`: a seeded gateway that keeps running on loopback, and `build/dev.json` to drive it with.

Set `LOCKGATE_DEV_LOOPBACK_ORIGINS` to admit tools of your own that listen on loopback; other `LOCKGATE_` settings reach
the gateway too. A gateway that is killed is started again on the same address, as a supervisor would. With
`LOCKGATE_TEST_CRASH=intend:after` it dies at that point of the first call after seeding, and comes back without.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from deploy.demo.backoffice.launch import StartFailed
from deploy.demo.cast import AUDIENCE, ISSUER, TENANTS, Agent, Cast
from deploy.demo.client import Answer, Client
from deploy.demo.homes import Busy, alone
from deploy.demo.world import ENVIRONMENT, ROOT, Gateway, GatewayFailed, PortTaken, World
from gateway.storage.cluster import ClusterFailed
from gateway.storage.places import UnfitPlace, home_for

PORT = 8420
READY_SECONDS = 120
STARTS_MAX = 200  # A gateway that cannot stay up is not worth a machine that starts it for ever.
_OURS = frozenset(
    f"LOCKGATE_{name}"
    for name in (
        *("ENVIRONMENT", "DATA", "PORT", "ISSUERS", "ROOT_KEYS", "BASE_BUNDLE", "ORIGINS", "DEV_LOOPBACK_ORIGINS"),
        "TEST_CRASH",
    )
)
"""What the world decides for its gateways."""
DEV_FILE = ROOT / "build" / "dev.json"
IDS: dict[str, dict[str, str]] = {
    "acme": {"order": "ord_1001", "order_r2": "ord_1002", "order_r3": "ord_1003", "user": "usr_1001"},
    "globex": {"order": "ord_2001", "order_r2": "ord_2002", "order_r3": "ord_2003", "user": "usr_2001"},
}


def main() -> int:
    """Run until told to end."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    home = home_for(ROOT, "dev")
    try:
        # Also keeps a second one from taking the first one's file away.
        with alone(home):
            return _run(home, ended)
    except Busy as error:
        _say(f"cannot start: {error}\n`make dev` seems to run already: {DEV_FILE} says where")
    except (ClusterFailed, UnfitPlace, GatewayFailed, StartFailed) as error:
        _say(f"cannot start: {error}\nits data and logs are in {home}; without that folder it begins anew")
    return 1


def seed(cast: Cast, url: str) -> None:
    """
    Set each agent's level of autonomy, by governed calls that security and founder approve. L1 is the default.

    A second start finds its calls executed, and leaves a level alone that somebody has changed since.
    """
    client = Client(url)
    for tenant in TENANTS:
        for agent in cast.agents:
            if agent.tenant != tenant or agent.level == 1:
                continue
            answer = _set_autonomy(client, cast, agent, key=f"seed-{agent.id}-{agent.level}")
            if answer.status != 200:
                # A start that was cut short may have left the key with a call that is closed by now.
                answer = _set_autonomy(client, cast, agent)
            if answer.status != 200:
                raise GatewayFailed(f"seeding: set_autonomy answered {answer.status} {answer.reason}")


def write(world: World, gateway: Gateway) -> None:
    """`build/dev.json`: everything that drives this gateway from outside. Secret, so for its owner alone."""
    DEV_FILE.parent.mkdir(exist_ok=True)
    DEV_FILE.unlink(missing_ok=True)
    file = os.open(DEV_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as stream:
        json.dump(document(world, gateway), stream, indent=1)


def document(world: World, gateway: Gateway) -> dict[str, Any]:
    """The content of `build/dev.json`."""
    cast = world.cast
    mint = [sys.executable, "-m", "gateway.issuer", "--key", str(cast.folder / "issuer.jwk")]
    mint += ["--issuer", ISSUER, "--audience", AUDIENCE]
    return {
        "url": gateway.url,
        "pid": gateway.process.pid,
        "environment": ENVIRONMENT,
        "issuer_mint": shlex.join(mint),
        "bundle_key": {"key_id": cast.bundle_key.key_id, "private_key": cast.bundle_key.text},
        "business": {"url": world.business.url, "journal": str(world.business.journal)},
        "tenants": {
            tenant: {
                "people": [each.document() for each in cast.people if each.tenant == tenant],
                "agents": [each.document() for each in cast.agents if each.tenant == tenant],
                "ids": IDS[tenant],
            }
            for tenant in TENANTS
        },
        "system": {"people": [each.document() for each in cast.people if each.tenant == "system"]},
    }


def _run(home: Path, ended: threading.Event) -> int:
    _say("starting database, business and gateway; the first start proves the base bundle")
    try:
        with World.start(home, port=PORT, loopback_origins=_loopback_origins(), measures=True) as world:
            gateway = _start(world)
            _wait_until_ready(gateway)
            seed(world.cast, gateway.url)
            crash = os.environ.get("LOCKGATE_TEST_CRASH", "")
            if crash:
                gateway.stop()
                gateway = _again(world, gateway, crash=crash)
            write(world, gateway)
            _say(_next_steps(gateway.url, home))
            starts = 0
            while not ended.wait(0.2):
                if gateway.process.poll() is not None:
                    starts += 1
                    if starts > STARTS_MAX:
                        _say(f"the gateway ended {starts} times; its log is {gateway.log}")
                        return 1
                    _say(f"the gateway ended with {gateway.process.returncode}; starting it again")
                    gateway = _again(world, gateway)
                    write(world, gateway)
                if world.business.process.poll() is not None:
                    _say("the business ended: calls find no tool any more")
                    return 1
            _say("ending; the data stays, and the next start goes on with it")
    finally:
        DEV_FILE.unlink(missing_ok=True)
    return 0


def _loopback_origins() -> tuple[str, ...]:
    text = os.environ.get("LOCKGATE_DEV_LOOPBACK_ORIGINS", "[]")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise GatewayFailed('LOCKGATE_DEV_LOOPBACK_ORIGINS: expected a list like ["http://127.0.0.1:9000"]')
    return tuple(found)


def _set_autonomy(client: Client, cast: Cast, agent: Agent, key: str = "") -> Answer:
    officers = cast.person(agent.tenant, "security", 2), cast.person(agent.tenant, "founder")
    arguments = {"agent": agent.id, "action": "*", "level": agent.level}
    security = cast.person(agent.tenant, "security")
    return client.governed(security, officers, "set_autonomy", arguments, "new_agent", key=key)


def _start(world: World) -> Gateway:
    try:
        return world.gateway(settings=_given())
    except PortTaken:
        _say(f"port {PORT} is taken; using a free one")
        return world.gateway(port=0, settings=_given())


def _wait_until_ready(gateway: Gateway) -> None:
    """After a change of tools or engines the bundle in force is proved again before anything is permitted."""
    client = Client(gateway.url)
    for _ in range(READY_SECONDS * 10):
        if client.get("/readyz").status == 200:
            return
        time.sleep(0.1)
    raise GatewayFailed(f"not ready after {READY_SECONDS} s; its log is {gateway.log}")


def _again(world: World, gateway: Gateway, *, crash: str = "") -> Gateway:
    """A gateway on the address of one that ended, so that whoever waits for it finds it."""
    return world.gateway(crash=crash, port=int(gateway.url.rpartition(":")[2]), settings=_given())


def _given() -> dict[str, str]:
    """Settings of this process's environment that are the reader's to choose."""
    return {name: value for name, value in os.environ.items() if name.startswith("LOCKGATE_") and name not in _OURS}


def _next_steps(url: str, home: Path) -> str:
    return "\n".join(
        (
            f"gateway on {url}, described in build/dev.json; data and logs in {home}",
            "End it with Ctrl-C. Try in another terminal: a read, a refund, and one that finance has to sign.",
            f"  {_lockgate()} call get_order order_id=ord_1001 --as role:operator",
            f"  {_lockgate()} call issue_refund order_id=ord_1001 amount_cents=1250 --as agent:agent-l2",
            f"  {_lockgate()} call issue_refund order_id=ord_1002 amount_cents=20000 --as agent:agent-l2",
        )
    )


def _lockgate() -> str:
    """The command as a reader of the clone would type it."""
    command = Path(sys.executable).parent / "lockgate"
    if not command.exists():
        return "python -m admin"
    return str(command.relative_to(ROOT) if command.is_relative_to(ROOT) else command)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
