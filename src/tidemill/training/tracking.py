"""Experiment tracking: the one seam to Weights & Biases.

A tracker must never cost a training run: once `open` has returned, whatever fails inside it (disk,
network, wandb itself) is reported once, as a warning in the log, and the run goes on.

    tracker = open(settings.tracking, name="flights", config=plain_settings, folder=run_folder)
    tracker.log({"train_loss": 0.5, "validation_loss": 0.6}, step=0)
    tracker.finish()

Files lie under `folder`/wandb; `wandb sync <tracker.where>` uploads an offline run later.
"""

import json
import logging
import netrc
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tidemill.errors import TrackingError
from tidemill.settings import TrackingSettings, WandbMode

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LOG = logging.getLogger(__name__)

INIT_SECONDS = 30.0
"""How long an unreachable server may hold up the start before the run is tracked offline."""
FINISH_SECONDS = 120.0
"""How long an unreachable server may hold up the end; what is left can be synced from the folder."""
_STAGED = "TIDEMILL_WANDB_DATA_DIR"
"""Tells our own WANDB_DATA_DIR, left by an earlier run of a sweep, from the user's."""


def open(
    settings: TrackingSettings, *, name: str, config: Mapping[str, Any], folder: Path, group: str | None = None
) -> "Tracker":
    """Start tracking one run.

    Args:
        name: of the run, as people see it.
        config: the run's settings, nested.
        folder: the run's folder.
        group: put runs together under this name when `settings.group` is not set (a sweep's id).

    Raises:
        TrackingError: online was asked for and there is no API key.
    """
    if settings.wandb is WandbMode.DISABLED:
        return Tracker()
    check(settings)
    online = settings.wandb is not WandbMode.OFFLINE and _has_key()
    options = {
        "project": settings.project,
        "entity": settings.entity,
        "group": settings.group or group,
        "tags": settings.tags,
        "name": name,
        "config": _plain(config),
        "dir": str(folder),
    }
    _stage_in(folder / "wandb")
    modes: tuple[Literal["online", "offline"], ...] = ("online", "offline") if online else ("offline",)
    for mode in modes:
        try:
            return Tracker(_start(mode, options))
        except Exception as error:
            LOG.warning("W&B could not start %s: %s", mode, error)
    return Tracker()


def check(settings: TrackingSettings) -> None:
    """Raises TrackingError if online was asked for and there is no API key."""
    if settings.wandb is WandbMode.ONLINE and not _has_key():
        raise TrackingError(
            "tracking.wandb=online needs a W&B API key",
            observed="no WANDB_API_KEY in the environment and no entry in ~/.netrc",
            remedy="run `wandb login`, set WANDB_API_KEY, or set tracking.wandb=offline and sync later",
        )


class Tracker:
    """What training, evaluation and the report tell W&B about a run; without a W&B run, all of it goes nowhere.

    Tables and figures go out with the step that is current, so they never advance it.

    Attributes:
        where: the run's web address, or its folder when offline; empty when nothing is tracked.
    """

    def __init__(self, run: Any = None) -> None:
        self._run = run
        self._reported = False
        self.where = "" if run is None else str(Path(run.dir).parent if run.offline else run.url)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Figures of one step; steps never decrease."""
        self._try(lambda: self._run.log(dict(metrics), step=step))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        def send() -> None:
            import wandb

            table = wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
            self._run.log({name: table}, commit=False)

        self._try(send)

    def figure(self, name: str, figure: "Figure") -> None:
        def send() -> None:
            import wandb

            self._run.log({name: wandb.Plotly(figure)}, commit=False)

        self._try(send)

    def summary(self, values: Mapping[str, Any]) -> None:
        """The run's final figures, the ones that runs are compared by."""
        self._try(lambda: self._run.summary.update(_plain(values)))

    def artifact(self, name: str, folder: Path, kind: str) -> None:
        """A folder with all its files. They are not copied: an offline run needs them until it is synced."""

        def send() -> None:
            import wandb

            artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:128], type=kind)
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    inside = path.relative_to(folder).as_posix()
                    artifact.add_file(str(path), name=inside, policy="immutable", skip_cache=True)
            self._run.log_artifact(artifact)

        self._try(send)

    def finish(self) -> None:
        """Write and, when online, upload what is left. Nothing may be logged after it."""
        self._try(lambda: self._run.finish())

    def _try(self, send: Callable[[], Any]) -> None:
        if self._run is None:
            return
        try:
            send()
        except Exception as error:
            if not self._reported:
                LOG.warning("W&B failed, the run goes on without some of its records: %s", error)
            self._reported = True


def _stage_in(folder: Path) -> None:
    """Tables and artifacts are staged beside the run, not in the home folder, which may be read-only.

    wandb knows the place from the environment only. A place that the user set is left alone.
    """
    if os.environ.get("WANDB_DATA_DIR", "") == os.environ.get(_STAGED, ""):
        os.environ["WANDB_DATA_DIR"] = os.environ[_STAGED] = str(folder.resolve())


def _start(mode: Literal["online", "offline"], options: Mapping[str, Any]) -> Any:
    import wandb

    Path(options["dir"]).mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
    )
    return wandb.init(mode=mode, settings=quiet, reinit="create_new", **options)


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        import wandb

        known = wandb.setup().settings  # reads wandb's own settings files too
        if known.api_key or known.identity_token_file:
            return True
        hosts = netrc.netrc(os.environ.get("NETRC")).hosts
    except Exception:  # no such file, one that cannot be read, or wandb itself fails
        return False
    return urlsplit(known.base_url).netloc in hosts or "api.wandb.ai" in hosts


def _plain(values: Mapping[str, Any]) -> Any:
    """Only what JSON knows, so that no value of ours can make wandb raise."""
    return json.loads(json.dumps(values, default=str))
