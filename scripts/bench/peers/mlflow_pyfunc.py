"""MLflow: a pyfunc model, saved and then served with `mlflow models serve`.

python mlflow_pyfunc.py PLAN.json PORT
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from scoring import Scorer


class Small(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        self.scorer = Scorer(context.artifacts["plan"])

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return self.scorer.rows(model_input.to_dict("records"))


if __name__ == "__main__":
    folder = Path(tempfile.gettempdir()) / "tidemill-bench-mlflow"
    shutil.rmtree(folder, ignore_errors=True)
    mlflow.pyfunc.save_model(
        folder,
        python_model=Small(),
        artifacts={"plan": sys.argv[1]},
        code_paths=[str(Path(__file__).with_name("scoring.py"))],
        pip_requirements=[],
    )
    command = ["mlflow", "models", "serve", "-m", str(folder), "-h", "127.0.0.1", "-p", sys.argv[2]]
    command[0] = str(Path(sys.executable).with_name("mlflow"))
    os.execv(command[0], [*command, "--env-manager", "local", "-w", "1"])
