"""Models: one file each, found by its name (`model.name`), and swappable.

Shape suffixes: B batch, N numeric features, C categorical features, E ensemble members, K outputs.

A model module has:

- `Settings`: a keyword-only, slotted dataclass of the model's own settings, with `Rule`s; its values
  stand in `conf/model/<name>.yaml`.
- `build(settings, inputs) -> torch.nn.Module`, whose `forward(numeric_BN, categorical_BC)` takes
  float32 and int64 tensors and returns logits_BEK: E = 1 unless the model is an ensemble; K = 1 for
  binary and regression, the number of classes for multiclass.

The contract suite in `tests/contracts/test_models.py` finds every model by itself.
"""
