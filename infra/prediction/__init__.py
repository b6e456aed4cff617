"""Asks a served model, over HTTP or gRPC, and shows what it answers; needs numpy, pillow and tritonclient alone."""
