"""A business to govern: a process of its own, with a database of its own, that knows nothing of the gateway.

It does what an ordinary internal back office does (refunds, bans, prices, budgets, payouts) for the tenants named in
`seed`, over HTTP on the loopback interface. Three promises make it the oracle of the gateway's fault tests:

* one transaction per operation changes the rows *and* records the effect under its unique effect id;
* a repeated effect id gets the first answer, and has no second effect;
* each applied effect has exactly one line in the journal, flushed to disk before the operation is answered.
"""
