#!/bin/bash
# Prints what changes in the files that the machines of a stack get, between the commit BASE and the working tree.
#   scripts/render-diff.sh BASE STACK
set -euo pipefail

if [[ $# -ne 2 ]]; then
  echo "usage: scripts/render-diff.sh BASE STACK" >&2
  exit 2
fi
base=$1
stack=$2
cd "$(dirname "$0")/.."
project=$PWD

work=$(mktemp -d)
# Called by the trap.
# shellcheck disable=SC2329,SC2317
clean_up() {
  git -C "$project" worktree remove --force "$work/tree" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

git worktree add --quiet --detach "$work/tree" "$base"
mkdir "$work/before" "$work/after"
# A stack that is new, or one that is removed, has files on one side only.
if [[ -e $work/tree/Pulumi.$stack.yaml ]]; then
  if cmp --silent package-lock.json "$work/tree/package-lock.json"; then
    ln -s "$PWD/node_modules" "$work/tree/node_modules"
  else
    (cd "$work/tree" && npm ci --silent --ignore-scripts)
  fi
  (cd "$work/tree" && npm run --silent render -- --stack "$stack" --out "$work/before" >/dev/null)
fi
if [[ -e Pulumi.$stack.yaml ]]; then
  npm run --silent render -- --stack "$stack" --out "$work/after" >/dev/null
fi

cd "$work"
# The desired state holds haproxy.cfg again, compressed.
rm -f before/balancer/*.base64 after/balancer/*.base64
git diff --no-index --no-color --no-prefix before after || [[ $? -eq 1 ]]
