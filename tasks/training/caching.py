"""How a step's result is found again when its flow run is retried."""

from prefect.cache_policies import INPUTS, RUN_ID, TASK_SOURCE

# The addresses and passwords of the registry and the checkpoints say nothing about what a step computed.
PER_RUN = (INPUTS + RUN_ID + TASK_SOURCE) - "registry" - "checkpoints"
