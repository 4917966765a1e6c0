"""`make demo`: the whole story on a database of its own, told in a terminal; exit 0 when everything agreed.

1. begin    a fresh data home, the business, the gateway, each agent's autonomy
2. ask      reads, writes, refusals, approvals, a kill switch, a crash
3. audit    a wrong bundle, the whole log offline, a flipped byte
4. reckon   calls, entries and effects, by three parties who do not ask each other

Nothing shown is fixed in advance: every line comes from an answer, and a wrong answer ends the story with exit 1.
What an auditor would take away stays in `build/demo`, or in the folder that is named as the only argument.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import httpx2

from deploy.demo import evidence, reckoning, scenes
from deploy.demo.backoffice.launch import StartFailed
from deploy.demo.dev import seed
from deploy.demo.homes import Busy, fresh
from deploy.demo.stage import Stage, Unexpected, short
from deploy.demo.telling import Telling
from deploy.demo.world import ROOT, GatewayFailed, World
from gateway.storage.cluster import ClusterFailed
from gateway.storage.places import UnfitPlace, home_for

SCENES = (
    scenes.read,
    scenes.undo,
    scenes.refusal,
    scenes.invariant,
    scenes.approval,
    scenes.changed_amount,
    scenes.kill_switch,
    scenes.crash,
    evidence.wrong_bundle,
    evidence.verified_log,
    evidence.flipped_byte,
    reckoning.reckon,
)


def main() -> int:
    """Tell the story."""
    signal.signal(signal.SIGTERM, _interrupted)
    telling, began = Telling(), time.monotonic()
    folder = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else ROOT / "build" / "demo"
    home = home_for(ROOT, "demo")
    try:
        with fresh(home):
            # Files are overwritten by name: a folder that somebody named is not ours to empty.
            folder.mkdir(parents=True, exist_ok=True)
            _tell(home, folder, telling)
    except (Unexpected, LookupError, httpx2.TransportError) as error:
        said = str(error) if isinstance(error, Unexpected) else f"{type(error).__name__}: {error}"
        return _failed(telling, f"The story went wrong: {said}\nThe gateway's log is {home / 'dev' / 'gateway.log'}")
    except (Busy, ClusterFailed, UnfitPlace, GatewayFailed, StartFailed) as error:
        return _failed(telling, f"cannot start: {error}")
    except KeyboardInterrupt:
        return _failed(telling, "interrupted")
    seconds = time.monotonic() - began
    telling.end(f"Everything agrees. {seconds:.0f} s; receipt, keys and exports are in {short(folder)}", is_good=True)
    return 0


def _tell(home: Path, folder: Path, telling: Telling) -> None:
    telling.say("starting a database, the business and the gateway, which proves its first policy bundle …")
    began = time.monotonic()
    with World.start(home) as world:
        stage = Stage(world=world, telling=telling, folder=folder)
        stage.open()
        seed(world.cast, stage.gateway.url)
        stage.write("keys.json", stage.client.text("/v1/keys"))
        telling.say(f"ready after {time.monotonic() - began:.1f} s; everybody below is made up")
        for scene in SCENES:
            scene(stage)


def _failed(telling: Telling, sentence: str) -> int:
    telling.end(sentence, is_good=False)
    return 1


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
