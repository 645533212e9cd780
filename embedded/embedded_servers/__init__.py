"""Real servers without an installation: `postgres.open_postgres` and `valkey.open_valkey`.

Both live and die with the process that opened them. What can go wrong is listed in `errors`.
"""
