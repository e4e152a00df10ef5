"""Remarks on recordings whose meaning is certain though they are not as they should be."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

SHOWN = 3  # of remarks of a kind


@dataclass(eq=False)
class Remarks:
    """Logs remarks as warnings, each once and of a kind no more than a few: thousands of episodes have the same."""

    _said: set[tuple[str, str]] = field(default_factory=set)
    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, kind: str) -> None:
        """Logs what is remarkable.

        Args:
            name: Of the recording.
            kind: What is said of it, in the words that others of its kind get too.
        """
        if (name, kind) in self._said:
            return
        self._said.add((name, kind))
        self._counts[kind] += 1
        if self._counts[kind] <= SHOWN:
            logger.warning("%s: %s", name, kind)
        elif self._counts[kind] == SHOWN + 1:
            logger.warning("%s: %s; so it is with others, which are not named", name, kind)
