"""A development issuer: mints the tokens of the demo, and refuses to run outside `dev`.

`python -m gateway.issuer --key KEY --issuer NAME --audience NAME --tenant acme --person per_ada --roles finance`
prints a token. Production tokens come from the operator's own identity provider.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import OKPKey

from gateway.errors import Misconfigured

# RFC 9864 renamed the algorithm; joserfc warns about the old name, which issuers and verifiers still use.
warnings.filterwarnings("ignore", message="EdDSA is deprecated")

DAY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A key with the name and audience that its tokens carry."""

    key: OKPKey
    name: str
    audience: str

    @staticmethod
    def open(path: Path, *, name: str, audience: str, environment: str) -> Issuer:
        """The issuer whose key lies at `path`, made there on first use. Raises `Misconfigured` outside `dev`."""
        if environment != "dev":
            raise Misconfigured("the development issuer refuses to run outside `dev`")
        if not path.exists():
            key = OKPKey.generate_key("Ed25519", {"kid": "dev-1"})
            path.touch(mode=0o600)
            path.write_text(json.dumps(key.as_dict(private=True)))
        return Issuer(key=OKPKey.import_key(json.loads(path.read_text())), name=name, audience=audience)

    def public(self) -> dict[str, Any]:
        """The JWK set of the issuer."""
        return {"keys": [self.key.as_dict(private=False)]}

    def person(self, tenant: str, person: str, roles: Sequence[str], *, seconds: int = DAY_SECONDS) -> str:
        """A token for a person."""
        return self._mint({"tenant": tenant, "kind": "person", "person": person, "roles": list(roles)}, person, seconds)

    def agent(
        self, tenant: str, agent: str, tools: Sequence[str], *, subject: str = "", seconds: int = DAY_SECONDS
    ) -> str:
        """A token for an agent, on behalf of a person where `subject` names one."""
        claims: dict[str, Any] = {"tenant": tenant, "kind": "agent", "tools": list(tools)}
        if subject:
            claims |= {"person": subject, "act": {"sub": agent}}
        return self._mint(claims, subject or agent, seconds)

    def _mint(self, claims: dict[str, Any], subject: str, seconds: int) -> str:
        now = int(time.time())
        whole = {
            "iss": self.name,
            "aud": self.audience,
            "sub": subject,
            "iat": now,
            "exp": now + seconds,
            "jti": secrets.token_hex(8),
            **claims,
        }
        return str(jwt.encode({"alg": "EdDSA", "kid": self.key.kid}, whole, self.key, algorithms=["EdDSA"]))


def main(arguments: Sequence[str]) -> int:
    """Print one token."""
    parser = argparse.ArgumentParser(prog="python -m gateway.issuer", description="Mint a development token.")
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--issuer", required=True)
    parser.add_argument("--audience", required=True)
    parser.add_argument("--environment", default="dev")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--person", help="a person's id")
    parser.add_argument("--roles", default="", help="roles of the person, separated by commas")
    parser.add_argument("--agent", help="an agent's id")
    parser.add_argument("--tools", default="", help="tools of the agent's registration, separated by commas")
    parser.add_argument("--subject", default="", help="the person on whose behalf the agent acts")
    parser.add_argument("--seconds", type=int, default=DAY_SECONDS)
    given = parser.parse_args(arguments)
    if bool(given.person) == bool(given.agent):
        parser.error("say either --person or --agent")
    try:
        issuer = Issuer.open(given.key, name=given.issuer, audience=given.audience, environment=given.environment)
    except Misconfigured as error:
        parser.error(str(error))
    if given.person:
        token = issuer.person(given.tenant, given.person, _words(given.roles), seconds=given.seconds)
    else:
        token = issuer.agent(
            given.tenant, given.agent, _words(given.tools), subject=given.subject, seconds=given.seconds
        )
    print(token)  # noqa: T201 - the command's answer
    return 0


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
