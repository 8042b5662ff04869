#!/usr/bin/env bash
# what: kubectl wait by condition and by jsonpath disagree on one condition: only the first compares generations
#
# Expected: `--for=condition=Ready` and `--for=jsonpath` with the same condition's status wait for the same thing, and a
#     controller may leave observedGeneration to the object's status.
# Is: `--for=condition` counts a condition as stale, and waits, if its observedGeneration (else the status') is below the
#     object's generation; `--for=jsonpath` returns at once. A condition's own observedGeneration hides the status':
#     with 2 in the condition and 1 in the status, generation 2, the condition counts. The help does not mention it.
# Versions: kubectl 1.32.3 (Debian 13), 1.36.4 (Debian sid); the server is a small one of this script, with one object
# Seen: 2026-11-27
. "$(dirname "$0")/lib.sh"
need python3
unset KUBECONFIG

debian trixie kubernetes-client
old=$root
debian sid kubernetes-client
new=$root
cat > "$work/server.py" << 'PYTHON'
"""An API server with one object in each of four namespaces. usage: server.py PORT"""
import http.server, json, sys, urllib.parse

GROUP = "example.org"
# Namespace -> observedGeneration of the condition and of the status; the objects' generation is 2.
OBSERVED = {"fresh": (2, 1), "stale-condition": (1, 2), "stale-status": (None, 1), "silent": (None, None)}


def sample(namespace):
    condition, status = OBSERVED[namespace]
    ready = {"type": "Ready", "status": "True", "reason": "Done", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    if condition:
        ready["observedGeneration"] = condition
    return {
        "apiVersion": GROUP + "/v1", "kind": "Sample",
        "metadata": {"name": "one", "namespace": namespace, "generation": 2, "resourceVersion": "10", "uid": namespace},
        "status": {"conditions": [ready], **({"observedGeneration": status} if status else {})},
    }


def answer(path):
    parts = path.strip("/").split("/")
    version = {"groupVersion": GROUP + "/v1", "version": "v1"}
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": []}
    if parts == ["apis"]:
        groups = [{"name": GROUP, "versions": [version], "preferredVersion": version}]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if parts == ["apis", GROUP, "v1"]:
        one = {"name": "samples", "singularName": "sample", "namespaced": True, "kind": "Sample", "verbs": ["get", "list", "watch"]}
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP + "/v1", "resources": [one]}
    if parts[:4] == ["apis", GROUP, "v1", "namespaces"] and parts[4] in OBSERVED:
        if parts[5:] == ["samples", "one"]:
            return sample(parts[4])
        return {"kind": "SampleList", "apiVersion": GROUP + "/v1", "metadata": {"resourceVersion": "10"}, "items": [sample(parts[4])]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if query.get("watch") == "true" and "sendInitialEvents" not in query:
            # A watch in which nothing happens, until the client closes it.
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.close_connection = True
            self.wfile.flush()
            self.rfile.read(1)
            return
        # Lists by watch are refused, as a server without them does; the client then lists.
        found = None if query.get("watch") == "true" else answer(url.path)
        code = 200 if found else 422 if "sendInitialEvents" in query else 404
        failure = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                   "reason": "Invalid" if code == 422 else "NotFound", "message": "not here"}
        body = json.dumps(found or failure).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = True
server.serve_forever()
PYTHON
port=$(free_port)
serve "$port" python3 "$work/server.py" "$port"

version() { inside "$1" kubectl version --client | sed -n 's/^Client Version: v//p'; }
versions "kubectl $(version "$old") and $(version "$new")"
# FOLDER NAMESPACE FOR: waits some seconds.
waits() {
    inside "$1" kubectl "--server=http://127.0.0.1:$port" --cache-dir=/work/cache \
        --namespace "$2" wait "--for=$3" sample/one --timeout=3s
}
help() { inside "$1" kubectl wait --help; }
by_path="jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True"
for place in "$old" "$new"; do
    name="kubectl $(version "$place")"
    shown=$(help "$place")
    fact "the help of $name does not mention generations" output_lacks '[Gg]eneration'
    for namespace in fresh stale-condition stale-status silent; do
        echo "$name, $namespace:"
        show waits "$place" "$namespace" condition=Ready
        case $namespace in
            stale-*) fact "$name waits by condition on $namespace" output_has 'timed out' ;;
            *) fact "$name returns by condition on $namespace" output_has 'condition met' ;;
        esac
        show waits "$place" "$namespace" "$by_path"
        fact "$name returns by jsonpath on $namespace" output_has 'condition met'
    done
done
finish
