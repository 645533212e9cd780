"""Real servers without an installation.

`postgres.open_postgres`; and for tests `valkey.open_valkey` and `seaweedfs.open_seaweedfs`.

All live and die with the process that opened them. What can go wrong is listed in `errors`.
"""
