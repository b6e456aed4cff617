"""Kinds of models, each a file of one idea; `tests/apparatus/model_kinds.py` lists them all."""
