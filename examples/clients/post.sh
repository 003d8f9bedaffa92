#!/bin/sh
# A device in a shell: posts a metric a moment with curl, and then the rest from a file.
#
#     sh post.sh http://localhost:8080 [DEVICE [COUNT]]
#
# --retry tries again where the server asks for it or cannot be reached, and --fail-with-body makes
# a refusal an exit code, with the server's words on the standard output.
set -eu

url=${1:?usage: sh post.sh URL [DEVICE [COUNT]]}
url=${url%/}
device=${2:-shell-1}
count=${3:-10}

post() {
    curl --silent --show-error --fail-with-body --max-time 10 --retry 5 --retry-connrefused \
        ${COREPULSE_INGEST_TOKEN:+--oauth2-bearer "$COREPULSE_INGEST_TOKEN"} \
        "$@" "$url/metrics"
}

metric() {
    printf '{"device_id":"%s","timestamp":"%s","cpu":"%s","rps":%s}\n' \
        "$device" "$(date +%s.%N)" "$((40 + $1)).0" "$((1000 + 10 * $1))"
}

number=0
while [ "$number" -lt "$((count / 2))" ]; do
    post -d "$(metric "$number")"
    number=$((number + 1))
done

lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
while [ "$number" -lt "$count" ]; do
    metric "$number" >>"$lines"
    number=$((number + 1))
done
# Not --data-binary, as most would write it: -d takes the line ends out, and the objects stand one
# after the other.
post -d "@$lines"
