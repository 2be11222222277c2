#!/bin/sh
# Writes blocks.schema.json anew, from Slack's own types. Needs node and npm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent @slack/types@3.2.0 ts-json-schema-generator@2.4.0
cat >blocks.ts <<'TS'
import type { KnownBlock } from "@slack/types";
export type Blocks = KnownBlock[];
TS
echo '{"compilerOptions":{"strict":true,"module":"node16","moduleResolution":"node16","skipLibCheck":true},"files":["blocks.ts"]}' >tsconfig.json
npx ts-json-schema-generator --path blocks.ts --tsconfig tsconfig.json --type Blocks --no-type-check --jsDoc none --minify -o all.json
node -e '
const s = JSON.parse(require("fs").readFileSync("all.json"));
const line = k => JSON.stringify(k) + ": " + JSON.stringify(s.definitions[k]);
process.stdout.write("{\n\"$schema\": " + JSON.stringify(s.$schema) + ",\n\"$ref\": " + JSON.stringify(s.$ref) +
  ",\n\"definitions\": {\n" + Object.keys(s.definitions).sort().map(line).join(",\n") + "\n}\n}\n");' >"$here/blocks.schema.json"
cp node_modules/@slack/types/LICENSE "$here/LICENSE"
