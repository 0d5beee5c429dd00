"""The stable codes of what `orch validate` finds, each with one sentence for a person who has only the code.

A code never changes its meaning; CI filters by it. Nothing here finds anything: whoever does names one of these.
"""

from collections.abc import Mapping

RULES: Mapping[str, str] = {
    # the file
    "unknown-path": "A PATH stands for no file, folder, deployment or model.",
    "unreadable": "The file cannot be read.",
    "yaml-syntax": "The file is not YAML.",
    "yaml-unsupported": "The file uses a part of YAML that these files do without.",
    "duplicate-key": "A section has the same key twice.",
    "too-large": "The file is too large, nested too deep, or stands for too much.",
    "bad-override": "A --set is not KEY=VALUE, or names a place that cannot hold a value.",
    # its keys and values
    "unknown-key": "A section has no such key.",
    "bad-key": "This cannot be the name of a flag or of a variable.",
    "missing-key": "A key that must be there is missing.",
    "misplaced-key": "A key only goes with another one, which is not there.",
    "exactly-one": "Exactly one of several keys must be given.",
    "wrong-type": "The value is of another type: text, a number, a truth value, a list or a section.",
    "wrong-value": "The value is of the right type, and is none that belongs here.",
    "empty-value": "There is no value, or it comes out empty.",
    "duplicate-value": "A list holds the same twice.",
    "ambiguous-boolean": "A bare yes, no, on or off is text in YAML 1.2 and a truth value in YAML 1.1.",
    # variables
    "variable-unset": "A ${VARIABLE} without a default is not set.",
    "variable-unusable": "A ${VARIABLE} holds what cannot stand in a value.",
    "bad-reference": "A ${ starts no variable.",
    # profiles
    "owned-flag": "A flag that orch sets itself is under serve.args.",
    "duplicate-flag": "A flag is given twice, in two spellings.",
    "indivisible-gpus": "The GPUs do not divide into the tensor and pipeline parallel ranks.",
    "same-name": "Two profiles have the same name.",
    # profiles against the engine's version, the model and the declared host
    "unknown-flag": "This version of the engine has no such flag.",
    "removed-flag": "An older version of the engine had this flag.",
    "newer-flag": "A newer version of the engine has this flag.",
    "flag-value": "This version of the engine does not take this value.",
    "flag-choice": "This version of the engine knows no such choice by itself; a plugin may bring it.",
    "deprecated-flag": "This version of the engine gives the flag up.",
    "short-flag": "A flag is not written out.",
    "indivisible-heads": "The tensor parallel ranks do not divide the model's attention heads.",
    "indivisible-model": "The tensor or pipeline parallel ranks do not divide the model's layers, width or vocabulary.",
    "context-too-long": "The model does not read so many tokens.",
    "capability": "The quantization needs newer GPUs than the declared host has.",
    # environments
    "environment-missing": "A profile names an environment that has no file.",
    "name-mismatch": "An environment has another name than its file.",
    "reserved-variable": "The environment sets a variable that is orch's.",
    "duplicate-variable": "A variable is both under env and under secrets.",
    "secret-in-env": "A secret is written into a file whose values are shown and recorded.",
    "credentials-in-url": "A URL holds a user name or a password.",
    "old-name": "A variable has a newer name.",
    # orch.lock
    "lock-damaged": "orch.lock cannot be read, or does not hold what it should.",
    "lock-newer": "A newer orch wrote orch.lock.",
    "not-locked": "There is an orch.lock, and it does not hold a model or the packages of an environment.",
    "no-hash": "orch.lock names a package without its hash, so its content is not checked.",
    # what is no mistake
    "not-checked": "Something could not be checked here, and why.",
    # several profiles together
    "port-clash": "Two profiles claim the same port.",
    "gpu-clash": "Two profiles claim more of a GPU than it has.",
    "does-not-fit": "The GPUs have no room for the model as it is to be served, or for all that is served on them.",
    "fits-barely": "The GPUs have room for less than two requests of full length at once.",
}
