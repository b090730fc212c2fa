"""What people see in a browser: templates and styles."""
