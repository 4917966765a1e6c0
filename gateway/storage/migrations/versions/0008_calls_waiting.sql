-- How many calls of a principal wait is counted before one more does, behind the lock of the tenant's head.
create index calls_waiting on lockgate.calls (tenant, principal) where state = 'parked';
