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

from tidemill import ending, pipeline, secrets
from tidemill.settings import addable, from_config

COMMAND = "python train.py"
OmegaConf.register_new_resolver("stem", lambda path: Path(str(path)).name.split(".")[0] or "table")


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def train(config: DictConfig) -> float:
    """One run; in a multirun (`-m`) a trial that leaves the test split shut. Returns the validation loss."""
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    secrets.clear(folder)
    typed = cast(list[str], OmegaConf.to_container(job.overrides.task))  # ${oc.env:…} stays as it was typed
    overrides = tuple(map(secrets.mask, typed))
    command = f"{COMMAND} {shlex.join(overrides)}"
    with ending.told(command, folder):
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        if job.mode is RunMode.MULTIRUN:
            return pipeline.trial(plain, folder, overrides)
        return pipeline.run(from_config(plain), folder, command)


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise instead of exit, so that errors can be explained
    sys.argv[1:] = map(addable, sys.argv[1:])
    with ending.told(COMMAND):
        train()
