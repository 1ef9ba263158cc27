#!/usr/bin/env python3
"""Compares the arrows between crates with the map in ARCHITECTURE.md.

Refuses an arrow that the map lacks, a crate that the map lacks or has too many, and anything beneath the domain but the few
libraries named here. Tests may also use the contracts, the cache in memory, and what lies beneath the crates that theirs depends on: a test of `http`
puts a store of its own under the application.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

DOMAIN_LIBRARIES = {"thiserror", "uuid", "jiff", "serde", "serde_json"}
# What tests of every crate may use: the contracts, and the adapter that is plain memory.
FOR_TESTS = {"profile-port-contracts", "profile-memory"}


def allowed_arrows(text):
    """Crate -> (folder, names it may depend on, or None for everything)."""
    table = re.search(r"<!-- map:begin -->\n(.*?)<!-- map:end -->", text, re.S)
    if not table:
        sys.exit("layers: ARCHITECTURE.md has no table between map:begin and map:end")
    arrows = {}
    for line in table.group(1).splitlines()[2:]:
        name, folder, _, targets = (cell.strip() for cell in line.strip("|").split("|"))
        arrows[name] = (folder.strip("`"), None if targets == "everything" else set(re.findall(r"profile-[a-z-]+", targets)))
    return arrows


def beneath(name, arrows):
    """All that a crate reaches along allowed arrows."""
    _, direct = arrows.get(name, ("", set()))
    direct = arrows.keys() - {name} if direct is None else direct
    return direct.union(*(beneath(target, arrows) for target in direct))


def problems(metadata, arrows, root):
    ours = {package["name"]: package for package in metadata["packages"] if package["id"] in metadata["workspace_members"]}
    for name in sorted(arrows.keys() - ours.keys()):
        yield f"the map lists {name}, which isn't in the workspace"
    for name, package in sorted(ours.items()):
        if name not in arrows:
            yield f"{name} isn't in the map"
            continue
        folder, allowed = arrows[name]
        if Path(package["manifest_path"]).parent.relative_to(root) != Path(folder):
            yield f"{name} isn't in {folder}"
        for dependency in package["dependencies"]:
            target, kind = dependency["name"], dependency["kind"] or "normal"
            if target in ours:
                free = allowed is None or target in allowed or (kind == "dev" and target in beneath(name, arrows) | FOR_TESTS)
                if not free:
                    yield f"{name} may not depend on {target} ({kind})"
            elif name == "profile-domain" and kind != "dev" and target not in DOMAIN_LIBRARIES:
                yield f"{name} may not depend on {target}: the domain is plain values and rules"


def main():
    root = Path(__file__).resolve().parent.parent
    output = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--no-deps", "--locked"], cwd=root, check=True, capture_output=True
    ).stdout
    found = list(problems(json.loads(output), allowed_arrows((root / "ARCHITECTURE.md").read_text()), root))
    for problem in found:
        print(f"layers: {problem}", file=sys.stderr)
    if found:
        sys.exit(1)
    print("layers: every arrow is in the map")


if __name__ == "__main__":
    main()
