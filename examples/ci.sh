#!/usr/bin/env bash
# A job of a CI, with the command prn alone: see README.md in this folder.
#
#   ci.sh DIRECTORY    sends DIRECTORY to a workspace of its own, runs `make` and `make test` there, brings
#                      build/ back into DIRECTORY, and exits as the command did that failed, or with 0
#
# `prn run` exits as its command did. With 125 it is prn or the server that failed: worth another try, where a failed test
# is not.
set -euo pipefail

directory=${1:?the directory to build}
workspace=ci-$(date +%s)-$$

prn workspace create "$workspace"
# However this script ends, a command that still runs is stopped. What takes long to delete is deleted later, which is no
# failure of the job.
trap 'prn workspace remove --force --grace 1s "$workspace" || :' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# In the background, since bash sees to signals when what it runs has ended, but for wait.
run() {
    prn run --workspace "$workspace" --sync "$directory" --timeout 10m --no-stdin "$@" &
    wait "$!"
}

run -- make
# Nothing has changed here meanwhile, so nothing is sent. The report comes back whether the tests succeed or not.
run --out build/ -- make test
