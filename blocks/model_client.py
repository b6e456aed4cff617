"""MLflow's client for a registry of models, without what it asks for twice."""

from threading import Lock

from cachetools import TTLCache
from mlflow.entities.model_registry import RegisteredModel
from mlflow.tracking import MlflowClient

_MOST, _KNOWN_S = 1000, 60
_known: TTLCache[tuple[str, str], RegisteredModel] = TTLCache(_MOST, ttl=_KNOWN_S)
_lock = Lock()


class ModelClient(MlflowClient):
    """A client that finds out once a minute whether a name is a model's or a prompt's, not before each call.

    MLflow's own reads the registered model for that, two requests in five of a release. Names do not change sides; what
    was deleted meanwhile is refused by the server with the call itself.
    """

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Return a model as it was at most a minute ago, which is what MLflow's own calls ask; see `read_model`."""
        with _lock:
            known = _known.get((self.tracking_uri, name))
        return known or self.read_model(name)

    def read_model(self, name: str) -> RegisteredModel:
        """Return a model as it is now."""
        found = super().get_registered_model(name)
        with _lock:
            _known[self.tracking_uri, name] = found
        return found
