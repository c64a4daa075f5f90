"""The floor: uvicorn (httptools, uvloop), orjson and ONNX Runtime, and nothing between them.

    python bare.py PLAN.json PORT

Takes what `POST /predict` takes, `{"rows": [{column: value, …}, …]}`, and answers each row's probabilities and label.
It checks nothing, records nothing and knows one model.
"""

import sys
from typing import Any

import orjson
import uvicorn
from scoring import Scorer

scorer = Scorer(sys.argv[1])
start = {"type": "http.response.start", "status": 200}


async def application(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    content = orjson.dumps({"predictions": scorer.rows(orjson.loads(body)["rows"])})
    length = str(len(content)).encode()
    await send({**start, "headers": [(b"content-type", b"application/json"), (b"content-length", length)]})
    await send({"type": "http.response.body", "body": content})


uvicorn.run(
    application,
    host="127.0.0.1",
    port=int(sys.argv[2]),
    loop="uvloop",
    http="httptools",
    lifespan="off",
    access_log=False,
    log_level="warning",
)
