#!/usr/bin/env python3
"""Writes what is generated from the code: README's table of settings, .env.example, docs/openapi.json.

With --check it writes nothing and fails if anything would change.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def binary():
    output = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    return Path(json.loads(output)["target_directory"]) / "debug" / "profile-service"


def printed(*arguments):
    return subprocess.run([binary(), *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def readme():
    text = (ROOT / "README.md").read_text()
    begin, end = "<!-- config:begin -->\n", "<!-- config:end -->"
    if begin not in text or end not in text:
        sys.exit(f"generate: README.md has no {begin.strip()} and {end}")
    return re.sub(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: begin + printed("config", "--markdown") + end, text, flags=re.S
    )


def main():
    files = {
        "README.md": readme(),
        ".env.example": printed("config", "--env-example"),
        "docs/openapi.json": printed("openapi"),
    }
    stale = [name for name, text in files.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"generated: {', '.join(stale)} would change: run `make generate` and commit the result")
        print("generated: nothing would change")
        return
    for name in stale:
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_text(files[name])
        print(f"generate: wrote {name}")


if __name__ == "__main__":
    main()
