"""Claims and runs of tools: what scripts, cron and admins do with the files that wait."""
