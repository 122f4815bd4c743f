"""Text from outside: names, YAML and URLs, safe to read and to show, in Markdown and pages as well."""
