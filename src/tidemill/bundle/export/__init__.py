"""From a torch model and its preparation to one ONNX graph, and the proof that both answer alike (torch)."""
