"""What a tool is: the contract that admission, policy, proof, execution and redaction all read.

A contract is data. It comes from one YAML document (see `declarations`) and is frozen once read; its digest covers
every member, so an approval bound to the digest is void when any of it changes. Expressions (`risk`, `amount`,
`ceiling`) are Cedar text over `context.arguments` and `context.facts`; this package carries them without reading them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import NewType

ToolName = NewType("ToolName", str)
ToolDigest = NewType("ToolDigest", str)

TOKEN_PATTERN = "tok_[0-9a-f]{16}"  # noqa: S105 - a token of redaction, and no secret
"""What a reader sees for a hidden value, and what an argument that resolves admits beside its own pattern."""

ROLES = ("operator", "sre", "safety", "finance", "growth", "commerce", "security", "founder", "auditor")
"""What a person may be: the closed list that declarations, policies and tokens name roles from."""
APPROVER_ROLES = ROLES[:-1]  # An auditor reads and exports, and approves nothing.

INTEGER_MAX = 2**53 - 1  # RFC 8785 profile: beyond it a JSON number is not one number everywhere.


@unique
class Effect(StrEnum):
    """What a call may do to the world, the worst case deciding."""

    READ = "read"
    REVERSIBLE = "reversible"
    IRREVERSIBLE = "irreversible"


@unique
class Family(StrEnum):
    """Who owns the state that changes: the business, or the gateway itself."""

    BUSINESS = "business"
    GOVERNANCE = "governance"


@unique
class Label(StrEnum):
    """How far a value may travel. Redaction reads nothing else."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PERSONAL = "personal"
    SECRET = "secret"  # noqa: S105 - a label's name


@unique
class Kind(StrEnum):
    """The closed set of value kinds that a contract can speak of."""

    INTEGER = "integer"
    IDENTIFIER = "identifier"
    CHOICE = "choice"
    FLAG = "flag"
    TEXT = "text"
    TIMESTAMP = "timestamp"
    RECORD = "record"
    LIST = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One typed, bounded, labelled member of a shape."""

    name: str
    kind: Kind
    label: Label = Label.INTERNAL
    minimum: int = -INTEGER_MAX
    maximum: int = INTEGER_MAX
    """Integers only, inclusive; proofs assume exactly this range."""
    prefix: str | None = None
    """Identifiers only: `ord` admits `ord_1001`."""
    pattern: str | None = None
    """Identifiers and texts: a linear-time regular expression over the whole value."""
    length_max: int = 200
    """Characters of a text or identifier; items of a list."""
    choices: tuple[str, ...] = ()
    optional: bool = False
    fields: tuple[Field, ...] = ()
    """Members of a record, or of each item of a list. Results only."""
    resolves: bool = False
    """Texts of arguments only: a token becomes the value that it stands for, in the body of the dispatch alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactSource:
    """Where one group of facts comes from and how old it may be."""

    name: str
    """Group under `context.facts`."""
    path: str
    """Read endpoint at the connector's origin, `{argument}` filled in from the arguments. Answers `{at_ms, facts}`."""
    age_seconds_max: int
    fields: tuple[Field, ...]
    method: str = "GET"
    """`POST` sends `{"arguments": {…}}` as the body, for facts that are computed from the arguments themselves."""
    source: str = "http"
    """`http`, or `ledger`: `path` then names a reading of the gateway's own tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A counter of the gateway's own ledger that a call reserves from before it runs."""

    name: str
    key: str
    """
    What is counted: `tenant`, `principal`, or a template such as `order:{order_id}`. A windowed counter belongs to its
    tool; one in flight to all tools of the tenant that use this name and key: every payment from one cash balance.
    """
    amount: str
    """Cedar Long over the question's context; nothing is reserved where it is 0."""
    ceiling: str
    """Cedar Long over the question's context: reserved + spent + amount never exceeds it."""
    window: str | None = None
    """`hour` or `day` (UTC): a counter that starts anew. None: in flight since a fact's time stamp."""
    since: str | None = None
    """The fact group whose time stamp bounds in-flight amounts. Set exactly when `window` is None."""
    agents_only: bool = False
    soft: bool = False
    """Beyond a soft ceiling the call is decided again, not refused: a threshold of the risk expression."""
    shows: str | None = None
    """`group.member` of `context.facts` that carries the reading (0 for people where agents_only)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A call to another tool, each argument taken from `arguments.x`, `facts.g.x`, `result.x`, or a literal."""

    tool: ToolName
    arguments: Mapping[str, str | int | bool]
    expects: Mapping[str, str | int | bool] | None = None
    """Of a confirming read: what members of its result must show, taken as arguments are; else the effect is
    contradicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """How execution reaches the tool."""

    kind: str
    """`http` (an origin named in the settings), `ledger` (the gateway's own tables) or `local` (in process)."""
    origin: str = ""
    method: str = "POST"
    path: str = ""
    act: str = ""
    """Ledger only: the act of the governance family, or the ledger view, that answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A typed operation with everything the gateway must know of it before it lets a call through."""

    name: ToolName
    version: int
    title: str
    family: Family
    effect: Effect
    resource_type: str
    resource_argument: str | None
    """The argument that names the resource; None: the tenant itself."""
    arguments: tuple[Field, ...]
    result: tuple[Field, ...]
    reason_codes: tuple[str, ...]
    risk: str
    """Cedar Long, 0 to 3."""
    approver: str
    """The role that the table names, `operator` where it names none."""
    excluded: tuple[str, ...] = ()
    """Facts (`appeal.first_decider`) and arguments (`arguments.person`) that name persons who may not approve."""
    facts: tuple[FactSource, ...] = ()
    limits: tuple[Limit, ...] = ()
    visible_to: Mapping[str, tuple[str, ...]]
    """Label -> roles that see values of it; `agents` admits registered agents."""
    undo: Reference | None = None
    confirm: Reference | None = None
    status_path: str | None = None
    """Status query by effect id, `{effect_id}` filled in."""
    is_idempotent: bool = False
    """The tool promises that a second dispatch of one effect id has no second effect."""
    is_fenced: bool = False
    """The tool refuses a lower fence and a past deadline, so `not_applied` after the deadline is final."""
    deadline_ms: int = 3000
    calls_per_minute: int = 6000
    """Rate per principal."""
    connector: Connector
    digest: ToolDigest
