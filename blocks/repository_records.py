"""What a model repository keeps of each model beside its files: its numbers, records, journal, lock and settings."""

from typing import NoReturn

from blocks.bucket_objects import StoredObject
from blocks.errors import ReleaseTakenOver, VersionConflict
from blocks.labels import CLAIM_FILE
from blocks.repository_layout import RepositoryLayout


class RepositoryRecords(RepositoryLayout):
    """The entries of a model repository; those that decide are written over the ETag that was read."""

    def list_recorded(self, model_name: str) -> tuple[int, ...]:
        """Return every version number slipway ever took for a model; none where the model is not slipway's."""
        return self._list_numbers(f"{self.records_prefix}/{model_name}/")

    def forget(self, model_name: str) -> None:
        """Delete what is recorded of a model's versions: it is nobody's that slipway knows then."""
        for version in self.list_recorded(model_name):
            self.store.delete_below(f"{self.records_prefix}/{model_name}/{version}/")

    def claim(self, model_name: str, version: int, claimant: str) -> None:
        """Take a version number; taking it again is no error. `VersionConflict` where another release has it.

        Two claimants cannot both succeed, whatever else failed to keep them apart, and a number is never free again.
        """
        key = self.record_key(model_name, version, CLAIM_FILE)
        if self.store.create(key, claimant.encode()):
            return
        holder = self.store.read(key)
        if holder != claimant.encode():
            raise VersionConflict(
                f"model '{model_name}' version {version} in {self.store.address}: the number was taken by flow run "
                f"{holder.decode(errors='replace') if holder else 'unknown'}; release again, which takes the next "
                "number"
            )

    def is_claimed_by(self, model_name: str, version: int, claimant: str) -> bool:
        """Tell whether a version number was taken by this claimant."""
        return self.store.read(self.record_key(model_name, version, CLAIM_FILE)) == claimant.encode()

    def read_record(self, model_name: str, version: int, name: str) -> bytes | None:
        """Return one file of a version's record, None where there is none."""
        return self.store.read(self.record_key(model_name, version, name))

    def write_record(self, model_name: str, version: int, name: str, content: bytes) -> None:
        """Write one file of a version's record."""
        self.store.write(self.record_key(model_name, version, name), content)

    def read_model_record(self, model_name: str, name: str) -> bytes | None:
        """Return one file that is recorded of a model as a whole, None where there is none."""
        return self.store.read(f"{self.records_prefix}/{model_name}/{name}")

    def write_model_record(self, model_name: str, name: str, content: bytes) -> None:
        """Write one file that is recorded of a model as a whole."""
        self.store.write(f"{self.records_prefix}/{model_name}/{name}", content)

    def read_journal(self, model_name: str) -> StoredObject | None:
        """Return the journal of a model's last release, None where there was none."""
        return self.store.look_at(self._journal_key(model_name))

    def write_journal(self, model_name: str, entry: str, after: str | None) -> None:
        """Write a journal in the place of the one with this ETag (None: of none).

        Raises `ReleaseTakenOver` where another is there by now: nothing is changed then.
        """
        if self.store.replace(self._journal_key(model_name), entry.encode(), after) is None:
            self._refuse(model_name, "the journal")

    def read_lock(self, model_name: str) -> StoredObject | None:
        """Return the lock of a model, None where nobody ever took it."""
        return self.store.look_at(self._lock_key(model_name))

    def write_lock(self, model_name: str, entry: str, after: str | None) -> str | None:
        """Write a lock in the place of the one with this ETag (None: of none); None where another is there by now."""
        return self.store.replace(self._lock_key(model_name), entry.encode(), after)

    def read_settings(self, model_name: str) -> StoredObject | None:
        """Return the serving settings of a model, None where nobody ever set any."""
        return self.store.look_at(self._settings_key(model_name))

    def write_settings(self, model_name: str, entry: str, after: str | None) -> bool:
        """Write settings in the place of those with this ETag (None: of none); tell whether they were still there."""
        return self.store.replace(self._settings_key(model_name), entry.encode(), after) is not None

    def _refuse(self, model_name: str, what: str) -> NoReturn:
        raise ReleaseTakenOver(
            f"model '{model_name}' in {self.store.address}: {what} was changed by somebody else since this run read "
            "it; nothing was overwritten: see `make status`, then release again"
        )
