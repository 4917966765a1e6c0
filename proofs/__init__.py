"""Evidence that anyone can check: bytes, signatures, chain, tree, receipts, verifier. Needs only cryptography."""
