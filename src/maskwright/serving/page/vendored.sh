#!/usr/bin/env bash
# Makes vendored.js and vendored-licences.txt anew: three MIT libraries from npm, bundled into one module, not minified.
set -euo pipefail
page="$(cd "$(dirname "$0")" && pwd)"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --no-audit --no-fund --ignore-scripts fast-png@8.0.0 iobuffer@6.0.1 fflate@0.8.3 esbuild@0.28.2
cat >entry.js <<'JS'
export { decode as decodePng, encode as encodePng } from "fast-png";
export { zipSync } from "fflate";
JS
npx esbuild entry.js --bundle --format=esm --target=es2022 --charset=utf8 --outfile="$page/vendored.js" \
    --banner:js="// fast-png 8.0.0, iobuffer 6.0.1, fflate 0.8.3 (MIT, see vendored-licences.txt), bundled by vendored.sh."
for package in fast-png iobuffer fflate; do
    printf '%s\n\n' "$package" && cat "node_modules/$package/LICENSE" && printf '\n\n'
done >"$page/vendored-licences.txt"
