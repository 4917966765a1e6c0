-- Who handed in a bundle or a tool is read from the log when somebody is to approve it.
create index entries_of_upload on lockgate.entries (tenant) where kind in ('BUNDLE', 'TOOL');
