"""The settings of one gateway process, read once in `app`, from variables that begin with `LOCKGATE_`.

`docs/settings.md` has a line per field; an unknown variable under the prefix is an error, because a mistyped limit
would otherwise be no limit.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.errors import Misconfigured
from gateway.origins import is_origin

PREFIX = "LOCKGATE_"
_DEVELOPMENT_ONLY = ("test_crash", "dev_loopback_origins")


class Settings(BaseSettings):
    """Everything that differs between two gateways."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    environment: Literal["dev", "prod"]
    """Part of every digest and signature context. No default: nobody runs production by accident."""

    data: Path
    """Home of keys, checkpoints and the embedded database; private to the user that runs the gateway."""

    host: str = "127.0.0.1"
    port: int = Field(default=8420, ge=0, le=65535)
    """0 picks a free port, told in the log."""

    allowed_hosts: list[str] = ["127.0.0.1", "localhost"]
    """Host names that a request may be addressed to; any other is 421."""

    database_url: SecretStr | None = None
    """Application role's conninfo. Without it the gateway runs its own cluster under `data`."""

    auditor_url: SecretStr | None = None
    """Reading role's conninfo, needed beside the one above: the start-up check looks at what the two roles may do."""

    migrator_url: SecretStr | None = None
    """Owner's conninfo, for migrations alone. Without it somebody else migrates, and an older schema is refused."""

    standby: Literal["none", "synchronous"] = "none"
    """`synchronous`: a server of the operator's must make each commit wait for a standby, or the start is refused."""

    issuers: Path
    """JSON file: [{"issuer", "audience", "keys": path of a JWK set, "tenants": [names]}]. Read again when changed."""

    root_keys: Path
    """JSON file written into the genesis entry: who may sign bundles, and the first persons' approval keys."""

    base_bundle: Path
    """The signed bundle that the genesis entry names."""

    origins: dict[str, str] = {}
    """Named origins that HTTP tools may be reached at, e.g. {"backoffice": "http://127.0.0.1:9000"}."""

    dev_loopback_origins: list[str] = []
    """Loopback origins that tools registered at run time may use. Only in `dev`."""

    opa_url: str | None = None
    """Origin of the OPA server that evaluates Rego; `http` on loopback only. Without it a worker process does."""

    opa_token: SecretStr | None = None
    """Bearer token for that server."""

    rego_shadow: bool = False
    """Whether a worker process evaluates beside that server. What the two decide differently is an incident."""

    name_detector: bool = False
    """Whether free text is searched for names, addresses, dates and ages too. Needs `requirements/names.txt`."""

    test_crash: str = ""
    """`stage:before` or `stage:after`: kills this process at that point of the next write. Only in `dev`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"

    connections_max: int = Field(default=4096, ge=1)
    """Open connections. For one more, whoever has waited longest without a request is sent away."""

    drain_seconds: float = Field(default=0.5, ge=0)
    """How long a gateway that was told to end still takes requests, not ready any more."""

    body_bytes_max: int = 64 * 1024
    """Largest request body. Larger is refused before parsing."""

    bundle_bytes_max: int = 2 * 1024 * 1024
    """Largest uploaded bundle or tool document."""

    body_seconds_max: float = 10
    """How long a body may take to arrive."""

    calls_in_flight_max: int = 512
    """Calls handled at once; more are 503 with Retry-After."""

    requests_per_minute: int = Field(default=60_000, ge=1)
    """Per principal, over all routes and all gateways of the database."""

    tenant_requests_per_minute: int = Field(default=120_000, ge=1)
    """Of all principals of a tenant together, in the same way; agents leave a tenth of it to people."""

    tenant_calls_in_flight_max: int = Field(default=256, ge=1)
    """Requests of one tenant handled at once; more are 429. Half of all, so that no tenant fills the gateway."""

    parked_per_principal_max: int = 100
    """Calls that one principal may keep waiting for approval; more are 429."""

    parked_seconds: int = 24 * 3600
    """How long a parked call waits for approval."""

    keep_seconds: int = 30 * 24 * 3600
    """How long an idempotency key keeps its answer. The log keeps the record for ever."""

    wait_seconds_max: int = 30
    """Longest `?wait=` on a call."""

    lease_grace_ms: int = 2000
    """Added to a tool's deadline before the sweeper takes an open intent over."""

    sweep_seconds: float = 0.5
    """How often the sweeper looks for open intents, doubtful outcomes and expired parked calls."""

    measure_strength: bool = True
    """Whether the mutation score of each bundle in force is measured, in a process that stands back."""


def read() -> Settings:
    """
    Read and check the settings of this process's environment.

    Raises `Misconfigured` naming each variable that is missing, unknown or not allowed in this environment.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise Misconfigured(f"unknown settings: {', '.join(unknown)}; see docs/settings.md")
    try:
        settings = Settings()  # type: ignore[call-arg]  # the environment gives what has no default
    except ValidationError as error:
        names = ", ".join(
            f"{PREFIX}{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors()
        )
        raise Misconfigured(f"settings do not fit: {names}") from error
    _require_safe(settings)
    return settings


def _require_safe(settings: Settings) -> None:
    if settings.environment != "dev":
        set_here = [PREFIX + name.upper() for name in _DEVELOPMENT_ONLY if getattr(settings, name)]
        if set_here:
            raise Misconfigured(f"only allowed in `dev`: {', '.join(set_here)}")
    unfit = [name for name, origin in settings.origins.items() if not is_origin(origin)]
    if unfit:
        raise Misconfigured(
            f"LOCKGATE_ORIGINS: expected `https://HOST[:PORT]` in its plain form for: {', '.join(unfit)}"
        )
    for origin in settings.dev_loopback_origins:
        parts = urlsplit(origin)
        is_local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if parts.scheme != "http" or not is_local or not parts.port or not is_origin(origin):
            raise Misconfigured("LOCKGATE_DEV_LOOPBACK_ORIGINS admits only `http://127.0.0.1:PORT` forms")
