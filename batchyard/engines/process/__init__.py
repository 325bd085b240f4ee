"""The process engine: attempts as plain process groups on this host, under a supervisor that outlives the server.

`engine.py` is the server's side. `supervisor.py` is a program of its own: small, single-threaded, the only one that
spawns. They speak the messages of `messages.py` over a unix socket in the data folder.
"""
