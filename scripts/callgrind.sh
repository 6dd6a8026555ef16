#!/usr/bin/env bash
# Counts the instructions of a request, and fails if one of ours grew by more than 5 % over benches/instructions.txt.
#
#   scripts/callgrind.sh [--record | --profile DIR]
#
# --record writes that file. --profile leaves a file for each row, which callgrind_annotate reads.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if (($#)); then arguments=("$@"); else arguments=(--check); fi
if [[ ${arguments[0]} == --profile && -n ${arguments[1]:-} ]]; then
    arguments[1]=$(realpath -m "${arguments[1]}")
fi

bash scripts/install.sh valgrind
cd benches
exec cargo bench --bench instructions -- "${arguments[@]}"
