#!/usr/bin/env python3
"""The `ssh`, `rsync`, `pip`, `uv` and `aws` of fake_aws.py: it sends the call there and prints the answer."""

import json
import os
import sys
import urllib.request
from pathlib import Path

HERE = "WORLD_NODE"  # the instance on which it was called; unset on the user's machine
ADDRESS = "WORLD_ADDRESS"

if __name__ == "__main__":
    asked = {
        "tool": Path(sys.argv[0]).name,
        "words": sys.argv[1:],
        "node": os.environ.get(HERE),
        "home": os.environ["HOME"],
        "cwd": os.getcwd(),
    }
    request = urllib.request.Request(os.environ[ADDRESS] + "/world", json.dumps(asked).encode())
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
        answer = json.load(response)
    sys.stdout.write(answer["output"])
    sys.exit(answer["code"])
