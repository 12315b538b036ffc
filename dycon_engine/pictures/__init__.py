"""Pictures of scans and pages that show them; what inference and evaluation share."""
