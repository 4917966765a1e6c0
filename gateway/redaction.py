"""Redaction: the only door through which a value reaches a log, an audit payload, or the answer to somebody.

Schema first: a field's label decides, and unknown members are dropped. Patterns second, for free text. What is
hidden is replaced by a keyed token: equal values of one tenant can be matched, nobody without the key can compute the
token of a guess, and tokens of two tenants never agree.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway import findings
from gateway.encoding import encode
from gateway.errors import Unavailable
from gateway.findings import Finding
from gateway.identity import Principal, PrincipalKind
from gateway.names import Names
from tool_registry.contracts import TOKEN_PATTERN, Contract, Field, Kind, Label
from tool_registry.declarations import TEXT_MAX

HIDDEN_IN_RECORDS = frozenset({Label.PERSONAL, Label.SECRET})
"""Labels whose values the log keeps as tokens."""

_TOKEN = re.compile(TOKEN_PATTERN)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a list of fields asks for, worked out once: most contracts hide nothing and scan nothing."""

    hidden: frozenset[str]
    texts: frozenset[str]
    nested: Mapping[str, tuple[Field, ...]]
    names: frozenset[str]
    resolving: frozenset[str]
    """Hidden arguments that may hold a token of ours already: gather refuses every other text of that form."""

    @property
    def is_clean(self) -> bool:
        return not (self.hidden or self.texts or self.nested)


class Redactor:
    """Hides what a reader need not see. Holds the key that tokens are made with."""

    def __init__(self, key: bytes, names: Names | None = None) -> None:
        """`names`: looks into free text for what has no shape of its own; None where the settings do not ask for it."""
        self._key = key
        self._names = names
        self._hidden: dict[tuple[str, PrincipalKind, tuple[str, ...]], frozenset[Label]] = {}
        """By contract, kind and roles: as many as there are contracts and sets of roles in use."""
        self._clean: dict[str, bool] = {}
        """By contract."""
        self._plans: dict[tuple[int, frozenset[Label]], tuple[Sequence[Field], _Plan]] = {}

    def record(self, fields: Sequence[Field], values: Mapping[str, Any], *, tenant: str) -> Mapping[str, Any]:
        """Values for the audit log: personal and secret values become tokens, free text is scanned."""
        return self._apply(fields, values, HIDDEN_IN_RECORDS, tenant)

    def show(
        self, contract: Contract, fields: Sequence[Field], values: Mapping[str, Any], viewer: Principal
    ) -> Mapping[str, Any]:
        """Arguments or results of a contract for a reader, by the rights of this moment."""
        return self._apply(fields, values, self._hidden_from(contract, viewer), viewer.tenant)

    def visible(self, contract: Contract, viewer: Principal) -> frozenset[Label]:
        """The labels of a contract whose values a reader may see, by the rights of this moment."""
        return frozenset(Label) - self._hidden_from(contract, viewer)

    def told(self, contract: Contract, viewer: Principal, document: dict[str, Any]) -> dict[str, Any]:
        """
        A document about a call for a reader: its checks without their numbers where the reader may not see them all.

        Both sides of a comparison follow from arguments and facts, so they give away what is hidden.
        """
        if document.get("invariant_checks") and not self.sees_all(contract, viewer):
            checks = [
                {name: member for name, member in check.items() if name not in ("value", "limit")}
                for check in document["invariant_checks"]
            ]
            return {**document, "invariant_checks": checks}
        return document

    def sees_all(self, contract: Contract, viewer: Principal) -> bool:
        """Whether a reader may see every argument, fact and reading of a contract. Readings are internal."""
        hidden = self._hidden_from(contract, viewer)
        if not hidden:
            return True
        fields = (*contract.arguments, *(field for source in contract.facts for field in source.fields))
        labels = {field.label for field in fields} | ({Label.INTERNAL} if contract.limits else set())
        return not labels & hidden

    def packet(self, contract: Contract, packet: Mapping[str, Any], *, tenant: str) -> Mapping[str, Any]:
        """An action packet for the audit log: arguments, resource and facts of its question by label."""
        if self._is_clean(contract):
            return packet
        question = packet["question"]
        context = dict(question["context"])
        context["arguments"] = self.record(contract.arguments, context["arguments"], tenant=tenant)
        facts = {source.name: source.fields for source in contract.facts}
        context["facts"] = {
            name: {**group, **self.record(facts[name], group, tenant=tenant)} if name in facts else group
            for name, group in context["facts"].items()
        }
        resource = question["resource"]
        if any(
            each.name == contract.resource_argument and each.label in HIDDEN_IN_RECORDS for each in contract.arguments
        ):
            resource = {**resource, "id": self.token(resource["id"], tenant)}
        return {**packet, "question": {**question, "resource": resource, "context": context}}

    def text(self, text: str, *, tenant: str) -> str:
        """
        Free text with everything that is found in it replaced by its kind and token.

        Raises `Unavailable` when nobody can say what it holds: then it is neither shown nor recorded.
        """
        pieces, at = [], 0
        for found in self._found(text):
            # Escaped: what was hidden in a text may hold characters that no value of the gateway has.
            said = found.said.encode("unicode_escape").decode("ascii")
            pieces += [text[at : found.start], f"[{found.kind} {self.token(said, tenant)}]"]
            at = found.end
        return "".join([*pieces, text[at:]])

    def _found(self, text: str) -> list[Finding]:
        if len(text) > TEXT_MAX:  # No declared text is longer; finding takes time that grows with it.
            raise Unavailable("redaction_failed", "a text is too long to be redacted")
        try:
            found = findings.find(text)
            return found if self._names is None else findings.apart(sorted([*found, *self._names.find(text)]))
        except Exception as error:  # Whatever went wrong did so over a value that nobody may see.
            raise Unavailable("redaction_failed", "a text could not be redacted") from error

    def token(self, value: Any, tenant: str) -> str:
        """The keyed token of a value: 64 bits, per tenant."""
        key = hmac.digest(self._key, tenant.encode(), "sha256")
        return "tok_" + hmac.new(key, encode(value), hashlib.sha256).hexdigest()[:16]

    def _apply(
        self, fields: Sequence[Field], values: Mapping[str, Any], hidden: frozenset[Label], tenant: str
    ) -> Mapping[str, Any]:
        plan = self._plan(fields, hidden)
        if plan.is_clean and plan.names >= values.keys():
            return values
        return {
            name: self._value(plan, name, value, hidden, tenant) for name, value in values.items() if name in plan.names
        }

    def _value(self, plan: _Plan, name: str, value: Any, hidden: frozenset[Label], tenant: str) -> Any:
        if name in plan.hidden:
            is_token = name in plan.resolving and _TOKEN.fullmatch(value)
            return value if is_token else self.token(value, tenant)
        if name in plan.texts:
            return self.text(value, tenant=tenant) if isinstance(value, str) else value
        if name not in plan.nested:
            return value
        inner = plan.nested[name]
        if isinstance(value, Mapping):
            return self._apply(inner, value, hidden, tenant)
        return [self._apply(inner, item, hidden, tenant) for item in value]

    def _hidden_from(self, contract: Contract, viewer: Principal) -> frozenset[Label]:
        key = (contract.digest, viewer.kind, viewer.roles)
        known = self._hidden.get(key)
        if known is None:
            visible = {Label.PUBLIC} | {
                Label(label) for label, readers in contract.visible_to.items() if _may_see(viewer, readers)
            }
            known = self._hidden[key] = frozenset(set(Label) - visible)
        return known

    def _is_clean(self, contract: Contract) -> bool:
        """Whether records of calls hide and scan nothing. What is not declared, no question has: it was checked."""
        known = self._clean.get(contract.digest)
        if known is None:
            fields = (contract.arguments, *(source.fields for source in contract.facts))
            known = all(self._plan(each, HIDDEN_IN_RECORDS).is_clean for each in fields)
            self._clean[contract.digest] = known
        return known

    def _plan(self, fields: Sequence[Field], hidden: frozenset[Label]) -> _Plan:
        # Keyed by identity: the cached tuple is kept beside the plan, so the id cannot be taken by another.
        key = (id(fields), hidden)
        known = self._plans.get(key)
        if known is None:
            known = self._plans[key] = (fields, _planned(fields, hidden))
        return known[1]


def _planned(fields: Sequence[Field], hidden: frozenset[Label]) -> _Plan:
    shown = [field for field in fields if field.label not in hidden]
    return _Plan(
        hidden=frozenset(field.name for field in fields if field.label in hidden),
        # Whoever may see personal data sees them whole; patterns are for text that should hold none.
        texts=frozenset(
            field.name for field in shown if field.kind is Kind.TEXT and field.label not in HIDDEN_IN_RECORDS
        ),
        nested={field.name: field.fields for field in shown if field.kind in (Kind.RECORD, Kind.LIST)},
        names=frozenset(field.name for field in fields),
        resolving=frozenset(field.name for field in fields if field.resolves),
    )


def _may_see(viewer: Principal, readers: Sequence[str]) -> bool:
    if viewer.kind is PrincipalKind.AGENT:
        return "agents" in readers
    return bool(set(viewer.roles) & set(readers))
