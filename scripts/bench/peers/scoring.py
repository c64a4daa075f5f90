"""What every peer does with a request once it has it: rows to arrays, one run of the graph, answers as JSON takes them.

PLAN.json, which every peer is started with: {"model": path of model.onnx, "columns": {name: "numeric" or
"categorical"}, "classes": [name, …]}.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

OUTPUTS = ["probabilities", "label"]


class Scorer:
    """One session with one thread."""

    def __init__(self, plan: str) -> None:
        content = json.loads(Path(plan).read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(content["model"], options, providers=["CPUExecutionProvider"])
        self.classes: list[str] = content["classes"]
        self.numeric = {name: kind == "numeric" for name, kind in content["columns"].items()}
        self._columns = [(name, np.float64 if number else np.object_) for name, number in self.numeric.items()]

    def rows(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers to decoded rows, one each."""
        given = {name: np.array([row[name] for row in rows], dtype) for name, dtype in self._columns}
        probabilities, labels = self.session.run(OUTPUTS, given)
        return [
            {"probabilities": dict(zip(self.classes, each, strict=True)), "label": label}
            for each, label in zip(probabilities.tolist(), labels.tolist(), strict=True)
        ]

    def arrays(self, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [N, classes] and labels [N] for one array of N values a column."""
        probabilities, labels = self.session.run(OUTPUTS, given)
        return probabilities, labels
