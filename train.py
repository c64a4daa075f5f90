"""From raw records to a checked bundle in the registry: `python train.py --help` says how."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tidemill import pipeline
from tidemill.composition import explain
from tidemill.settings import from_config, known_keys

OmegaConf.register_new_resolver("stem", lambda path: Path(str(path)).name.split(".")[0] or "table")


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def train(config: DictConfig) -> float:
    """One run; in a multirun (`-m`) a trial that leaves the test split shut. Returns the validation loss."""
    job = HydraConfig.get()
    settings = from_config(cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)))
    folder = Path(job.runtime.output_dir)
    if job.mode is RunMode.MULTIRUN:
        return pipeline.trial(settings, folder, tuple(job.overrides.task))
    return pipeline.run(settings, folder, f"python train.py {' '.join(map(shlex.quote, job.overrides.task))}".strip())


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise instead of exit, so that errors can be explained
    try:
        train()
    except Exception as error:
        sys.exit(explain(error, known_keys))
