"""The Docker engine: attempts as containers, through the Docker Engine API (also that of Podman's socket).

`build` and `parse` are pure: what to ask of the daemon, and what its answers mean. `client` is all the input and output
there is with it. `run` is one container's life, `attempt` one attempt's, `engine` the contract of `engines/base.py`.
"""
