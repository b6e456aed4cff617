"""Register the blocks every flow loads, from the environment: `python -m blocks.register`, as often as you like."""

from blocks.wiring import Addresses, register_blocks

if __name__ == "__main__":
    register_blocks(Addresses())
