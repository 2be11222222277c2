#!/usr/bin/env bash
# Packages, deploys or removes one stage of serverless.yml:
#
#   infra/aws/deploy.sh package|deploy|remove STAGE
#
# Needs node, npm and the zip files of `make package`; credentials for deploy and remove
# only. Nothing is installed into the source tree: it works in out/deploy/STAGE.
set -euo pipefail
cd "$(dirname "$0")/../.."
do=${1:-} stage=${2:-}
if [[ ! $do =~ ^(package|deploy|remove)$ || ! $stage =~ ^[a-z][a-z0-9-]{0,19}$ ]]; then
  echo "usage: $0 package|deploy|remove STAGE (lower-case letters, digits, dashes)" >&2
  exit 2
fi
for file in stage.yml auditcanary.yaml; do
  if [[ ! -f infra/aws/stages/$stage/$file ]]; then
    echo "infra/aws/stages/$stage/$file is missing: copy infra/aws/stages/example and fill it in" >&2
    exit 2
  fi
done
if [[ $stage == example && $do != package ]]; then
  echo "the stage example is an example: copy it" >&2
  exit 2
fi
tools=out/npm
if [[ ! -x $tools/node_modules/.bin/osls ]] || ! cmp -s tests/deploy/testdata/npm/package-lock.json "$tools/package-lock.json"; then
  mkdir -p "$tools"
  cp tests/deploy/testdata/npm/package{,-lock}.json "$tools"
  npm ci --prefix "$tools" --ignore-scripts --no-audit --no-fund
fi
work=out/deploy/$stage
rm -rf "$work"
mkdir -p "$work/out"
cp -r serverless.yml infra "$work"
cp -r out/package "$work/out/package"
ln -s "$PWD/$tools/node_modules" "$work/node_modules"
cd "$work"
export SLS_TELEMETRY_DISABLED=1 SLS_NOTIFICATIONS_MODE=off
exec node_modules/.bin/osls "$do" --stage "$stage"
