"""Evidence that anyone can check: canonical bytes, signatures, chain, tree, receipts and the verifier. Needs only cryptography."""
