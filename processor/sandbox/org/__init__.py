"""A Salesforce org over HTTP, to try everything without an account."""
