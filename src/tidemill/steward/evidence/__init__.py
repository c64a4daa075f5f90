"""Evidence with stated error rates at any moment: betting, bounds, detectors and sampling; pure NumPy.

Each module says what it assumes, when its guarantee is void, and which paper it follows. The examples in the docstrings
are run as tests. A reader who is new to this begins with `betting` (is a mean above a limit?), goes on to `detectors`
(did a mean rise, and when?), and then to `paired` (is one model better than another?).

Shapes are written in square brackets: [n] has n values of one stream in their order; [..., n] has any number of
leading axes, whose entries are streams that are followed side by side.
"""
