"""Writes requirements.lock (what a run needs) and requirements-dev.lock (what tests and benchmarks
need besides) from the ranges in pyproject.toml: `make lock`.

pip chooses the newest versions that fit together; nothing is installed. Words given here go to pip:
`--constraint requirements.lock` keeps what is locked. Neither an index nor a build (`+cpu`) is
noted: deploy/install.sh chooses them.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CUDA = ("nvidia-", "cuda-", "triton")  # torch's CUDA build asks for these, the CPU build does not
HEADS = {
    "requirements.lock": "What a run needs: the package with its part `ort`.",
    "requirements-dev.lock": "What tests, checks and benchmarks need besides: the part `dev`.",
}


def resolved(part: str, words: list[str]) -> dict[str, str]:
    """Returns the version of each distribution that the package with this part needs."""
    asked = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *asked, *words, f".[{part}]"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = [each["metadata"] for each in json.loads(done.stdout)["install"]]
    return {
        each["name"]: each["version"].partition("+")[0]
        for each in found
        if each["name"] != "fresco" and not each["name"].startswith(CUDA)
    }


def main(words: list[str]) -> None:
    needed = resolved("ort", words)
    kept = ROOT / "build" / "needed.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("".join(f"{name}=={version}\n" for name, version in needed.items()))
    besides = resolved("dev", [*words, "--constraint", str(kept)])
    for name, versions in zip(HEADS, (needed, besides), strict=True):
        lines = [
            f"{each}=={version}"
            for each, version in sorted(versions.items(), key=lambda item: item[0].lower())
            if versions is needed or each not in needed
        ]
        text = "\n".join([f"# {HEADS[name]} Made by `make lock`.", *lines, ""])
        (ROOT / name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
