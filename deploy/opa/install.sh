#!/bin/sh
# Installs the OPA server that the tests run against: the pinned version, built by Go, into build/tools.
#
# Go's checksum database vouches for the sources. Without Go: take the release of the same version, compare its digest
# with the one published beside it, and put it on PATH as `opa`.
set -eu
version=v1.21.3
cd "$(dirname "$0")/../.."
target=$PWD/build/tools/opa
if [ -x "$target" ] && "$target" version | grep -qx "Version: ${version#v}"; then
	exit 0
fi
for go in go /usr/local/go/bin/go; do  # The second is where Go's own installer puts it.
	if command -v "$go" >/dev/null; then
		echo "opa: building $version; the first time takes some minutes" >&2
		cd /  # Not as a part of any module.
		GOBIN=$(dirname "$target") CGO_ENABLED=0 exec "$go" install "github.com/open-policy-agent/opa@$version"
	fi
done
echo "opa: no Go here; put an OPA ${version#v} or later on PATH" >&2
exit 1
