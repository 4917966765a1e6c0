-- What the sweeper looks for once a round: answers whose time has passed. A row leaves the index with its answer.
create index calls_kept on lockgate.calls (keep_until)
    where answer is not null and state in ('executed', 'failed', 'rejected', 'cancelled', 'expired');
