"""A stand-in for GitHub's `gh api`, as action.yml calls it: the comments of one pull request, in a file, and a note of
each call. It reads the one filter that the action uses; real ones are jq's."""

import json
import os
import re
import sys
from pathlib import Path

ALL = "repos/org/lab/issues/7/comments"
FILTER = re.compile(
    r'\.\[\] \| select\(\.user\.type == "Bot"'
    r' and \(\.body \| startswith\("(.*?)"\) and contains\("(.*?)"\)\)\) \| \.id'
)


def main(args: list[str]) -> None:
    folder = Path(os.environ["GH_FOLDER"])
    with (folder / "calls").open("a") as calls:
        calls.write(json.dumps([*args, os.environ["GH_TOKEN"]]) + "\n")
    if os.environ.get("GH_REFUSES") in args:
        sys.exit("gh: Resource not accessible by integration (HTTP 403)")
    assert args[0] == "api", args
    comments = json.loads((folder / "comments").read_text())
    where = next(one for one in args if one.startswith("repos/"))
    body = next((Path(one[6:]).read_text() for one in args if one.startswith("body=@")), "")
    if "POST" in args:
        assert where == ALL, where
        comments.append({"id": 100 + len(comments), "user": {"type": "Bot"}, "body": body})
    elif "PATCH" in args:
        by_id = {f"repos/org/lab/issues/comments/{one['id']}": one for one in comments}
        by_id[where]["body"] = body
    else:
        assert where == f"{ALL}?per_page=100", where
        found = FILTER.fullmatch(args[args.index("--jq") + 1])
        assert found, args
        for one in comments:
            if one["user"]["type"] == "Bot" and one["body"].startswith(found[1]) and found[2] in one["body"]:
                print(one["id"])  # noqa: T201 (its whole purpose)
    (folder / "comments").write_text(json.dumps(comments))


if __name__ == "__main__":
    main(sys.argv[1:])
