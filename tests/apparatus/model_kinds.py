"""The table of model kinds: what is released, asked by 16 clients at once and rolled back, and what is refused.

Whole Triton directories, ensembles and Python backends among them, have a table of their own.
"""

from tests.apparatus.kinds.agreements import AGREEMENTS
from tests.apparatus.kinds.batched import BATCHED
from tests.apparatus.kinds.kind import named
from tests.apparatus.kinds.precisions import PRECISIONS
from tests.apparatus.kinds.refused import REFUSED
from tests.apparatus.kinds.unbatched import UNBATCHED
from tests.apparatus.kinds.values import VALUES

SERVED_KINDS = named((*BATCHED, *UNBATCHED, *VALUES, *PRECISIONS, *AGREEMENTS))
REFUSED_KINDS = named(REFUSED)
