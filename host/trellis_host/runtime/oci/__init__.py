"""Components from registries: a client of the OCI distribution API, as far as a host needs it.

`reference`, `challenge` and `manifest` decide and are pure; `client` asks a registry; `cache` keeps what it gave.
"""
