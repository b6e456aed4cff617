"""How long tests wait for what Prefect's server writes: on SQLite a write waits up to a minute for others to end."""

PATIENCE_S = 150.0
