"""The ground of API and console: one application over HTTP, what guards it, and the process that serves it."""
