"""The durable path's files: the data directory's layout, the journal, the spool, retention and scrub.

Called by receive, adopt, rebuild and the daemon; knows no network, no status codes and no SQL.
"""
