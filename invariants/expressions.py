"""A contract's expressions (`risk`, `amount`, `ceiling`) as functions of the context of one action.

Compiled when a tool is registered: what could be of another type than the contract needs, or reads what the tool's
questions do not have, is refused there and not on a call. What they mean is `meaning.evaluation`'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from invariants.errors import Unsupported
from invariants.meaning import compiler, evaluation, schemas
from invariants.meaning.entities import Request
from invariants.meaning.evaluation import Scene
from invariants.meaning.schemas import RequestType, Uid
from invariants.meaning.universe import Universe
from invariants.meaning.values import Long
from policies import cedar_syntax, footprint
from policies.cedar_syntax import nodes as pst
from policies.schema import TypedSchema


def compile_long(text: str, action: str, schema: TypedSchema) -> Callable[[Mapping[str, Any]], int]:
    """
    Compile an expression that is a Long wherever it does not err.

    Raises `Unsupported` for forms without a meaning here, for members that the action's context does not have and for
    another type than Long, and `SyntaxRefused` when the text is not one expression. The result raises
    `EvaluationError` where Cedar would err.
    """
    where = f"expression of `{action}`"
    expression = cedar_syntax.parse_expression(text)
    for node in cedar_syntax.subexpressions(expression):
        if isinstance(node, pst.EntityLit) or (isinstance(node, pst.Var) and node.name != "context"):
            raise Unsupported("outside_context", where)
    if not all(path and path[0] != "approvals" for path in footprint.reached(expression)):
        # Approvals come last into a question: what a contract says is evaluated before.
        raise Unsupported("outside_context", where)
    outcome = compiler.expression(expression, _universe(schema, action), where)
    if not outcome.cases or not all(isinstance(case.value, Long) for case in outcome.cases):
        # Always an error, or a value of another type: the author meant something else.
        raise Unsupported("other_type", where)
    run, nobody = evaluation.compile(expression, where), Uid("", "")

    def evaluate(context: Mapping[str, Any]) -> Any:
        return run(Scene(Request(principal=nobody, action=nobody, resource=nobody, context=context), {}))

    return evaluate


def _universe(schema: TypedSchema, action: str) -> Universe:
    """Every request for one action. Whose is all one: an expression over the context does not ask."""
    known = schema.actions[action]
    alone = schemas.of_tools(replace(schema, actions={action: known}))
    return Universe(alone, RequestType(principal="Agent", action=Uid("Action", action), resource=known.resource_type))
