"""The training loop, its data path, and what tracks and ranks runs."""

from pathlib import Path

from tidemill.errors import TrainingError
from tidemill.settings.training import CHECKPOINT


def checkpoint(place: str | Path, setting: str) -> Path:
    """The checkpoint in a run's folder, or the checkpoint file itself; `setting` named it.

    Raises:
        TrainingError: there is none.
    """
    place = Path(place)
    path = place / CHECKPOINT if place.is_dir() else place
    if not path.is_file():
        raise TrainingError(
            f"{setting} must name a run's folder or its checkpoint",
            observed=f"{path}, which is not a file",
            remedy=f"give the folder that holds {CHECKPOINT}; a run has one after its first epoch",
        )
    return path
