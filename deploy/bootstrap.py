"""Makes `.venv` from a hash-pinned lock: `python3 deploy/bootstrap.py run|dev`.

1. find     a Python that we support (this one, or the first good one on PATH)
2. create   `.venv` with it
3. install  the lock, by uv when it is on PATH and can, by pip otherwise; hashes are required either way
4. stamp    a file named by the lock's checksum, so that the next run does nothing

Standard library only, and readable by any Python 3: whoever has too old a one gets a sentence, not a syntax error.
Progress goes to stderr. Nothing outside `.venv` is written.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
OLDEST = (3, 11)
NAMES = ("python3.11", "python3.12", "python3.13", "python3.14", "python3")  # The best tested first.
CONTAINS = {"run": ("run",), "dev": ("dev", "run")}  # dev.txt holds every pin of run.txt (a test compares them).

COMMAND = """#!/bin/sh
# Written by deploy/bootstrap.py. -P: a folder `admin` where the user stands must not be mistaken for ours.
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P) || exit 1
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$root/.venv/bin/python" -P -m admin "$@"
"""


def main():
    """Bring `.venv` up to the named lock; exit 1 with one sentence when that cannot be."""
    lock = sys.argv[1] if len(sys.argv) > 1 else "run"
    if lock not in CONTAINS:
        stop("unknown lock `{}`: say run or dev".format(lock))
    if os.path.exists(PYTHON) and os.path.exists(stamp(lock)):
        return
    began = time.monotonic()
    if not venv_works():
        create(find())
    install(lock)
    write_command()
    for name in CONTAINS[lock]:
        with open(stamp(name), "w"):
            pass
    say("ready after {:.0f} s".format(time.monotonic() - began))


def find():
    """The path of a Python 3.11 or later: `SETUP_PYTHON`, this one, or one on PATH."""
    named = os.environ.get("SETUP_PYTHON")
    if named:
        return named if is_supported(named) else stop("SETUP_PYTHON: `{}` is no Python 3.11 or later".format(named))
    if sys.version_info[:2] >= OLDEST:
        return sys.executable
    for name in NAMES:
        path = shutil.which(name)
        if path and is_supported(path):
            return path
    return stop(
        "Python 3.11 or later is needed; `python3` here is {}.{}. "
        "Install one, or set SETUP_PYTHON to its path, and run make again".format(*sys.version_info[:2])
    )


def is_supported(path):
    """Ask the interpreter itself: a version manager's stub may exist and yet run nothing."""
    question = "import sys; sys.exit(sys.version_info[:2] < {!r})".format(OLDEST)
    try:
        return subprocess.call([path, "-c", question], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def venv_works():
    """Whether the environment that is there can be kept: its interpreter may have gone or be too old."""
    return os.path.exists(PYTHON) and is_supported(PYTHON)


def create(python):
    """Make a fresh environment with `python`."""
    say("creating .venv with {}".format(python))
    for module in ("venv", "ensurepip"):
        if subprocess.call([python, "-c", "import " + module], stderr=subprocess.DEVNULL) != 0:
            stop(
                "{} lacks the module `{}`. On Debian and Ubuntu: apt install python3-venv; "
                "elsewhere set SETUP_PYTHON to a complete Python".format(python, module)
            )
    done = subprocess.run([python, "-m", "venv", "--clear", VENV], check=False, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        stop("`{} -m venv .venv` failed; the lines above say why".format(python))


def install(lock):
    """Install the lock; the fast installer may lack the user's index settings, so pip has the last word."""
    path = os.path.join(ROOT, "requirements", lock + ".txt")
    with open(path) as text:
        pins = sum("==" in line for line in text)
    say("installing {} pinned packages from requirements/{}.txt".format(pins, lock))
    uv = shutil.which("uv")
    if uv:
        options = ["--quiet", "--only-binary", ":all:", "--require-hashes", "--python", PYTHON, "-r", path]
        done = subprocess.run([uv, "pip", "install"] + options, check=False, stdout=sys.stderr)
        if done.returncode == 0:
            return
        say("uv could not install the lock, trying pip")
    options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes", "-r", path]
    done = subprocess.run([PYTHON, "-m", "pip", "install"] + options, check=False, stdout=sys.stderr)
    if done.returncode != 0:
        stop(
            "installing requirements/{}.txt failed; the lines above say why. No connection? Set PIP_INDEX_URL to an "
            "index that you can reach. No matching wheel? Set SETUP_PYTHON to a Python 3.11 to 3.13".format(lock)
        )


def write_command():
    """Put the command `lockgate` beside the interpreter."""
    path = os.path.join(VENV, "bin", "lockgate")
    with open(path, "w") as file:
        file.write(COMMAND)
    os.chmod(path, 0o755)


def stamp(lock):
    """The file that says: exactly this lock is installed, by exactly this script."""
    checksum = hashlib.sha256()
    for part in (os.path.join(ROOT, "requirements", lock + ".txt"), os.path.abspath(__file__)):
        with open(part, "rb") as file:
            checksum.update(file.read())
    return os.path.join(VENV, "installed-{}-{}".format(lock, checksum.hexdigest()[:16]))


def say(sentence):
    """Progress for people."""
    sys.stderr.write("set-up: {}\n".format(sentence))
    sys.stderr.flush()


def stop(sentence):
    """End with one sentence that says what to do."""
    say(sentence)
    sys.exit(1)


if __name__ == "__main__":
    main()
