"""Commands that sign a yes or a no to parked calls, one statement per call. Approving never executes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from admin import display, identities, signing
from admin.connection import Answered, ask
from admin.errors import CommandError, Exit
from admin.identities import Session
from admin.options import Asked, KeyFile, remote
from proofs.approvals import Verdict

app = typer.Typer(no_args_is_help=True)

Calls = Annotated[list[str], typer.Argument(metavar="CALL …", help="call_…", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before signing.")]


@app.command()
@remote
def approve(asked: Asked, calls: Calls, reason: str = "", key_file: KeyFile = None, yes: Yes = False) -> Exit:
    """Sign a yes to exactly these parked calls, each by itself. The requester presents them; nothing runs yet."""
    signed = [_signed(asked, call, Verdict.APPROVE, reason, key_file, is_sure=yes) for call in calls]
    if len(signed) > 1:
        return _hand_in_together(signed, as_json=asked.as_json)
    (one,) = signed
    answer = display.require(ask(one.session, "POST", f"/v1/calls/{one.call}/approvals", body=one.body))
    if asked.as_json:
        display.document(answer)
    else:
        display.pairs([("approval", answer.get("approval")), ("call", one.call)])
    display.progress(
        f"next: the requester sends the same call and --key again with --approval {answer.get('approval')}"
    )
    return Exit.DONE


@app.command()
@remote
def reject(asked: Asked, calls: Calls, reason: str = "", key_file: KeyFile = None, yes: Yes = False) -> Exit:
    """Sign a no to these parked calls, each by itself; `--reason` is kept as feedback for the requester."""
    signed = [_signed(asked, call, Verdict.REJECT, reason, key_file, is_sure=yes) for call in calls]
    if len(signed) > 1:
        return _hand_in_together(signed, as_json=asked.as_json)
    (one,) = signed
    answer = display.require(ask(one.session, "POST", f"/v1/calls/{one.call}/rejections", body=one.body))
    if asked.as_json:
        display.document(answer)
    else:
        display.pairs([("rejected", one.call), ("approval", answer.get("approval"))])
    return Exit.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """One verdict, ready to be handed in by the person who signed it."""

    call: str
    session: Session
    body: Mapping[str, Any]


def _hand_in_together(signed: Sequence[_Signed], *, as_json: bool) -> Exit:
    """One request for each person who signed: in development `role:…` may be several."""
    answers: dict[str, Mapping[str, Any]] = {}
    for session in dict.fromkeys(each.session for each in signed):
        own = [each for each in signed if each.session == session]
        body = {"verdicts": [{"call": each.call, **each.body} for each in own]}
        found = display.require(ask(session, "POST", "/v1/verdicts", body=body))
        answers |= {each.call: answer for each, answer in zip(own, found["answers"], strict=True)}
    if as_json:
        display.document({"answers": [answers[each.call] for each in signed]})
    else:
        bodies = [(each.call, answers[each.call]["body"]) for each in signed]
        rows = [(call, body.get("reason") or body.get("status"), body.get("approval")) for call, body in bodies]
        display.table(("call", "status", "approval"), rows)
    return Exit.DONE if all(answer["status"] == 201 for answer in answers.values()) else Exit.NO


def _signed(asked: Asked, call: str, verdict: Verdict, reason: str, key_file: Path | None, *, is_sure: bool) -> _Signed:
    session = asked.session()
    if session.identity is not None and session.identity.kind == "agent":
        raise CommandError("agents approve nothing", "say --as person:<id> or role:<role>")
    key = signing.key_of(session, key_file)
    parked = ask(session, "GET", f"/v1/calls/{call}")
    found = display.require(parked)
    if key_file is None:
        taken = {f"person/{each.get('person')}" for each in found.get("approvals") or ()}
        session = identities.standing_in(asked.options, session, taken | {str(found.get("principal"))})
        key = signing.key_of(session, key_file)
    given = found.get("statement")
    if found.get("present_again"):
        raise CommandError(
            f"the tool of call `{call}` changed since it was presented",
            "its requester presents it again under the same --key; then there is a statement to sign",
            code=Exit.NO,
        )
    if not isinstance(given, Mapping):
        raise CommandError(
            f"call `{call}` is not parked but {found.get('status', 'unknown')}",
            f"`lockgate explain {call}` shows what became of it",
            code=Exit.NO,
        )
    if session.identity is not None:
        display.progress(f"signing as {session.identity.name}")
    _confirm(parked, verdict=verdict, is_sure=is_sure or asked.as_json)
    approver = f"person/{session.identity.id}" if session.identity and session.identity.id else ""
    statement = signing.complete(given, approver=approver, key=key, verdict=verdict, reason=reason)
    return _Signed(call=call, session=session, body=signing.sign(statement, key=key, session=session))


def _confirm(parked: Answered, *, verdict: Verdict, is_sure: bool) -> None:
    if is_sure:
        return
    display.call(parked, as_json=False)
    if not typer.confirm(f"Sign: {verdict.value} exactly this call?", err=True):
        raise CommandError("nothing was signed", "run the command again when you are sure, or with --yes", code=Exit.NO)
