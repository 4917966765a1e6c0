"""Counters of the ledger: one declaration of what moves them, and what is proved of it."""
