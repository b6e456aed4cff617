"""The pointer that commits where Git is the record: a version's line in a file of a branch, see decision 14.

Git's own condition, that a branch moves only from the head that was read, is the lock and the fence of it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pydantic import Field

from blocks.errors import InvalidInput, VersionConflict
from blocks.git_repository import GitFile, GitRepository, OpenRepository
from slipway.releases.version_line import VersionLine, read_line

ATTEMPTS = 10  # of a branch that others push to: each finds it elsewhere only if one of them was faster
_MODEL, _VERSION, _BEFORE, _OWNER = "Slipway-Model", "Slipway-Version", "Slipway-Before", "Slipway-Run"


class GitRecord(GitRepository):
    """Where Git says which version of a model is served: a file on the branch that what serves it follows."""

    path: str = Field(description="The values file, or a config.pbtxt, from the repository's root.")

    @contextmanager
    def open_pointer(self, model_name: str) -> Iterator["GitPointer"]:
        """Yield what reads and commits the version of one model."""
        with self.opened() as opened:
            yield GitPointer(opened, self.path, model_name)


class GitBump(NamedTuple):
    """A version that was committed, and what it takes to go back."""

    version: int
    before: int
    commit: str
    owner: str = ""
    """The run that committed it, "" where that was a command."""


class GitPointer(NamedTuple):
    """The version of one model, as one file of a branch says it."""

    repository: OpenRepository
    path: str
    model_name: str

    @property
    def subject(self) -> str:
        """Model, file and branch, for messages."""
        return f"model '{self.model_name}' in {self.path}, {self.repository.repository.subject}"

    def read(self) -> VersionLine:
        """Return what is committed now; `InvalidInput` where the file does not say it clearly."""
        return self._read()[1]

    def write(self, version: int, *, before: int, message: str = "", owner: str = "") -> GitBump:
        """Commit a version in the place of another, on top of whatever else was pushed meanwhile.

        Raises `VersionConflict` where the line says neither by now, or the branch never stands still, `AccessRefused`
        where the push is refused, `ServiceUnavailable` where the server does not answer.
        """
        for _ in range(ATTEMPTS):
            file, line = self._read()
            if line.version != before:
                raise VersionConflict(
                    f"{self.subject}: says version {line.version}, expected {before} as it was read; somebody else "
                    "committed meanwhile, and nobody's change is overwritten: look at it, and run this again"
                )
            content = line.replace(version).encode()
            said = message or f"Serve {self.model_name} version {version}\n"
            trailers = f"\n{_MODEL}: {self.model_name}\n{_VERSION}: {version}\n{_BEFORE}: {before}\n"
            trailers += f"{_OWNER}: {owner}\n" if owner else ""
            if commit := self.repository.write(self.path, content, after=file, message=said + trailers):
                return GitBump(version, before, commit, owner)
        raise VersionConflict(
            f"{self.subject}: the branch was elsewhere at each of {ATTEMPTS} pushes; nothing was changed: run it again"
        )

    def revert(self, bump: GitBump, reason: str) -> GitBump | None:
        """Take a commit back by one that follows it, None where another version was committed since: that stands."""
        if self.read().version != bump.version:
            return None
        message = (
            f"Revert to {self.model_name} version {bump.before}\n\nThis takes back commit {bump.commit}: {reason}\n"
        )
        try:
            return self.write(bump.before, before=bump.version, message=message)
        except VersionConflict:
            if self.read().version != bump.version:
                return None
            raise

    def find_bump(self, version: int) -> GitBump | None:
        """Return the commit that brought a version which is committed already, None where slipway did not make it.

        A run that was killed after its push left one; whoever runs next proves it, or takes it back.
        """
        last = self.repository.find_last(self.path)
        said = dict(re.findall(r"^(Slipway-[A-Za-z]+): (.+)$", last.message, re.MULTILINE))
        before = said.get(_BEFORE, "")
        if (said.get(_MODEL), said.get(_VERSION)) != (self.model_name, str(version)) or not before.isdecimal():
            return None
        return GitBump(version, int(before), last.commit, said.get(_OWNER, ""))

    def _read(self) -> tuple[GitFile, VersionLine]:
        file = self.repository.read(self.path)
        return file, read_line(file.content, self.path, self.model_name)


def choose_version(line: VersionLine, wanted: int, source: str | None, subject: str) -> int:
    """Return the version to commit; `InvalidInput` where it is older than what is committed and was not named itself.

    Args:
        line: what is committed.
        wanted: what the registry answered.
        source: what it was asked, None for the newest version.
        subject: model, file and branch, for messages.
    """
    if wanted < line.version and not (source or "").startswith("version:"):
        asked = f"'{source}' names" if source else "the newest in the registry is"
        raise InvalidInput(
            f"{subject}: says version {line.version}, {asked} {wanted}, expected none that is older; say "
            f"--source=version:{wanted} where that is meant"
        )
    return wanted
