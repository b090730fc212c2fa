"""What watches the stack: the exporter, and the configuration of Prometheus and Grafana."""
