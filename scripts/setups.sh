#!/usr/bin/env bash
# Prints the table of the set-ups that the tests ran on; fails when a required one is missing.
#
#   scripts/setups.sh FOLDER
#
# A test that runs on a set-up writes FOLDER/<name>, one line: "version · processes".
set -euo pipefail

required=(memory redis cluster sentinel tls acl browser)

folder=$1

# Every name once: the required ones in their order, then the others.
names=("${required[@]}")
for file in "$folder"/*; do
    name=${file##*/}
    if [[ -f $file && " ${required[*]} " != *" $name "* ]]; then names+=("$name"); fi
done

row() {
    printf '%-24s  %-32s  %s\n' "$1" "$2" "$3"
}

missing=()
row "set-up" "version" "processes"
for name in "${names[@]}"; do
    line=""
    if [[ -f $folder/$name ]]; then
        # A last line without a newline is read all the same.
        read -r line <"$folder/$name" || true
    fi
    if [[ $line == *" · "* ]]; then
        row "$name" "${line%% · *}" "${line#* · }"
    else
        row "$name" "MISSING" "$line"
        missing+=("$name")
    fi
done

if ((${#missing[@]})); then
    echo "set-ups that no test reported as \"version · processes\": ${missing[*]}" >&2
    exit 1
fi
