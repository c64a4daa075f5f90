"""A token for a Ray that we start ourselves: without it nobody on the network can use Ray's ports, which run any code.

Ray turns to token mode by itself when it starts a local instance and RAY_AUTH_MODE is not set. Only the token is set
here and not the mode: Ray reads the mode once, on import, and one that is set later ends `ray.init` (seen with 2.60).
"""

import os
import secrets

_THEIRS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def environment() -> dict[str, str]:
    """What to set before `ray.init(address="local")`: a token of 256 random bits, or nothing where something is set.

    Without it Ray would make one token for all that this user ever starts, in a file that others may read.
    """
    if any(os.environ.get(name) for name in _THEIRS):
        return {}
    return {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
