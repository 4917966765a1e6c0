"""Evidence that anyone checks: canonical bytes, signatures, chain, tree, receipts, verifier; needs only cryptography."""
