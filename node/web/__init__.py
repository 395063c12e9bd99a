"""HTTP: health, readiness, metrics and the status page. The only asynchronous code; the daemon calls it."""
