"""From raw records to a checked bundle in the registry: `python train.py --help` says how."""

import shlex
import sys
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tidemill import ending, libraries, secrets
from tidemill.settings import addable, overrides

OmegaConf.register_new_resolver("stem", overrides.stem, replace=True)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def train(config: DictConfig) -> float:
    """One run; in a multirun (`-m`) a trial that leaves the test split shut. Returns the validation loss."""
    from tidemill import pipeline  # torch and more: not for --help or a typo

    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    secrets.clear(folder)
    words = tuple(secrets.mask(str(word)) for word in OmegaConf.to_container(job.overrides.task) or ())
    command = shlex.join(["python", "train.py", *words])
    with ending.told(command, folder), libraries.kept_in(folder):
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        trial = job.mode is RunMode.MULTIRUN
        return pipeline.trial(plain, folder, words) if trial else pipeline.run(plain, folder, command)


if __name__ == "__main__":
    sys.argv[1:] = map(addable, sys.argv[1:])
    with ending.told("python train.py"):
        train()
