"""`python -m tool_registry`: check the catalogue and print the reference table for `docs/tools.md`."""

from __future__ import annotations

import sys

from tool_registry import reference
from tool_registry.documents import DeclarationError
from tool_registry.registry import load_catalogue

if __name__ == "__main__":
    try:
        print(reference.table(load_catalogue()), end="")
    except DeclarationError as error:
        sys.exit(str(error))
