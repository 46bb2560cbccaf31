"""What any service has: metrics, HTTP, logs, clocks, the machine's limits."""
