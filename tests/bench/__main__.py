"""`make bench`: how much the commands cost, how long a CI waits, how fast weights come, how soon what died is back. One
JSON document on stdout."""

import json
import sys

from tests.bench import commands, fetch, plans, supervise, validate

PARTS = {
    "commands": commands.measure_all,
    "validate": validate.measure_all,
    "fetch": fetch.measure_all,
    "plans": plans.measure_all,
    "supervise": supervise.measure_all,
}


def main(wanted: list[str]) -> None:
    found = {name: PARTS[name]() for name in wanted or PARTS}
    print(json.dumps(found, indent=2))  # noqa: T201 (its whole purpose)


if __name__ == "__main__":
    main(sys.argv[1:])
