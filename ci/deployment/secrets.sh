#!/usr/bin/env bash
# `k8s/deploy` with a kubectl that only notes what it is asked: Secrets are made once, at random,
# in the namespace that was made before, and everything else is applied after them; and what an
# earlier apply said of replicas is forgotten before that.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/kubectl" <<'STUB'
#!/usr/bin/env bash
folder=$(dirname "$0")
echo "$*" >>"$folder/asked"
case "$*" in
    *"get secret "*) [ -e "$folder/${!#}" ] ;;
    *"create secret generic "*) cat >"$folder/$6" ;;
    *"get deployment corepulse "*) cat "$folder/applied" ;;
esac
STUB
chmod +x "$folder/kubectl"

touch "$folder/applied"
get='--namespace corepulse get deployment corepulse --ignore-not-found --output'
get+=' jsonpath={.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration}'

forget='--namespace corepulse annotate deployment corepulse'
forget+=' kubectl.kubernetes.io/last-applied-configuration-'

deploy() { KUBECTL=$folder/kubectl k8s/deploy "$@"; }
expect() {
    if ! diff "$folder/asked" -; then
        echo "secrets: k8s/deploy asked (<) for other than this (>)" >&2
        exit 1
    fi
    rm "$folder/asked"
}

deploy
expect <<EOF
apply --filename base/namespace.yaml
--namespace corepulse get secret redis
--namespace corepulse create secret generic redis --from-file=password=/dev/stdin
--namespace corepulse get secret grafana
--namespace corepulse create secret generic grafana --from-file=admin-password=/dev/stdin
$get
apply --kustomize .
EOF
for name in redis grafana; do
    grep --extended-regexp --quiet '^[0-9a-f]{48}$' "$folder/$name"
done
cmp --quiet "$folder/redis" "$folder/grafana" && exit 1

deploy minikube
expect <<EOF
apply --filename base/namespace.yaml
--namespace corepulse get secret redis
--namespace corepulse get secret grafana
$get
apply --kustomize overlays/minikube
EOF

echo '{"kind":"Deployment","spec":{"replicas":2,"revisionHistoryLimit":3}}' >"$folder/applied"
deploy
expect <<EOF
apply --filename base/namespace.yaml
--namespace corepulse get secret redis
--namespace corepulse get secret grafana
$get
$forget
apply --kustomize .
EOF

if deploy nowhere 2>/dev/null; then
    echo "secrets: k8s/deploy takes an overlay that is not there" >&2
    exit 1
fi
echo "secrets: made once, at random"
