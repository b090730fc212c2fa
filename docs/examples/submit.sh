#!/bin/sh
# Submit a job and wait for its result: curl (7.76 or newer) and the shell.
#
# BACKROOM_URL (http://127.0.0.1:8000) and, where the stack has keys, BACKROOM_KEY.
set -eu

url=${BACKROOM_URL:-http://127.0.0.1:8000}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# call PATH OPTION...: print the status; the body is in $answer. A refusal ends the script, with what is wrong and where
# (problem+json). Connections that fail, and "later" (429, 502, 503), are tried again.
call() {
  path=$1
  shift
  curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused --output "$answer" --write-out '%{http_code}' \
    ${BACKROOM_KEY:+--header "Authorization: Bearer $BACKROOM_KEY"} "$@" "$url$path" || {
    cat "$answer" >&2
    exit 1
  }
}

# An id of one's own: nothing has to be read out of the answer, and however often this request arrives, it is one job.
id=example-$(date +%s)-$$
call /v1/jobs --header 'Content-Type: application/json' --data '{
  "name": "heavy-task",
  "data": {"userId": "u1", "payload": {"rounds": 50}},
  "options": {"jobId": "'"$id"'", "attempts": 3, "backoff": {"type": "exponential", "delay": 1000}}
}' >/dev/null
echo "submitted $id" >&2

# Long polling: each request is held until the job has finished, for 30 seconds at most.
# Its result is the bare value (200); 202 says that it has not finished, 409 that there will be none.
status=202
while [ "$status" = 202 ]; do
  call "/v1/jobs/$id" --header 'Prefer: wait=30' >/dev/null
  status=$(call "/v1/jobs/$id/result")
done
cat "$answer"
echo
