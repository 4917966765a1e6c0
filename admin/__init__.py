"""The command line for people: a client of the gateway over HTTP; offline commands work in process."""
