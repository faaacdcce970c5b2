"""What operators see: logs, metrics, HTTP, and records in words."""
