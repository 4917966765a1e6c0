"""Where things are proved: invariants compiled for every call, and proved over all permitted questions."""
