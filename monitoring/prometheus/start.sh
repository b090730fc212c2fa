#!/bin/sh
# Starts Prometheus with the configuration beside this script; further arguments go to Prometheus.
#
#   BACKROOM_SCRAPE_INTERVAL       how often to scrape and to evaluate rules, such as 15s (default: as in prometheus.yml)
#   BACKROOM_METRICS_KEY_FILE      a file with an API key of the role `read`, needed once the API has keys
#   BACKROOM_PROMETHEUS_CONFIG_DIR where the edited copy goes (default: a new folder in TMPDIR)
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
config=${BACKROOM_PROMETHEUS_CONFIG_DIR:-$(mktemp -d)}
mkdir -p "$config"
cp -R "$here/prometheus.yml" "$here/rules" "$config/"

edit() {
    sed "$1" "$config/prometheus.yml" > "$config/prometheus.yml.new"
    mv "$config/prometheus.yml.new" "$config/prometheus.yml"
}

if [ -n "${BACKROOM_SCRAPE_INTERVAL:-}" ]; then
    edit "s/^  scrape_interval: .*/  scrape_interval: $BACKROOM_SCRAPE_INTERVAL/"
    edit "s/^  evaluation_interval: .*/  evaluation_interval: $BACKROOM_SCRAPE_INTERVAL/"
fi
if [ -n "${BACKROOM_METRICS_KEY_FILE:-}" ]; then
    edit "s|^  - job_name: api\$|&\\
    authorization: {credentials_file: \"$BACKROOM_METRICS_KEY_FILE\"}|"
fi

exec prometheus --config.file="$config/prometheus.yml" "$@"
