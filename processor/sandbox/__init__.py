"""Stand-ins to try everything without accounts: a broker, an org, and traffic."""
