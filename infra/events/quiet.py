"""A log that nobody can fill from outside: the first warning of a kind at once, the others as a count a minute."""

import logging
import threading
from collections import Counter

PERIOD_S = 60.0
LOGGERS = ("slipway.events", "uvicorn.error")


class FirstThenCount(logging.Filter):
    """Lets the first warning of a kind through until `tell` was called; a kind is a logger's text before its values."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: Counter[tuple[str, int, str]] = Counter()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be written; what is held back is counted."""
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        kind = (record.name, record.levelno, str(record.msg))
        with self._lock:
            self._seen[kind] += 1
            return self._seen[kind] == 1

    def tell(self) -> None:
        """Log each kind's count of those held back, and begin anew."""
        with self._lock:
            seen, self._seen = self._seen, Counter()
        for (name, level, text), count in seen.items():
            if count > 1:
                logging.getLogger(name).handle(_make_record(name, level, f"{count - 1} more since then of: {text}"))


def _make_record(name: str, level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 0, text, None, None)


HELD_BACK = FirstThenCount()


def quiet() -> None:
    """Apply it to what strangers can cause: our own log of deliveries and the server's of broken requests."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(HELD_BACK)
