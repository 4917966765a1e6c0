"""Who is asking, and which gateway: from options, from the environment, or from the file that `make dev` writes.

There is no default identity: whoever acts is named, by `--as` or by a token. Names under `--as`:

    agent:<id>  person:<id>  role:<role> (the first person who has it), each optionally as <tenant>/agent:<id>

For a signature role:<role> is the first person who has it and neither asked for the call nor has signed already.

Outside development: `--url`, `--tenant`, `--environment` and a token file, or LOCKGATECLI_URL, _TENANT, _ENVIRONMENT,
_TOKEN_FILE and _KEY_FILE. A token is never an argument: arguments are visible to every user of the machine.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from admin.errors import CommandError

SOURCE = Path(__file__).resolve().parent.parent
"""Where the packages lie: a clone, or site-packages."""

DEV_FILE = SOURCE / "build" / "dev.json"
PREFIX = "LOCKGATECLI_"  # The gateway's own LOCKGATE_ is closed: it refuses names that it does not know.


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Somebody who can act, with what they act by."""

    tenant: str
    kind: str
    """`agent` or `person`."""
    id: str
    token: str
    roles: tuple[str, ...] = ()
    autonomy: str = ""
    key_id: str = ""
    private_key: str = ""

    @property
    def name(self) -> str:
        """What `--as` takes."""
        return f"{self.tenant}/{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line said about who and where; empty where it said nothing."""

    url: str = ""
    identity: str = ""
    tenant: str = ""
    environment: str = ""
    token_file: Path | None = None
    dev_file: Path = DEV_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where to go and as whom. `identity` is None for the public routes."""

    url: str
    environment: str
    tenant: str
    identity: Identity | None


def session(options: Options, *, is_public: bool = False) -> Session:
    """
    Settle where to go and as whom.

    Raises `CommandError` when no gateway is known, or when nobody is named and the command is not a public one.
    """
    dev = development(options.dev_file)
    url = options.url or _variable("URL") or str(dev.get("url", ""))
    if not url:
        raise CommandError("no gateway is known", "start one with `make dev`, or say --url https://…")
    environment = options.environment or _variable("ENVIRONMENT") or ("dev" if url == dev.get("url") else "prod")
    tenant = options.tenant or _variable("TENANT")
    named = os.environ.get(PREFIX + "TOKEN_FILE")
    token_file = options.token_file or (Path(named) if named else None)
    if options.identity:
        found = find(identities(dev), options.identity, tenant)
        return Session(url=url, environment=environment, tenant=found.tenant, identity=found)
    if token_file is not None:
        claimed = _claimed(_read_token(token_file))
        return Session(url=url, environment=environment, tenant=tenant or claimed.tenant, identity=claimed)
    if is_public:
        return Session(url=url, environment=environment, tenant=tenant, identity=None)
    raise CommandError("nobody is named to act", f"say --as with one of: {_names(identities(dev))}; or --token-file")


def standing_in(options: Options, asked: Session, taken: Collection[str]) -> Session:
    """
    The session of somebody who is not among `taken` (`person/<id>`), where `--as role:<role>` leaves the choice.

    Who was named stays, and so does the first of the role when everybody is taken: the gateway says why that is no use.
    """
    _, _, role = options.identity.rpartition("role:")
    if asked.identity is None or not role or "role:" not in options.identity:
        return asked
    for identity in identities(development(options.dev_file)):
        fits = identity.tenant == asked.tenant and role in identity.roles
        if fits and f"{identity.kind}/{identity.id}" not in taken:
            return replace(asked, identity=identity)
    return asked


def development(path: Path) -> Mapping[str, Any]:
    """What `make dev` wrote, or nothing where no development gateway has run."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandError(f"`{path}` cannot be read", "run `make dev` again: it writes the file anew") from error
    if not isinstance(document, dict):
        raise CommandError(f"`{path}` holds no object", "run `make dev` again: it writes the file anew")
    return document


def bundle_key(path: Path) -> str:
    """The private key that the development gateway trusts for bundles; empty where there is none."""
    named = development(path).get("bundle_key")
    return str(named.get("private_key", "")) if isinstance(named, dict) else ""


def identities(dev: Mapping[str, Any]) -> tuple[Identity, ...]:
    """Everybody whom the development gateway knows, tenant by tenant."""
    return tuple(_identities(dev))


def find(known: tuple[Identity, ...], name: str, tenant: str) -> Identity:
    """
    The identity that `name` means.

    A name without a tenant means the first tenant that has it. Raises `CommandError` with the names there are.
    """
    prefix, slash, rest = name.rpartition("/")
    wanted = prefix if slash else tenant
    kind, colon, id_ = rest.partition(":")
    if not colon or kind not in {"agent", "person", "role"}:
        raise CommandError(f"--as `{name}` names nobody", "say agent:<id>, person:<id> or role:<role>")
    for identity in known:
        if wanted and identity.tenant != wanted:
            continue
        if (identity.kind, identity.id) == (kind, id_) or (kind == "role" and id_ in identity.roles):
            return identity
    raise CommandError(f"--as `{name}` is not known here", f"known: {_names(known)}")


def _identities(dev: Mapping[str, Any]) -> Iterator[Identity]:
    for tenant, members in {**dev.get("tenants", {}), "system": dev.get("system", {})}.items():
        for person in members.get("people", ()):
            yield Identity(
                tenant=tenant,
                kind="person",
                id=person["person"],
                token=person["token"],
                roles=tuple(person.get("roles", ())),
                key_id=person.get("key_id", ""),
                private_key=person.get("private_key", ""),
            )
        for agent in members.get("agents", ()):
            yield Identity(
                tenant=tenant,
                kind="agent",
                id=agent["id"],
                token=agent["token"],
                autonomy=str(agent.get("autonomy", "")),
            )


def _names(known: tuple[Identity, ...]) -> str:
    """Who there is, short enough to read: people by role, and each name once, however many tenants have it."""
    people = (f"role:{role}" for identity in known for role in identity.roles)
    agents = (f"agent:{identity.id}" for identity in known if identity.kind == "agent")
    names = dict.fromkeys((*people, *agents))
    return ", ".join(names) or "nobody (no build/dev.json; start `make dev`)"


def _read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise CommandError(f"token file `{path}` cannot be read", "say --token-file with a readable file") from error
    if not token or any(character.isspace() for character in token):
        raise CommandError(f"token file `{path}` holds no single token", "put the bearer token alone into it")
    return token


def _claimed(token: str) -> Identity:
    """Whom a token says it is for. Not verified here: the gateway does that, and this only fills in a statement."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        kind = str(claims["kind"])
        id_ = str(claims["person"] if kind == "person" else (claims.get("act") or claims)["sub"])
        return Identity(tenant=str(claims["tenant"]), kind=kind, id=id_, token=token)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise CommandError(
            "the token's claims cannot be read", "say --token-file with a token for the gateway"
        ) from error


def _variable(name: str) -> str:
    return os.environ.get(PREFIX + name, "")
