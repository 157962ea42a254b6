"""Known advisories about the packages that are installed here, by pip-audit. Run by `make audit`.

Ends with 0 when every package was looked up and none has an advisory, 1 when one has, 3 when the advisories could
not be reached: not looked up is not the same as clean.
"""

import json
import subprocess
import sys

#: Not on PyPI: it is what the others are for.
OURS = {"slicerdeepreg", "slicer-stand-in"}


def verdict(found):
    """The exit code and the lines to print for the dependencies of pip-audit's JSON."""
    found = [entry for entry in found if entry["name"].lower() not in OURS]
    skipped = [entry for entry in found if "skip_reason" in entry]
    hurt = [entry for entry in found if entry.get("vulns")]
    lines = [
        f"{entry['name']} {entry['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version'}"
        for entry in hurt
        for flaw in entry["vulns"]
    ]
    lines += [f"{entry['name']}: not looked up. {entry['skip_reason']}" for entry in skipped]
    looked = len(found) - len(skipped)
    lines.append(f"{looked} of {len(found)} packages were looked up, {len(hurt)} with a known advisory.")
    if hurt:
        return 1, lines
    if not looked:
        lines.append("The advisories could not be reached: nothing is known either way. Try again with a network.")
    return (0 if looked and not skipped else 3), lines


def main():
    # Its exit code says too little: 1 for an advisory, and 0 when nothing at all was looked up.
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"pip-audit did not finish:\n{done.stderr.strip()[-2000:]}", file=sys.stderr)
        return 3
    code, lines = verdict(found)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
