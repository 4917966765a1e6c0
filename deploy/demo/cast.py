"""Who takes part: two tenants, two persons for every role, an agent for every level of autonomy. All made up.

Keys and tokens are made on first start and kept in the data home, readable by its owner alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.issuer import Issuer
from policies.questions import ROLES
from proofs.keys import PrivateKey
from tool_registry.contracts import Effect, Family
from tool_registry.registry import load_catalogue

TENANTS = ("acme", "globex")
ISSUER = "https://issuer.lockgate.example"
AUDIENCE = "lockgate-dev"
LEVELS = (0, 1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person with one role, a token and an approval key."""

    tenant: str
    id: str
    roles: tuple[str, ...]
    token: str
    key: PrivateKey

    def document(self) -> dict[str, Any]:
        """The person as `build/dev.json` shows it."""
        return {
            "person": self.id,
            "roles": list(self.roles),
            "token": self.token,
            "key_id": self.key.key_id,
            "private_key": self.key.text,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent, registered for every tool of the business."""

    tenant: str
    id: str
    level: int
    token: str

    def document(self) -> dict[str, Any]:
        """The agent as `build/dev.json` shows it."""
        return {"id": self.id, "autonomy": self.level, "token": self.token}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Everybody, with the files that the gateway is configured by."""

    folder: Path
    issuer: Issuer
    bundle_key: PrivateKey
    people: tuple[Person, ...]
    agents: tuple[Agent, ...]

    def person(self, tenant: str, role: str, number: int = 1) -> Person:
        """The first or second person of a role."""
        found = [each for each in self.people if each.tenant == tenant and role in each.roles]
        return found[number - 1]

    def agent(self, tenant: str, level: int) -> Agent:
        """The agent of a level."""
        return next(each for each in self.agents if each.tenant == tenant and each.level == level)

    @property
    def issuers_file(self) -> Path:
        return self.folder / "issuers.json"

    @property
    def root_keys_file(self) -> Path:
        return self.folder / "root-keys.json"


def assemble(folder: Path) -> Cast:
    """The cast of a data home, made on first start. Fresh tokens, valid for a day, every time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    issuer = Issuer.open(folder / "issuer.jwk", name=ISSUER, audience=AUDIENCE, environment="dev")
    people = tuple(
        Person(
            tenant=tenant,
            id=f"per_{role}_{number}",
            roles=(role,),
            token=issuer.person(tenant, f"per_{role}_{number}", [role]),
            key=_key(folder / f"{tenant}-{role}-{number}.key"),
        )
        for tenant in (*TENANTS, "system")
        for role in ROLES
        for number in (1, 2)
    )
    tools = _agent_tools()
    agents = tuple(
        Agent(
            tenant=tenant,
            id=f"agent-l{level}",
            level=level,
            token=issuer.agent(tenant, f"agent-l{level}", tools),
        )
        for tenant in TENANTS
        for level in LEVELS
    )
    cast = Cast(folder=folder, issuer=issuer, bundle_key=_key(folder / "bundle.key"), people=people, agents=agents)
    _write_configuration(cast)
    return cast


def _agent_tools() -> list[str]:
    return sorted(
        name
        for name, contract in load_catalogue().contracts.items()
        if contract.family is Family.BUSINESS or contract.effect is Effect.READ
    )


def _key(path: Path) -> PrivateKey:
    if not path.exists():
        PrivateKey.generate().save(path)
    return PrivateKey.load(path)


def _write_configuration(cast: Cast) -> None:
    public = cast.bundle_key.public
    persons: dict[str, list[Mapping[str, str]]] = {}
    for person in cast.people:
        line = {"person": person.id, "public_key": person.key.public.text}
        persons.setdefault(person.tenant, []).append(line)
    bundle_keys = [
        {
            "key_id": public.key_id,
            "algorithm": "Ed25519",
            "public_key": public.text,
            "purposes": ["bundle"],
            "tenant": "*",
        }
    ]
    cast.root_keys_file.write_text(json.dumps({"bundle_keys": bundle_keys, "persons": persons}))
    (cast.folder / "issuer.jwks").write_text(json.dumps(cast.issuer.public()))
    issuer = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "keys": "issuer.jwks",
        "tenants": [*TENANTS, "system"],
    }
    cast.issuers_file.write_text(json.dumps([issuer]))
