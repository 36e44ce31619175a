#!/usr/bin/env bash
# Installs npm `axe-core` beside this script, exactly as locked. Node and npm must be there.
set -euo pipefail
cd "$(dirname "$0")"
stamp=node_modules/.installed
if [ -f "$stamp" ] && cmp -s package-lock.json "$stamp"; then exit 0; fi
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
cp package-lock.json "$stamp"
